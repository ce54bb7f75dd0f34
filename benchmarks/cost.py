"""What each stage costs per 1,000 photos, in CPU seconds, on photos in CelebA's layout.

`python benchmarks/cost.py /path/to/celeba` runs the stages with params.faces.yaml on some people,
in a folder of its own, and prints a table. The cost of a stage is the processor time of its
process and of those that it starts, less that of a start that finds no params.yaml.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LISTS = ("identity_CelebA.txt", "list_attr_celeba.txt")
MODELS = (
    "shape_predictor_68_face_landmarks.dat",
    "dlib_face_recognition_resnet_model_v1.dat",
    "face_detection_full_range.tflite",
    "face_landmark.tflite",
)
EPOCHS = 11


def main() -> None:
    """Run the stages one after the other and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder in CelebA's layout")
    parser.add_argument("--people", type=int, default=20, help="how many people are used")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs, bare = {}, started(folder)
        count = make_project(folder, arguments.data.resolve(), arguments.people)
        for stage in ("select_faces", "pair_faces", "write_records"):
            costs[stage] = run(folder, stage) - bare[stage]
        # ja computes the brain's features, rai trains ten epochs more than mar.
        first, one = (run(folder, "train", m) for m in ("ja", "mar"))
        set_parameters(folder, epochs=EPOCHS)
        many = run(folder, "train", "rai")
        costs["train: features"] = first - one
        costs["train: one epoch"] = (many - one) / (EPOCHS - 1)
        set_parameters(folder, epochs=1)
        run(folder, "train", "alip")
        for stage in ("evaluate", "export"):
            costs[stage] = run(folder, stage) - bare[stage]
    print(f"{count} photos\n\n| step | CPU seconds per 1,000 photos |\n| --- | --- |")
    for step, seconds in costs.items():
        print(f"| {step} | {1000 * seconds / count:.1f} |")
    print("\nstarting a script, CPU seconds: " + ", ".join(f"{s} {t:.1f}" for s, t in bare.items()))


def make_project(folder: Path, data: Path, people: int) -> int:
    """Lists of some people's photos and links to the data; gives how many photos are wanted."""
    values = yaml.safe_load((ROOT / "params.faces.yaml").read_text())
    each = values["select"]["faces_per_identity"]
    photos: dict[str, list[str]] = {}
    for line in (data / LISTS[0]).read_text().splitlines():
        photo, person = line.split()
        photos.setdefault(person, []).append(photo)
    chosen = {person: own for person, own in photos.items() if len(own) >= each}
    chosen = dict(sorted(chosen.items(), key=lambda item: int(item[0]))[:people])
    wanted = {photo for own in chosen.values() for photo in own}
    (folder / "data").mkdir()
    for name in LISTS:
        lines = (data / name).read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.split()[:1] and line.split()[0] in wanted]
        head = [f"{len(kept)}\n", lines[1]] if name == LISTS[1] else []
        (folder / "data" / name).write_text("".join(head + kept))
    (folder / "data/img_align_celeba").symlink_to(data / "img_align_celeba")
    for name in MODELS:
        (folder / "data" / name).symlink_to(ROOT / "data" / name)
    (folder / "pretrained").symlink_to(ROOT / "pretrained")
    values["pair"]["val_identities"] = []
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    set_parameters(folder, epochs=1)
    return len(chosen) * each


def set_parameters(folder: Path, **changes: object) -> None:
    """Change top-level values of the project's params.yaml."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def started(folder: Path) -> dict[str, float]:
    """CPU seconds that a stage's script takes to start, in an empty folder."""
    stages = ("select_faces", "pair_faces", "write_records", "evaluate", "export")
    return {stage: run(folder, stage, code=2) for stage in stages}


def run(folder: Path, stage: str, *arguments: str, code: int = 0) -> float:
    """Run a stage; gives the CPU seconds of its process and of those that it waited for."""
    begin = time.perf_counter()
    command = [sys.executable, ROOT / "src" / f"{stage}.py", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != code:
        sys.exit(output.decode())
    seconds = usage.ru_utime + usage.ru_stime
    wall = time.perf_counter() - begin
    print(f"{stage} {' '.join(arguments)}: {seconds:.1f} CPU s, {wall:.1f} s", file=sys.stderr)
    return seconds


if __name__ == "__main__":
    main()
