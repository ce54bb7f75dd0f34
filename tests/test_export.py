"""The exported verifier: one file that decides as the Keras models do, without TensorFlow."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from faceverify.base import digests, files
from faceverify.base.errors import InputError
from faceverify.evaluation import parity
from faceverify.model import features, litert, quality, store
from faceverify.model.network import Tower, angle, build_brain, build_tower, join
from faceverify.runs import parameters
from faceverify.verify import verifier_file
from faceverify.verify.face_networks import paths
from helpers import ROOT, error_line, run_script, sample_photos, write_parameters

CUT = ("VGG16", "block1_pool", 64)
SIZES = Tower(4, [8, 6], [7, 5], dropout=0.1, l2=0.01)
QUALITY = quality.load(ROOT / quality.WEIGHTS)
WEIGHTS = {"ja": 0.7, "mar": 0.1, "rai": 0.2}  # none of them is a float16 number


def made_member(tower_seed, tail=5, own_brain=False, reads="landmarks"):
    """A small member; its brain is everybody's, or one that was trained along."""
    brain = build_brain(*CUT, None, seed=3)
    if own_brain:
        rng = np.random.default_rng(tower_seed)
        brain.set_weights([w * rng.uniform(0.5, 1.5, w.shape) for w in brain.get_weights()])
    brain.trainable = own_brain
    sizes = SIZES._replace(tail_units=[7, tail], tail_reads=reads)
    tower = build_tower(brain.output_shape[1:], sizes, tower_seed)
    # VGG's features are large numbers: new weights would saturate every tail.
    head, *others = tower.get_weights()
    tower.set_weights([head * 0.1, *others])
    names = ("brain", "brain_layer", "brain_view")
    description = dict(zip(names, CUT, strict=True)) | {"brain_trainable": own_brain}
    return store.TrainedModel(brain, tower, description | sizes._asdict())


@pytest.fixture(scope="module")
def members():
    return {
        "ja": made_member(1),
        "mar": made_member(2, tail=9),
        "rai": made_member(3, own_brain=True),
    }


@pytest.fixture(scope="module")
def exported(members):
    return litert.convert(list(members.values()), list(WEIGHTS.values()), QUALITY)


@pytest.fixture(scope="module")
def network(exported):
    return verifier_file.Network(exported)


@pytest.fixture(scope="module")
def canvases(sample):
    paths = sorted((sample / "img_align_celeba").iterdir())[:11]  # more than one part
    return features.canvases([path.read_bytes() for path in paths], list(map(str, paths)))


def keras_tails(members, canvases):
    faces = (join(member.brain, member.tower) for member in members.values())
    return [face.predict_on_batch(canvases)["tail"] for face in faces]


def angles(first, second):
    """Each row's angle by the definition, in float64; pi / 2 for zero vectors."""
    first, second = first.astype(float), second.astype(float)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = (first * second).sum(axis=1) / np.where(norms == 0, 1, norms)
    return np.arccos(np.clip(cosines, -1, 1))


# The model file


@pytest.mark.parametrize("reads", ["neck", "brain"])
def test_a_calibrated_tail_is_exported_as_it_is(reads, canvases):
    made = made_member(4, reads=reads)
    made.tower.get_layer("calibration").constant.assign([1.7])
    found = verifier_file.Network(litert.convert([made], [1.0], QUALITY)).embed(canvases)[0]
    (expected,) = keras_tails({"ja": made}, canvases)
    assert found.shape == (11, made.tail_numbers) == (11, 6)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(found[:, -1], 1.7, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found[:, :-1], axis=1), 1, atol=1e-4)


def test_an_embedding_is_the_tails_of_the_members_in_their_order(members, network, canvases):
    found = network.embed(canvases)[0]
    assert (found.shape, found.dtype) == ((11, 5 + 9 + 5), np.float32)
    expected = np.concatenate(keras_tails(members, canvases), axis=1)
    assert np.ptp(expected, axis=0).min() > 0.005
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_theta_is_that_of_the_keras_models(members, network, canvases):
    embeddings = network.embed(canvases)[0]
    theta, by_member = network.compare(embeddings[:-1], embeddings[1:])
    tails = keras_tails(members, canvases)
    expected = np.stack([keras.ops.convert_to_numpy(angle(t[:-1], t[1:])) for t in tails], 1)
    assert expected.max() > 0.05
    np.testing.assert_allclose(by_member, expected, atol=3e-3)
    np.testing.assert_allclose(theta, expected @ list(WEIGHTS.values()), atol=3e-3)


