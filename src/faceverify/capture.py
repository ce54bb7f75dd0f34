"""A photo straight from a phone, an identity card or a selfie, to the aligned face the model takes.

Whatever cannot be used is refused with a reason and an advice for the person who took it.
"""

import io
import re
import stat
import threading
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import dlib
import numpy as np

# Named here because Pillow otherwise imports all of its fifty formats to find these two.
from PIL import (
    Image,
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from faceverify import alignment, landmarks
from faceverify.errors import UnusableError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 100_000_000
# A progressive JPEG has about 10 scans. Each takes a pass over all pixels and only a few bytes
# of the file, so that a small file of many scans would keep a machine busy for hours.
MAX_SCANS = 100
# What is kept of a larger photo: of 12 megapixels half the side, which JPEG decodes at little cost.
LEAST_SIDE, LONGEST_SIDE = 1600, 2048

# Sides of the photo, in pixels, at which faces are searched; dlib's smallest face has 73 pixels.
SEARCH_SIDES = (320, 640, 1280)
MAX_ENLARGEMENT = 3
SMALLEST_FACE = 73
# Replicated pixels around a photo whose face touches its frame, as a share of its side.
BORDER = 0.15
# dlib's detection scores. Of real faces, 97 in 100 score above the first; wrong second faces in
# photos of one person score below it. An upside-down face never scores above the second.
SURE_SCORE, UPRIGHT_SCORE = 0.4, 1.0
# The side of a face, in pixels, that dlib's predictor is shown: its points are whole pixels.
PREDICTOR_SIDE = 256

# The face on the canvas, from the brows to below the lips and from cheek to cheek.
FACE_AREA = (slice(86, 174), slice(50, 128))
# Fine and coarse detail: what one Gaussian blur leaves and the next takes; sigmas in canvas pixels.
FINE_BAND, COARSE_BAND = (1.4, 2.0), (3.0, 6.0)


class CaptureError(UnusableError):
    """A photo that cannot be used; the message is for the person who took it.

    `code` names the reason for a program and stays the same when the wording changes.
    """

    code = "unusable"


class UnreadablePhotoError(CaptureError):
    """There is no file, or no picture in it that can be decoded."""

    code = "unreadable"


class TooManyPixelsError(CaptureError):
    """The picture has, or its header claims, more pixels than are decoded."""

    code = "too_many_pixels"


class NoFaceError(CaptureError):
    """No face was found."""

    code = "no_face"


class SeveralFacesError(CaptureError):
    """There is a second face of comparable size."""

    code = "several_faces"


class FaceTooSmallError(CaptureError):
    """The photo as taken has too few pixels of the face."""

    code = "face_too_small"


class BlurredError(CaptureError):
    """The face is out of focus, or moved."""

    code = "blurred"


class TooDarkError(CaptureError):
    """The face has too little light."""

    code = "too_dark"


class WashedOutError(CaptureError):
    """The face has too much light."""

    code = "washed_out"


class Limits(NamedTuple):
    """What a photo must reach to be used.

    `min_interocular`: least distance between the eye centres, in pixels of the photo as taken.
    `min_sharpness`: least `sharpness` of the aligned face. `min_brightness` and
    `max_brightness`: range of its `brightness`, in 0 .. 255. `second_face`: a further face
    counts when its side is at least this share, in 0 .. 1, of the largest face's.
    """

    min_interocular: float = 24
    min_sharpness: float = 0.42
    min_brightness: float = 35
    max_brightness: float = 215
    second_face: float = 0.6


class Photo(NamedTuple):
    """A decoded photo: `pixels`, upright as its orientation tag says, uint8 RGB (height, width, 3).

    Its longest side is at most LONGEST_SIDE; `scale` is how many pixels of the photo as taken
    lie along one of these, 1 or more.
    """

    pixels: np.ndarray
    scale: float


class Face(NamedTuple):
    """The face of a photo.

    `points`: its 68 landmarks, float (68, 2) as (x, y), in pixels of the photo after `turns`
    quarter turns counter-clockwise, which brought it upright. `aligned`: uint8 RGB
    (218, 178, 3). `interocular`: distance between the eye centres in pixels of the photo as
    taken. `others`: how many further faces of comparable size there are.
    """

    points: np.ndarray
    turns: int
    aligned: np.ndarray
    interocular: float
    others: int


def read_photo(path: Path) -> Photo:
    """Read and decode a photo file; see `decode_photo`.

    UnreadablePhotoError also for what is no regular file: reading a pipe could wait forever.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadablePhotoError("this is a folder or a device; name a photo file")
        _check_size(status.st_size)
        with path.open("rb") as file:
            return decode_photo(file.read(MAX_BYTES + 1))
    except OSError as error:
        reason = (error.strerror or "read error").lower()
        raise UnreadablePhotoError(f"the photo cannot be read: {reason}") from None
    except ValueError:  # a null character in its name
        raise UnreadablePhotoError("the photo cannot be read: no such file") from None


def decode_photo(data: bytes) -> Photo:
    """Decode a JPEG, PNG, WebP, BMP or TIFF file's bytes, of any depth and colour mode.

    The orientation tag is applied, transparency becomes white, 16 bits are cut to 8, of several
    frames the first is taken. Raises TooManyPixelsError by the header alone, before a pixel is
    decoded, and UnreadablePhotoError for everything else that is not a whole photo.
    """
    _check_size(len(data))
    if data[4:8] == b"ftyp":
        raise UnreadablePhotoError(
            "a HEIC or AVIF photo or a video; set the camera to its most compatible format, JPEG"
        )
    try:
        return _decode(data)
    except CaptureError:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except Image.UnidentifiedImageError:
        raise UnreadablePhotoError(
            "not a JPEG, PNG, WebP, BMP or TIFF photo; send the photo as JPEG"
        ) from None
    except Exception:  # on damaged data Pillow's formats raise nearly every built-in exception
        raise UnreadablePhotoError("the photo is damaged or cut off; send it again") from None


def _check_size(size: int) -> None:
    if size == 0:
        raise UnreadablePhotoError("the file is empty; send the photo again")
    if size > MAX_BYTES:
        raise UnreadablePhotoError(
            f"the file is larger than {MAX_BYTES // 2**20} MB; send the photo as JPEG"
        )


def _too_many_pixels() -> TooManyPixelsError:
    return TooManyPixelsError(
        f"the photo has more than {MAX_PIXELS // 1_000_000} megapixels; "
        "lower the camera's resolution"
    )


# Python's filter of warnings belongs to all threads together.
_warnings_lock = threading.Lock()


def _decode(data: bytes) -> Photo:
    with _warnings_lock, warnings.catch_warnings():
        # Pillow warns of odd tags and, before the check below, of many pixels.
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_many_pixels()
        if image.format in ("JPEG", "MPO"):
            _check_scans(data)
            _draft(image)
        image.load()
        pixels = _rgb(image)
        orientation = _orientation(image)
    pixels = _turned(_shrunk(pixels, LONGEST_SIDE), orientation)
    return Photo(np.ascontiguousarray(pixels), max(width, height) / max(pixels.shape))


# The next marker of a JPEG that is not a stuffed zero, a restart or a fill byte.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def _check_scans(data: bytes) -> None:
    if data.count(bytes([0xFF, _START_OF_SCAN])) <= MAX_SCANS:
        return  # at no cost, for nearly every photo; a video behind it holds such bytes by chance
    scans, place = 0, 2
    while found := _MARKER.search(data, place):
        marker, place = data[found.start() + 1], found.end()
        if marker == _END_OF_IMAGE:
            return
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise UnreadablePhotoError("the JPEG is built abnormally; send another photo")
        place += int.from_bytes(data[place : place + 2])


def _draft(image: Image.Image) -> None:
    """Let JPEG decode at 1/2, 1/4 or 1/8 of its size where LEAST_SIDE remains."""
    divisor = max((d for d in (2, 4, 8) if max(image.size) >= LEAST_SIDE * d), default=1)
    if divisor > 1:
        image.draft(None, tuple(max(side // divisor, 1) for side in image.size))


def _rgb(image: Image.Image) -> np.ndarray:
    """Any of Pillow's modes as uint8 RGB (height, width, 3)."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if image.mode in ("I", "F"):
        raise UnreadablePhotoError("the photo has 32 bits a channel; send it as JPEG")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where it is missing or damaged."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged tags do not spoil the picture
        return 1
    return orientation if orientation in range(1, 9) else 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an orientation of EXIF 2.32 (tag 0x0112, "Orientation")."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """Bring the longest side down to `side` pixels, by area."""
    return _resized(pixels, side / max(pixels.shape[:2])) if max(pixels.shape) > side else pixels


def _resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    height, width = pixels.shape[:2]
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    return cv2.resize(
        pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    )


def find_face(
    photo: Photo,
    predictor_file: Path,
    limits: Limits,
    *,
    any_side: bool = False,
    allow_several: bool = False,
) -> Face:
    """Find a photo's face and align it; the CaptureError that says why it cannot be used.

    `predictor_file` is dlib's 68-point model. With `any_side` a face that lies on its side or
    upside down is found too, as on a card. With `allow_several` the largest face is taken where
    there are several. May be called from several threads at once.
    """
    grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY)
    faces = _search(grey, (0, 1, 2, 3) if any_side else (0,))
    if not faces.scores:
        raise NoFaceError("no face was found; show the whole face, from the front and upright")
    faces = _search_small(grey, faces, limits.second_face)
    main = faces.main()
    others = faces.others(main, limits.second_face)
    if others and not allow_several:
        raise SeveralFacesError("there is more than one face; show only your own")
    points = _predict(np.rot90(grey, faces.turns), faces.boxes[main], predictor_file)
    right_eye, left_eye = alignment.five_points(points)[:2]
    interocular = float(np.linalg.norm(left_eye - right_eye)) * photo.scale
    if interocular < limits.min_interocular:
        raise FaceTooSmallError("the face is too small; move the phone closer")
    upright = np.ascontiguousarray(np.rot90(photo.pixels, faces.turns))
    aligned = alignment.align(upright, alignment.alignment_matrix(points))
    check_quality(aligned, limits)
    return Face(points, faces.turns, aligned, interocular, others)


def check_quality(aligned: np.ndarray, limits: Limits) -> None:
    """Raise TooDarkError, WashedOutError or BlurredError where an aligned face exceeds a limit."""
    light = brightness(aligned)
    if light < limits.min_brightness:
        raise TooDarkError("the face is too dark; use more light")
    if light > limits.max_brightness:
        raise WashedOutError("the face is washed out; avoid flash, glare and bright light on it")
    if sharpness(aligned) < limits.min_sharpness:
        raise BlurredError("the face is blurred; hold the phone still and use more light")


def brightness(aligned: np.ndarray) -> float:
    """Mean luma of an aligned face, uint8 RGB (218, 178, 3); 0 (black) .. 255 (white).

    Luma is ITU-R BT.601's, taken inside FACE_AREA.
    """
    return float(cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY)[FACE_AREA].mean())


def sharpness(aligned: np.ndarray) -> float:
    """Fine detail of an aligned face, uint8 RGB (218, 178, 3), over its coarse detail; 0 or more.

    Both are differences of Gaussians (Marr and Hildreth, "Theory of edge detection", 1980)
    inside FACE_AREA: their gradients' standard deviations, whose ratio does not change with the
    photo's brightness or contrast. The lesser of the ratios along x and along y, because a
    shaken phone blurs in one direction only. The finest detail, where the sensor's noise is, is
    in neither. Around 1 for a sharp photo; 0 for a face without any detail.
    """
    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = (_band(grey, *sigmas) for sigmas in (FINE_BAND, COARSE_BAND))
    ratios = []
    for axis in (0, 1):
        most = np.diff(coarse, axis=axis).std()
        ratios.append(np.diff(fine, axis=axis).std() / most if most > 0 else 0.0)
    return float(min(ratios))


def _band(grey: np.ndarray, low: float, high: float) -> np.ndarray:
    blurred = [cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (low, high)]
    return (blurred[0] - blurred[1])[FACE_AREA]


class _Faces(NamedTuple):
    """Found faces: `boxes` as (left, top, right, bottom) in pixels of the photo after `turns`."""

    turns: int
    side: float  # at which the photo was searched
    boxes: list[np.ndarray]
    scores: list[float]

    def best(self) -> float:
        return max(self.scores, default=-np.inf)

    def size(self, i: int) -> float:
        return self.boxes[i][2] - self.boxes[i][0]

    def main(self) -> int:
        """The largest of the sure faces; where none is sure, the likeliest."""
        sure = [i for i, score in enumerate(self.scores) if score >= SURE_SCORE]
        return max(sure, key=self.size) if sure else int(np.argmax(self.scores))

    def others(self, main: int, share: float) -> int:
        """How many further sure faces have at least this share of the main one's side."""
        return sum(
            score >= SURE_SCORE and self.size(i) >= share * self.size(main)
            for i, score in enumerate(self.scores)
            if i != main
        )


def _search(grey: np.ndarray, turns: tuple[int, ...]) -> _Faces:
    """Search from coarse to fine, until a face is sure; else give the likeliest faces."""
    doubtful = []
    for side, border in [*((side, 0.0) for side in SEARCH_SIDES), (SEARCH_SIDES[0], BORDER)]:
        found = _detect(grey, side, turns[0], border)
        if found.best() < UPRIGHT_SCORE:
            # An upside-down face can look like a face as well, but less so.
            tried = [found, *(_detect(grey, side, turn, border) for turn in turns[1:])]
            found = max(tried, key=_Faces.best)
        if found.best() >= SURE_SCORE:
            return found
        doubtful.append(found)
    return max(doubtful, key=_Faces.best)


def _search_small(grey: np.ndarray, faces: _Faces, share: float) -> _Faces:
    """Search more finely where a face of this share of the largest would have been overlooked."""
    smallest = share * faces.size(faces.main()) * faces.side / max(grey.shape)
    if smallest >= SMALLEST_FACE:
        return faces
    side = min(faces.side * SMALLEST_FACE / smallest, SEARCH_SIDES[-1])
    if side <= faces.side:
        return faces
    finer = _detect(grey, side, faces.turns, 0.0)
    return finer if finer.best() >= SURE_SCORE else faces


# Detecting changes the detector inside, so that each thread has its own.
_local = threading.local()


def _detect(grey: np.ndarray, side: float, turns: int, border: float) -> _Faces:
    """Detect the faces of a photo turned and brought to this longest side, without its border."""
    if not hasattr(_local, "detector"):
        _local.detector = dlib.get_frontal_face_detector()
    longest = max(grey.shape)
    factor = min(side / longest, MAX_ENLARGEMENT)
    small = np.rot90(_resized(grey, factor), turns)
    margin = round(border * max(small.shape))
    small = cv2.copyMakeBorder(
        np.ascontiguousarray(small), *[margin] * 4, borderType=cv2.BORDER_REPLICATE
    )
    rectangles, scores, _ = _local.detector.run(small, 0, 0.0)
    boxes = [
        (np.array([r.left(), r.top(), r.right() + 1, r.bottom() + 1]) - margin) / factor
        for r in rectangles
    ]
    return _Faces(turns, factor * longest, boxes, list(scores))


def _predict(grey: np.ndarray, box: np.ndarray, predictor_file: Path) -> np.ndarray:
    """The 68 landmarks, float (68, 2), of the face in a box; both in pixels of the photo.

    The face is cut out with half a box around it and brought to PREDICTOR_SIDE, so that neither
    the noise of a large one nor the whole pixels of dlib's points in a small one matter.
    """
    height, width = grey.shape
    margin = (box[2] - box[0]) / 2
    left, top = np.floor(box[:2] - margin).astype(int)
    right, bottom = np.ceil(box[2:] + margin).astype(int)
    columns = np.arange(left, right).clip(0, width - 1)
    rows = np.arange(top, bottom).clip(0, height - 1)
    factor = PREDICTOR_SIDE / (box[2] - box[0])
    cut = _resized(grey[rows[:, None], columns], factor)
    ratio = np.array(cut.shape[::-1]) / (right - left, bottom - top)
    place = np.rint((box - [left, top, left, top]) * np.tile(ratio, 2)).astype(int)
    place[2:] -= 1  # dlib's last pixel lies inside
    shape = landmarks.predictor(predictor_file)(cut, dlib.rectangle(*place.tolist()))
    points = np.array([(point.x, point.y) for point in shape.parts()])
    # Pixel centres lie at whole numbers in both pictures.
    return (points + 0.5) / ratio - 0.5 + (left, top)
