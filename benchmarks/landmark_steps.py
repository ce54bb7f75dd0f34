"""Stage 1: landmarks on all cores, beside the same dlib calls in one thread."""

import os

import dlib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from PIL import Image

import select_faces
from faceverify.base import workers
from material import FACES_EACH, PREDICTOR, Photos
from measuring import Comparison, Rate, apart, rate

# Share of (cores x the rate of one thread) that is to be reached.
EFFICIENCY = 0.9


def compare(photos: Photos) -> list[Comparison]:
    """Photos a second, from the file to 68 points."""
    ours, theirs = apart(by_the_stage, photos).result, apart(in_one_thread, photos).result
    target = EFFICIENCY * (os.cpu_count() or 1)
    return [Comparison("landmarks", "photos/s", ours, theirs, "original", target)]


def by_the_stage(photos: Photos) -> Rate:
    """The stage's own search, when its workers have started."""

    def search() -> int:
        found = select_faces.search_all(
            photos.folder, photos.people, FACES_EACH, PREDICTOR, workers.LOCAL
        )
        _check(photos, {face.source: face.landmarks for s in found.values() for face in s.faces})
        return len(photos.landmarks)

    search()
    found = rate(search)
    get_reusable_executor().shutdown()  # the process ends only after them, 5 minutes later
    return found


def in_one_thread(photos: Photos) -> Rate:
    """The original's way: plain dlib calls, photo after photo."""

    detector, predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(PREDICTOR))

    def search() -> int:
        found = {}
        for name in photos.landmarks:
            photo = np.array(Image.open(photos.folder / name).convert("RGB"))
            faces = detector(photo, 0) or detector(photo, 1)
            points = predictor(photo, max(faces, key=lambda face: face.area())).parts()
            found[name] = [point.x for point in points] + [point.y for point in points]
        _check(photos, found)
        return len(found)

    return rate(search)


def _check(photos: Photos, found: dict[str, list[int]]) -> None:
    if found != photos.landmarks:
        raise RuntimeError(
            "the two ways do not give the same landmarks: they are not the same work"
        )