def test_compare_is_exact_where_only_weights_are_float16(network):
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 5000, network.units)).astype(np.float32)  # several parts
    theta, by_member = network.compare(first, second)
    parts = np.split(np.arange(network.units), [5, 14])
    expected = np.stack([angles(first[:, p], second[:, p]) for p in parts], axis=1)
    np.testing.assert_allclose(by_member, expected, atol=1e-5)
    np.testing.assert_allclose(theta, by_member @ list(WEIGHTS.values()), atol=1e-6)


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((1, 1), 0),
        ((1, -1), np.pi),
        ((1, 0), np.pi / 2),
        ((0, 0), np.pi / 2),
        ((1e-30, 1), 0),
        ((1e30, -1e30), np.pi),
    ],
    ids=str,
)
def test_special_vectors_have_the_angles_of_the_model(network, factors, expected):
    vector = np.random.default_rng(6).normal(size=(1, network.units)).astype(np.float32)
    theta, by_member = network.compare(*(vector * np.float32(f) for f in factors))
    np.testing.assert_allclose(by_member, np.full((1, 3), expected), atol=1e-6)
    np.testing.assert_allclose(theta, [expected], atol=1e-6)


def test_a_photo_has_one_embedding_whatever_is_beside_it(network, canvases):
    together = network.embed(canvases)[0]
    alone = np.concatenate([network.embed(canvases[i : i + 1])[0] for i in range(len(canvases))])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    assert network.embed(canvases[:0])[0].shape == (0, network.units)
    theta, by_member = network.compare(together[:0], together[:0])
    assert (theta.shape, by_member.shape) == ((0,), (0, 3))


def test_several_threads_get_what_one_gets(network, canvases):
    expected = network.embed(canvases)[0]
    found = {}

    def work(i):
        found[i] = network.embed(canvases[i:])[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(6):
        np.testing.assert_allclose(found[i], expected[i:], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "arrays"),
    [
        ("embed", [np.zeros((1, 218, 218, 3), np.float32)]),
        ("embed", [np.zeros((218, 218, 3), np.uint8)]),
        ("embed", [np.zeros((1, 218, 178, 3), np.uint8)]),
        ("compare", [np.zeros((1, 19)), np.zeros((1, 19))]),
        ("compare", [np.zeros((1, 18), np.float32)] * 2),
        ("compare", [np.zeros((1, 19), np.float32), np.zeros((2, 19), np.float32)]),
    ],
)
def test_arrays_of_another_kind_or_shape_are_refused(network, call, arrays):
    with pytest.raises(ValueError, match="photos must be|first must be|cannot be compared"):
        getattr(network, call)(*arrays)


def convolutions(data):
    """How many convolutions a model file has in all its signatures."""
    parsed = schema.ModelT.InitFromPackedBuf(data, 0)
    kinds = [code.builtinCode for code in parsed.operatorCodes]
    used = (kinds[op.opcodeIndex] for graph in parsed.subgraphs for op in graph.operators)
    return sum(kind == schema.BuiltinOperator.CONV_2D for kind in used)


def test_a_shared_brain_is_stored_and_computed_once_and_an_own_one_kept(members):
    ja, mar, rai = members.values()
    brain_bytes = 2 * sum(w.size for w in ja.brain.get_weights())
    tower_bytes = 2 * mar.tower.count_params()
    alone, shared, own = (
        litert.convert(m, [1 / len(m)] * len(m), QUALITY) for m in ([ja], [ja, mar], [ja, rai])
    )
    assert len(alone) > brain_bytes
    assert len(shared) - len(alone) < tower_bytes + brain_bytes / 2
    assert len(own) - len(alone) > brain_bytes
    # Two of a brain, one of each tower's head, those of the quality network in two signatures.
    believing = 2 * len(quality.FILTERS)
    assert [convolutions(data) - believing for data in (alone, shared, own)] == [3, 4, 6]


