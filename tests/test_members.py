"""Members are added, renamed and removed in params.yaml alone; everything else follows."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from faceverify.base.errors import InputError
from faceverify.evaluation import plot_data
from faceverify.runs import members
from tiny import MEMBERS, Clone

EVALUATED = {"evaluate", "export"}


def set_members(clone: Clone, change) -> None:
    """Change `members` and `ensemble` in params.yaml, and nothing else."""
    path = clone.folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    change(values["members"], values["ensemble"])
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def evaluated(clone: Clone) -> set[str]:
    """The models that the committed figures, scores and curves are of."""
    summary = json.loads((clone.folder / "metrics/summary.json").read_text())
    found = set(summary) - {"ensemble", "dlib"}
    with (clone.folder / "metrics/thetas.csv").open() as file:
        assert found == set(csv.DictReader(file).fieldnames) & (found | MEMBERS)
    with (clone.folder / "plots/training.csv").open() as file:
        assert found == {row["member"] for row in csv.DictReader(file)}
    trained = {folder.name for folder in (clone.folder / "models/members").iterdir()}
    assert trained == found == {f.name for f in (clone.folder / "plots/training").iterdir()}
    return found


def exported(clone: Clone) -> dict[str, float]:
    description = json.loads((clone.folder / "models/verifier.json").read_text())
    return {member["name"]: member["weight"] for member in description["members"]}


def stale(clone: Clone) -> set[str]:
    return set(clone.json("status", "--json"))


@pytest.mark.slow
def test_a_member_comes_and_goes_by_params_yaml_alone(clone, tmp_path):
    made = clone.copy(tmp_path / "clone")

    # One entry: trained, scored and shown, without a weight in the ensemble.
    set_members(made, lambda members, ensemble: members.update(baru={"seed": 11}))
    assert {"train@baru", "evaluate"} <= stale(made)
    assert made.stages_run(made.dvc("repro").stdout) == {"train@baru"} | EVALUATED
    assert evaluated(made) == {*MEMBERS, "baru"}
    assert set(exported(made)) == MEMBERS
    changed = {line[3:] for line in made.git("status", "--porcelain", "-uall").splitlines()}
    assert not {n for n in changed if not n.startswith(("dvc.lock", "metrics/", "plots/"))} - {
        "params.yaml"
    }
    assert made.stages_run(made.dvc("repro").stdout) == set()
    assert stale(made) == set()

    # A weight: nobody is trained again.
    set_members(made, lambda members, ensemble: ensemble.update(ja=0.6, baru=0.1))
    assert made.stages_run(made.dvc("repro").stdout) == EVALUATED
    assert exported(made)["baru"] == 0.1

    # Another name: the old one's model and curves go, the new one's come.
    def rename(members: dict, ensemble: dict) -> None:
        members["lama"] = members.pop("baru")
        ensemble["lama"] = ensemble.pop("baru")

    set_members(made, rename)
    done = made.dvc("repro")
    assert made.stages_run(done.stdout) == {"train@lama"} | EVALUATED
    assert "models/members/baru: no member of this name any more: removed" in done.stdout
    assert evaluated(made) == {*MEMBERS, "lama"}

    # Gone: the committed state is back, to the byte, but for what the lock file says of the past.
    def remove(members: dict, ensemble: dict) -> None:
        del members["lama"], ensemble["lama"]
        ensemble["ja"] = 0.7

    set_members(made, remove)
    assert made.stages_run(made.dvc("repro").stdout) == EVALUATED
    assert evaluated(made) == MEMBERS
    assert made.stages_run(made.dvc("repro").stdout) == set()
    assert made.git("status", "--porcelain", "metrics", "plots", "models") == ""
    fresh = made.clone(tmp_path / "fresh")
    for name in ("params.yaml", "dvc.lock"):
        (fresh.folder / name).write_bytes((made.folder / name).read_bytes())
    fresh.dvc("cache", "dir", "--local", str(made.folder / ".dvc/cache"))
    fresh.dvc("checkout")
    assert stale(fresh) == set()


def test_only_what_a_training_has_written_is_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = {members.MODELS: "model.json", members.CURVES: "environment.json"}
    for home, file in written.items():
        for name in ("ja", "former"):
            (home / name).mkdir(parents=True)
            (home / name / file).write_text("{}")
        (home / "notes").mkdir()
        (home / "notes.txt").write_text("mine")
        (home / "link").symlink_to(Path("former"))
    assert members.remove_former({"ja"}) == [home / "former" for home in written]
    for home in written:
        assert {p.name for p in home.iterdir()} == {"ja", "notes", "notes.txt", "link"}
    assert members.remove_former({"ja"}) == []


# The table of training curves


def write_curves(folder: Path, kept: object = 2) -> None:
    for k, split in enumerate(("train", "val")):
        place = folder / "ja/plots/metrics" / split
        place.mkdir(parents=True)
        for j, name in enumerate(plot_data.TRAINING.values()):
            rows = "".join(f"{i}\t{i + 0.1 * j + 0.01 * k}\n" for i in range(3))
            (place / f"{name}.tsv").write_text(f"step\t{name}\n{rows}")
    (folder / "ja/metrics.json").write_text(json.dumps({"kept_epoch": kept}))


def test_training_curves_are_one_table(tmp_path):
    write_curves(tmp_path)
    table = plot_data.training_curves(tmp_path, ["ja"])
    assert list(table) == ["member", "split", "epoch", "kept", *plot_data.TRAINING]
    assert table.epoch.tolist() == [1, 2, 3, 1, 2, 3]
    assert table.kept.tolist() == [0, 1, 0, 0, 1, 0]
    assert table[table.split == "val"].landmark_error.tolist() == pytest.approx([0.21, 1.21, 2.21])
    assert set(table.member) == {"ja"}


LOSS = "ja/plots/metrics/val/targetD_contrastive.tsv"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("ja/metrics.json", None, "metrics.json is missing"),
        ("ja/metrics.json", "[]", "do not have the same epochs"),
        ("ja/metrics.json", '{"kept_epoch": 4}', "do not have the same epochs"),
        (LOSS, None, "targetD_contrastive.tsv is missing"),
        (LOSS, "", "is not a training curve"),
        (LOSS, "step\tx\n0\t1\n1\tabc\n", "is not a training curve"),
        (LOSS, "step\tx\n0\t1\n2\t1\n", "does not have a row for each epoch"),
        (LOSS, "step\tx\n0\t1\n", "do not have the same epochs"),
    ],
)
def test_damaged_training_curves_end_in_one_line(tmp_path, file, text, said):
    write_curves(tmp_path)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=said):
        plot_data.training_curves(tmp_path, ["ja"])
