"""The benchmarks at tiny sizes: each way runs, both do the same work, the report says so."""

import json
import sys

import numpy as np
import pytest

import bench_steps
import footprint
import landmark_steps
import material
import measuring
import original
import record_steps
import scoring_steps
import train
import training_steps
from faceverify.data.records import PairRecords
from faceverify.model import network
from faceverify.model.training import PairBatches
from measuring import Comparison, Rate

PAIRS = 16


@pytest.fixture(scope="module")
def photos(sample):
    return material.find_photos(sample, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    """A folder in which both ways have written their records."""
    made = tmp_path_factory.mktemp("bench")
    material.prepare(photos, made, PAIRS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setattr(sys, "argv", sys.argv)
        for way in ("ours", "original"):
            assert record_steps.write(str(made), way, 1).median > 0
    return made


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return str(folder)


def test_photos_are_four_of_each_person(photos):
    assert len(photos.landmarks) == 16
    assert {len(names) for names in photos.people.values()} == {material.FACES_EACH}


def test_the_original_s_records_hold_the_same_pairs(folder):
    pairs = PairRecords(folder / "prepared/train.tfrecord")
    (ours,) = PairBatches(pairs, train.photo_inputs, PAIRS)
    (theirs,) = original.read_records(folder / "prepared/original-train.tfrecord", PAIRS)
    for slot in (0, 1):
        places = [
            np.flatnonzero((ours[1][f"target{slot}"] == target).all(axis=1))[0]
            for target in theirs[1][f"target{slot}"].numpy()
        ]
        photos = theirs[0][f"feature{slot}"].numpy()
        assert photos.dtype == np.float32 and photos.shape == (len(pairs), 218, 218, 3)
        np.testing.assert_allclose(photos, ours[0][f"feature{slot}"][places], atol=1)
    assert sorted(ours[1]["targetD"]) == sorted(theirs[1]["targetD"].numpy())


@pytest.mark.parametrize("way", ("ours", "original"))
def test_records_are_read_and_weighed(way, here):
    assert record_steps.read(here, way, 1).median > 0
    assert record_steps.bytes_each(here, way).median > 0
    floats = 2 * 4 * 218 * 218 * 3 * PAIRS / record_steps.FEW
    assert (record_steps.bytes_each(here, way).median > floats) == (way == "original")


def test_keras_s_loader_reads_the_photos(here):
    assert record_steps.read_by_keras(here).median > 0


def test_both_ways_find_the_same_landmarks(photos):
    assert landmark_steps.by_the_stage(photos).median > 0
    assert landmark_steps.in_one_thread(photos).median > 0
    moved = photos._replace(landmarks=photos.landmarks | {next(iter(photos.landmarks)): [0] * 136})
    with pytest.raises(RuntimeError, match="not the same work"):
        landmark_steps.in_one_thread(moved)


def test_both_siamese_models_are_one_function():
    tower = network.build_tower((6, 6, 8), network.Tower(4, [10, 10], [10, 12], 0.0, 0.0), seed=1)
    rng = np.random.default_rng(1)
    pair = {f"feature{slot}": rng.random((5, 6, 6, 8), np.float32) for slot in (0, 1)}
    ours = network.build_siamese(tower).predict_on_batch(pair)
    theirs = original.build_siamese(tower).predict_on_batch(pair)
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], atol=1e-5)


@pytest.mark.parametrize("work", (training_steps.fine_tune, training_steps.frozen))
@pytest.mark.parametrize("way", ("ours", "original"))
def test_training_runs_in_both_ways(work, way, here, monkeypatch):
    def small():
        brain = network.build_brain("MobileNetV2", "block_3_expand_relu", 96, None, 1)
        sizes = network.Tower(4, [10, 10], [10, 12], 0.0, 0.0)
        return brain, network.build_tower(brain.output_shape[1:], sizes, 1)

    monkeypatch.setattr(training_steps, "_parts", small)
    assert work(here, way).median > 0


def test_an_evaluation_and_its_peer_run(monkeypatch):
    monkeypatch.setattr(scoring_steps, "RESAMPLES", 20)
    monkeypatch.chdir(bench_steps.ROOT)
    assert scoring_steps.evaluate_models(1_000).median > 0
    assert all(found.median > 0 for found in scoring_steps.resample(1_000))


def test_drawn_pairs_are_as_many_as_asked_for():
    pairs = scoring_steps.draw_pairs(1_000, np.random.default_rng(1))
    assert len(pairs.same) == 1_000 and pairs.same.sum() == 500


def test_memory_is_that_of_the_process_alone():
    small = measuring.apart(len, b"")
    large = measuring.apart(bytearray, 300_000_000)
    assert small.result == 0 and len(large.result) == 300_000_000
    assert large.peak > small.peak + 280


def test_a_ratio_above_one_is_in_our_favour():
    two, four = Rate(2.0, 0.1), Rate(4.0, 0.2)
    assert Comparison("a", "pairs/s", four, two, "original").ratio == 2
    assert Comparison("a", "MB", four, two, "original").ratio == 0.5
    assert Comparison("a", "MB", four, Rate(0, 0), "original").ratio is None
    assert Comparison("a", "s", four, None, "").ratio is None


def test_the_report_has_every_figure_and_whether_its_target_is_met(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_steps, "OUT", tmp_path / "results.json")
    two, four = Rate(2.0, 0.1), Rate(4.0, 0.2)
    found = [
        Comparison("fast", "pairs/s", four, two, "original", 1.5),
        Comparison("slow", "pairs/s", two, four, "dlib", 1.5),
        Comparison("flat", "MB", two, None, "", met=True),
    ]
    bench_steps.write(found, measuring.machine(), photos, "the sample")
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["machine"]["cores"] > 0
    assert report["photos"] == {"of": "the sample", "count": 16, "people": 4}
    assert report["figures"]["fast"] == {
        "unit": "pairs/s",
        "ours": 4.0,
        "original": 2.0,
        "beside": "original",
        "ratio": 2.0,
        "spread": {"ours": 0.2, "original": 0.1},
        "target": 1.5,
        "met": True,
    }
    assert report["figures"]["slow"]["met"] is False and report["figures"]["slow"]["peer"] == 4.0
    assert report["figures"]["flat"]["met"] is True
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert lines[0].startswith("16 photos of 4 people of the sample, on ")
    lines = lines[2:]
    assert lines[2] == "| fast | pairs/s | 4 | 2 | original | 2 | 1.5 met |"
    assert lines[3].endswith("| 0.5 | 1.5 not met |") and lines[4].endswith("|  |  | met |")


def test_what_a_script_reads_and_what_is_installed_for_it(tmp_path):
    (tmp_path / "data").write_bytes(bytes(5_000_000))
    (tmp_path / "helper.py").write_text("PLACE = 'data'\n")
    script = tmp_path / "script.py"
    script.write_text("import helper, sys\nopen(helper.PLACE, 'rb').read()\nsys.exit(1)\n")
    read = footprint.bytes_read_mb([str(script)], tmp_path)
    script.write_text("import helper, sys\nsys.exit(1)\n")
    assert read - footprint.bytes_read_mb([str(script)], tmp_path) == pytest.approx(5, abs=0.1)
    alone, both = footprint.installed_mb(["numpy"]), footprint.installed_mb(["numpy", "tqdm"])
    assert 20 < alone < both < alone + 5