def test_no_shape_is_open_and_no_operation_is_beyond_litert(exported):
    parsed = schema.ModelT.InitFromPackedBuf(exported, 0)
    for graph in parsed.subgraphs:
        for tensor in graph.tensors:
            assert tensor.shapeSignature is None or min(tensor.shapeSignature) >= 0, tensor.name
            assert tensor.shape is None or min(tensor.shape, default=1) >= 0, tensor.name
    assert not [code.customCode for code in parsed.operatorCodes if code.customCode]
    found = [(part.signatureKey.decode(), part.subgraphIndex) for part in parsed.signatureDefs]
    # `embed` is what is run where no signature is named.
    assert found == [("embed", 0), ("compare", 1), ("quality", 2)]
    assert len(parsed.subgraphs[0].inputs) == 1
    assert len(parsed.subgraphs[0].outputs) == 2


def test_the_quality_is_that_of_its_network_in_both_signatures(network, exported, canvases):
    expected = QUALITY.predict_on_batch(canvases.astype(np.float32))[:, 0]
    _, found = network.embed(canvases)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    alone = Interpreter(model_content=exported).get_signature_runner("quality")
    np.testing.assert_allclose(alone(photo=canvases[:1])["quality"], found[:1], atol=1e-6)


# Parity


def test_parity_counts_changed_decisions_and_those_far_from_the_threshold():
    off = parity.PARITY_LIMIT
    expected = {"ja": np.array([0.2, 0.5, 0.9]), "ensemble": np.array([0.2, 0.5, 0.9])}
    found = {"ja": expected["ja"] + 0.001, "ensemble": np.array([0.2, 0.5 + off / 2, 0.9])}
    assert parity.parity_report(expected, found, 0.5 + off / 4) == {
        "pairs": 3,
        "limit": off,
        "max_delta_theta": {"ja": 0.001, "ensemble": off / 2},
        "changed_decisions": 1,
        "changed_outside": 0,
    }


@pytest.mark.parametrize("theta", [0.5 + 1.1 * parity.PARITY_LIMIT, np.nan])
def test_an_export_whose_theta_is_off_is_refused(theta):
    expected = {"mar": np.array([0.5]), "ensemble": np.array([0.5])}
    with pytest.raises(InputError, match="^theta of mar is up to .* do not bear float16$"):
        parity.parity_report(expected, expected | {"mar": np.array([theta])}, 0.6)


# The stage


