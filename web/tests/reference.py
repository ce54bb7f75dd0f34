"""What the Python package makes of the photos that the page is tested on.

`reference.py FOLDER [VERIFIER_JSON]`, with src and tests on the path, writes FOLDER/photos and
reference.json. Without a verifier it exports one of untrained towers on the shipped brain to
FOLDER/models. FOLDER/webgpu/models gets one whose network LiteRT runs on WebGPU.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from faceverify.verify import capture, face_search
from faceverify.verify.refusals import CaptureError
from faceverify.verify.verifier import Verifier
from helpers import encode, sample_photos

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data"
PAIRS = 30
# What the page searches faces by, as Python does.
SEARCH = (
    *("CLEAR_SCORE", "UPRIGHT_SCORE", "MESH_SCORE", "MESH_ROOM", "FINDER_ROOM", "LEAST_READS"),
    *("READS", "LEVEL", "HOPELESS_SCORES", "MOST_BOXES"),
    *("ZOOMS", "LEAST_CLOSER", "GRID", "MOST_ROLL"),
)
ANGLES = (0, 7, -12, 20)  # degrees by which the second photos of pairs are turned
# A member on a brain of convolutions, which LiteRT has on WebGPU, unlike EdgeFace's attention.
ON_WEBGPU = "rai"
SOFT = "soft.png"  # a photo that can be used, but is blurred
ENLARGED = 3.3  # how much larger than the aligned photos of the sample they are


def main() -> None:
    """Write the photos, then what the verifier says of them."""
    folder = Path(sys.argv[1])
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    trained = len(sys.argv) > 2
    verifier = Verifier.load(sys.argv[2] if trained else export(folder))
    members = yaml.safe_load((ROOT / "params.yaml").read_text())["members"]
    graphics = export(folder / "webgpu", members[ON_WEBGPU])
    faces = load_faces()
    pairs = [
        {
            "first": first,
            "second": second,
            "theta": theta(verifier, photos / first, photos / second),
        }
        for first, second in write_pairs(photos, faces)
    ]
    write_unusable(photos, faces)
    codes = {name: code(verifier, photos / name) for name in UNUSABLE}
    soft = cv2.GaussianBlur(enlarged(faces[1][0]), (0, 0), 1.9 * ENLARGED)
    (photos / SOFT).write_bytes(encode(".png", soft))
    told = {
        name: len(capture.advice(verifier.embed(photos / name).face.aligned))
        for name in (SOFT, pairs[0]["first"])
    }
    write_camera(photos / "camera.mjpeg", faces[0][0])
    search = {name: value for name, value in vars(face_search).items() if name in SEARCH}
    first = (photos / pairs[0][place] for place in ("first", "second"))
    webgpu = {"bundle": str(graphics.parent), "theta": theta(Verifier.load(graphics), *first)}
    reference = {
        "trained": trained,
        "pairs": pairs,
        "webgpu": webgpu,
        "codes": codes,
        "search": search,
        "told": told,
    }
    (folder / "reference.json").write_text(json.dumps(reference, indent=1))


def export(folder: Path, brain: dict[str, Any] | None = None) -> Path:
    """Export a verifier as the Python tests do."""
    from app import make_app  # it starts TensorFlow

    for part in ("models", "data"):  # of an earlier run, perhaps of other weights
        shutil.rmtree(folder / part, ignore_errors=True)
    make_app(folder, SAMPLE, brain)
    return folder / "models/verifier.json"


def load_faces() -> list[list[np.ndarray]]:
    """Two photos each of 30 people, uint8 RGB (218, 178, 3)."""
    names = sample_photos(SAMPLE, PAIRS, 2).values()
    return [
        [cv2.imread(str(SAMPLE / "img_align_celeba" / n), cv2.IMREAD_COLOR_RGB) for n in pair]
        for pair in names
    ]


def write_pairs(folder: Path, faces: list[list[np.ndarray]]) -> list[tuple[str, str]]:
    """Write 30 pairs, every second one of two people, as PNG and as JPEG; their names."""
    found = []
    for i, pair in enumerate(faces):
        other = faces[(i + i % 2) % PAIRS][1]
        second = turned(other, ANGLES[i % 4])
        if i % 5 == 4:  # a card on its side
            second = np.ascontiguousarray(np.rot90(second))
        for suffix, options in ((".png", ()), (".jpg", (cv2.IMWRITE_JPEG_QUALITY, 88))):
            names = f"{i}-first{suffix}", f"{i}-second{suffix}"
            for name, photo in zip(names, (pair[0], second), strict=True):
                (folder / name).write_bytes(encode(suffix, photo, *options))
            found.append(names)
    return found


def turned(photo: np.ndarray, angle: float) -> np.ndarray:
    """A photo enlarged and turned, as a camera sees it."""
    large = enlarged(photo)
    height, width = large.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    return cv2.warpAffine(large, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def enlarged(photo: np.ndarray) -> np.ndarray:
    """A photo at the size of a camera's."""
    return cv2.resize(photo, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)


def grey(value: float) -> np.ndarray:
    """A photo of nothing."""
    return np.full((480, 640, 3), value, np.uint8)


def small(photo: np.ndarray) -> np.ndarray:
    """A face too far away."""
    tiny = cv2.resize(photo, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    view = grey(110)
    top, left = 240 - len(tiny) // 2, 320 - tiny.shape[1] // 2
    view[top : top + len(tiny), left : left + tiny.shape[1]] = tiny
    return view


# Photos that cannot be used, made of two people's faces.
UNUSABLE = {
    "two_faces.png": lambda one, two: np.hstack([enlarged(one), enlarged(two)]),
    "no_face.png": lambda one, two: grey(128),
    "small.png": lambda one, two: small(one),
    "dark.png": lambda one, two: (enlarged(one) * 0.15).astype(np.uint8),
    "bright.png": lambda one, two: (225 + enlarged(one) * 0.11).astype(np.uint8),
    "blurred.png": lambda one, two: cv2.GaussianBlur(enlarged(one), (0, 0), 14),
}


def write_unusable(folder: Path, faces: list[list[np.ndarray]]) -> None:
    """Write the photos that cannot be used."""
    for name, make in UNUSABLE.items():
        (folder / name).write_bytes(encode(".png", make(faces[0][0], faces[1][0])))


def write_camera(path: Path, photo: np.ndarray) -> None:
    """Write what a camera sees, as Motion JPEG of ten frames."""
    view = grey(110)
    large = cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    view[22 : 22 + len(large), 142 : 142 + large.shape[1]] = large
    path.write_bytes(encode(".jpg", view, cv2.IMWRITE_JPEG_QUALITY, 95) * 10)


def theta(verifier: Verifier, first: Path, second: Path) -> float | None:
    """The angle of two photos; None where one cannot be used."""
    try:
        one, other = (verifier.embed(path, any_side=True) for path in (first, second))
    except CaptureError:
        return None
    return verifier.compare(one, other).theta


def code(verifier: Verifier, path: Path) -> str | None:
    """Why a photo cannot be used; None where it can."""
    try:
        verifier.embed(path)
    except CaptureError as error:
        return error.code
    return None


if __name__ == "__main__":
    main()