@pytest.fixture(scope="module")
def before(tmp_path_factory, sample, members):
    """A folder with what the stage reads: photos, pairs, members, figures, landmark model."""
    folder = tmp_path_factory.mktemp("export")
    write_parameters(folder, {"members": {name: {} for name in WEIGHTS}, "ensemble": WEIGHTS})
    prepared = folder / "prepared"
    (prepared / "selected").mkdir(parents=True)
    rows = []
    for person, names in sample_photos(sample, people=6, photos=3).items():
        for k, name in enumerate(names):
            shutil.copy(sample / "img_align_celeba" / name, prepared / f"selected/{person}-{k}.png")
            rows.append((f"{person}-{k}.png", person, name))
    selected = pd.DataFrame(rows, columns=["name", "identity", "source"])
    selected.to_csv(prepared / "selected.csv", index=False)
    files.write_json(prepared / "selected.json", {name: [0] * 136 for name in selected.name})
    people = selected.groupby("identity")
    pairs = [
        (f"pair-{i}", 1, "train" if i < 3 else "val", "a.png", "b.png", p, p, *own.source[:2])
        for i, (p, own) in enumerate(people)
    ]
    pd.DataFrame(pairs, columns=list(PAIR_COLUMNS)).to_csv(prepared / "pairs.csv", index=False)
    for name, member in members.items():
        store.save(folder / "models/members" / name, member)
    (folder / "metrics").mkdir()
    figures = {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": None}
    files.write_json(folder / "metrics/summary.json", {"ensemble": figures})
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    files.write_json(folder / "metrics/calibration.json", CALIBRATION)
    (folder / "data").mkdir()
    for file in paths(ROOT / "data"):
        shutil.copy(file, folder / "data")
    (folder / "src").symlink_to(ROOT / "src")
    return folder


PAIR_COLUMNS = (
    "pair", "label", "split", "first", "second",
    "first_identity", "second_identity", "first_source", "second_source",
)  # fmt: skip
CALIBRATION = {
    "kind": "shipped",
    "constants": {"ja": None, "mar": None, "rai": None, "old": 1.5},
    "thresholds": [{"fmr": 0.001, "threshold": 0.6}, {"fmr": 0.0001, "threshold": None}],
}
OUTS = (
    "models/verifier.tflite", "models/verifier.json", "models/vectors.json", "models/vector-1.png",
    "models/vector-2.png", "models/vector-3.png", "metrics/export.json",
)  # fmt: skip
IGNORED = shutil.ignore_patterns("verifier.*", "vector*", "export.json")


@pytest.fixture(scope="module")
def after(before):
    """The folder when the stage has run in it."""
    result = run_script("export.py", before)
    assert result.returncode == 0, result.stderr
    assert "delegate" not in result.stderr
    assert "radians of the float32 models" in result.stdout
    return before


@pytest.fixture
def copied(after, tmp_path):
    """A copy of what an app gets, to be damaged; gives verifier.json."""
    for path in [*map(after.joinpath, OUTS[:2]), *paths(after / "models")]:
        shutil.copy(path, tmp_path)
    return tmp_path / "verifier.json"


def test_the_stage_writes_the_file_and_what_is_known_of_it(before, after, exported):
    assert (after / OUTS[0]).read_bytes() == exported  # the same in another process
    loaded = verifier_file.load(after / OUTS[1])
    description = loaded.description
    assert description.model.bytes == len(exported)
    assert [(m.name, m.weight, m.tail) for m in description.members] == [
        ("ja", 0.7, 5), ("mar", 0.1, 9), ("rai", 0.2, 5),
    ]  # fmt: skip
    assert description.threshold == 0.6
    expected = CALIBRATION | {"constants": dict.fromkeys(WEIGHTS)}
    assert description.calibration.model_dump() == expected
    assert description.capture == parameters.load(before / "params.yaml").capture
    assert description.metrics == {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": None}
    for named in (description.finder, description.mesh):
        shipped = after / "data" / named.file
        assert (after / "models" / named.file).read_bytes() == shipped.read_bytes()
        assert (named.sha256, named.bytes) == (digests.digest(shipped), shipped.stat().st_size)
    assert set(description.inputs) == {
        f"models/members/{name}/{part}"
        for name in WEIGHTS
        for part in ("brain.weights.h5", "model.json", "tower.weights.h5")
    }
    assert all(
        digests.digest(after / name) == digest for name, digest in description.inputs.items()
    )
    parity = description.parity
    assert parity.pairs == 18  # 3 people x 3 genuine pairs, as many impostor pairs
    assert set(parity.max_delta_theta) == {*WEIGHTS, "ensemble"}
    assert 0 < max(parity.max_delta_theta.values()) <= parity.limit
    assert parity.changed_outside == 0
    figures = json.loads((after / OUTS[-1]).read_text())
    assert figures == parity.model_dump() | {"bytes": len(exported)}


def test_members_that_do_not_bear_float16_end_the_stage_and_lose_nothing(after, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(after, folder, symlinks=True)
    spoilt = store.load(folder / "models/members/mar")
    values = spoilt.tower.get_weights()
    values[-4] = values[-4] * 1e-9  # tail0's kernel: too small for float16
    values[-3] = values[-3] * 0
    values[-2] = values[-2] * 1e9
    spoilt.tower.set_weights(values)
    store.save(folder / "models/members/mar", spoilt)
    line = error_line(run_script("export.py", folder))
    assert line.startswith("export.py: error: theta of mar is up to ")
    assert "more than 0.005" in line
    for name in OUTS:
        assert (folder / name).read_bytes() == (after / name).read_bytes()
    assert not list(folder.rglob("*.tmp-*"))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("metrics/summary.json", "metrics/summary.json is missing; run `dvc repro`"),
        ("metrics/calibration.json", "metrics/calibration.json is missing"),
        ("models/members/mar/tower.weights.h5", "models/members/mar/tower.weights.h5 is missing"),
    ],
)
def test_a_missing_input_is_named(before, tmp_path, missing, said):
    folder = tmp_path / "copy"
    shutil.copytree(before, folder, ignore=IGNORED, symlinks=True)
    (folder / missing).unlink()
    assert said in error_line(run_script("export.py", folder))
    assert not any((folder / name).exists() for name in OUTS)


# Reading the two files


def test_neither_tensorflow_nor_keras_is_needed(copied):
    code = (
        "import sys; from pathlib import Path; from faceverify.verify import verifier_file\n"
        f"verifier_file.load(Path({str(copied)!r}))\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    loaded = set(json.loads(result.stdout.replace("'", '"')))
    assert "ai_edge_litert" in loaded
    assert not loaded & {"tensorflow", "keras", "pandas", "joblib", "cv2", "dlib"}


def fault(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        verifier_file.load(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut off", "one bit", "the other file"])
def test_a_damaged_model_file_is_named(copied, damage):
    file = copied.with_name("verifier.tflite")
    data = file.read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    file.write_bytes(
        {
            "empty": b"",
            "cut off": data[: len(data) // 2],
            "one bit": bytes(changed),
            "the other file": copied.read_bytes(),
        }.get(damage, data)
    )
    if damage == "missing":
        file.unlink()
    said = "is missing" if damage == "missing" else "is not the file that verifier.json describes"
    assert fault(copied).startswith(f"{file} {said}")


@pytest.mark.parametrize("data", [b"", b"no model", bytes(1000)], ids=len)
def test_bytes_that_are_no_model_are_named_even_when_described(copied, data):
    file = copied.with_name("verifier.tflite")
    file.write_bytes(data)
    description = json.loads(copied.read_text())
    description["model"] |= {"sha256": digests.digest(file), "bytes": max(len(data), 1)}
    copied.write_text(json.dumps(description))
    assert fault(copied).startswith(f"{file} is no verifier: ")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", "[" * 5000, '{"format": 1}', "NaN"], ids=len
)
def test_a_description_that_is_none_is_named(copied, text):
    copied.write_text(text)
    assert fault(copied).startswith(str(copied))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 1),
        ("format", "2"),
        ("model.file", "../verifier.tflite"),
        ("model.sha256", "abc"),
        ("threshold", "much"),
        ("threshold", 4),
        ("colour", "red"),
        ("input.canvas_width", 178),
        ("input.channels", "BGR"),
        ("input.mirroring", True),
        ("input.points.nose_tip.mesh", []),
        ("input.alignment.nose_tip", [1]),
        ("capture.second_face", 2),
        ("capture.min_brightness", 300),
        ("capture.min_quality", -0.1),
        ("calibration.kind", "guessed"),
        ("calibration.thresholds", [{"fmr": 2, "threshold": 0.6}]),
        ("members", []),
        ("members.0.tail", 6),
        ("members.1.name", "ja"),
        ("inputs", {"models/members/ja/model.json": 5}),
    ],
)
def test_a_wrong_value_is_named_by_its_key(copied, key, value):
    description = json.loads(copied.read_text())
    *groups, last = key.split(".")
    place = description
    for group in groups:
        place = place[int(group) if group.isdigit() else group]
    place[last] = value
    copied.write_text(json.dumps(description))
    message = fault(copied)
    if key == "model.file":
        assert "not a plain file name" in message
    else:
        assert message.startswith(str(copied))
        assert key.split(".")[0] in message or "two members have one name" in message


@pytest.mark.parametrize(
    ("tails", "weights"),
    [
        ([19], [1.0]),
        ([5, 9, 4, 1], [0.7, 0.1, 0.2, 0.0]),
        ([5, 8, 6], [0.7, 0.1, 0.2]),
        ([5, 9, 5], [0.2, 0.1, 0.7]),
    ],
    ids=["too few", "too many", "other tails", "in another order"],
)
def test_members_that_are_not_those_of_the_model_are_refused(copied, tails, weights):
    description = json.loads(copied.read_text())
    assert [member["tail"] for member in description["members"]] == [5, 9, 5]
    description["members"] = [
        {"name": f"m{k}", "weight": weight, "tail": tail}
        for k, (tail, weight) in enumerate(zip(tails, weights, strict=True))
    ]
    copied.write_text(json.dumps(description))
    assert fault(copied).startswith(f"{copied}: members: verifier.tflite has ")


def test_a_description_without_end_is_refused_at_once(copied):
    description = json.loads(copied.read_text()) | {"licences": [0] * 2**18}
    copied.write_text(json.dumps(description))
    assert fault(copied) == f"{copied} is larger than 0.25 MB"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_description_that_is_no_file_is_refused_and_not_waited_for(copied, kind):
    copied.unlink()
    make = {"pipe": os.mkfifo, "folder": os.mkdir}
    make.get(kind, lambda path: path.symlink_to("/dev/zero"))(copied)
    assert fault(copied) == f"{copied} is no regular file"
