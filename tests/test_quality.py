"""The quality of a face: what is believed to be one, and what is refused."""

import cv2
import numpy as np
import pytest

from faceverify.base.errors import InputError
from faceverify.evaluation import card_condition
from faceverify.evaluation.card_condition import CardPairs
from faceverify.evaluation.judged_photos import JudgedPhotos
from faceverify.evaluation.verification import NO_PHOTO, VerificationPairs
from faceverify.faces.aligned_photos import decode_aligned, to_canvas
from faceverify.faces.alignment import CANONICAL_POINTS
from faceverify.model import quality
from faceverify.verify.refusals import DoubtfulError
from faceverify.verify.verifier import Verifier
from helpers import ROOT, sample_photos
from phone import encoded, phone_photo

LIMIT = 0.5  # min_quality, as shipped


@pytest.fixture(scope="module")
def network():
    return quality.load(ROOT / quality.WEIGHTS)


@pytest.fixture(scope="module")
def photos(sample) -> list[np.ndarray]:
    """Aligned photos of everybody in the sample."""
    names = [name for own in sample_photos(sample, 40, 3).values() for name in own]
    return [decode_aligned((sample / "img_align_celeba" / name).read_bytes()) for name in names]


def similarity(points: np.ndarray) -> np.ndarray:
    """The least-squares similarity without mirroring to the canonical points; S. Umeyama, 1991."""
    p, t = (q - q.mean(axis=0) for q in (points, CANONICAL_POINTS))
    u, scales, v = np.linalg.svd(t.T @ p)
    signs = np.array([1, np.sign(np.linalg.det(u @ v))])
    matrix = (scales * signs).sum() / np.square(p).sum() * (u * signs) @ v
    shift = CANONICAL_POINTS.mean(axis=0) - matrix @ points.mean(axis=0)
    return np.column_stack([matrix, shift])


def swapped(photo: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    matrix = similarity(CANONICAL_POINTS[list(order)])
    return cv2.warpAffine(photo, matrix, (178, 218), borderMode=cv2.BORDER_REPLICATE)


WRONG = {
    "box": lambda photo: cv2.resize(photo[90:175, 46:131], (178, 218)),
    "eyes swapped": lambda photo: swapped(photo, (1, 0, 2, 3, 4)),
    "sides swapped": lambda photo: swapped(photo, (1, 0, 2, 4, 3)),
    "on its side": lambda photo: cv2.resize(np.rot90(photo), (178, 218)),
}


def believed(network, photos) -> np.ndarray:
    canvases = np.stack([to_canvas(np.ascontiguousarray(photo)) for photo in photos])
    return network.predict(canvases.astype(np.float32), verbose=0)[:, 0]


def test_aligned_faces_are_believed(network, photos):
    assert (believed(network, photos) >= LIMIT).mean() >= 0.99


@pytest.mark.parametrize("kind", WRONG)
def test_faces_that_are_not_aligned_are_not_believed(network, photos, kind):
    assert (believed(network, [WRONG[kind](photo) for photo in photos]) < LIMIT).mean() >= 0.99


def test_what_is_no_face_is_not_believed(network):
    rng = np.random.default_rng(1)
    plain = [np.full((218, 178, 3), level, np.uint8) for level in (0, 64, 128, 192, 255)]
    noise = [rng.integers(0, 256, (218, 178, 3), np.uint8) for _ in range(20)]
    noise += [np.repeat(rng.integers(0, 256, (218, 178, 1), np.uint8), 3, axis=2)]
    assert believed(network, plain + noise).max() < LIMIT


def test_weights_that_were_changed_are_refused(tmp_path):
    path = tmp_path / quality.WEIGHTS.name
    data = bytearray((ROOT / quality.WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    checksum = (ROOT / quality.WEIGHTS).with_name(f"{path.name}.sha256")
    path.with_name(checksum.name).write_bytes(checksum.read_bytes())
    with pytest.raises(InputError, match="quality.weights.h5"):
        quality.load(path)


def test_verify_refuses_below_the_limit_of_its_description(app_folder, sample):
    verifier = Verifier.load(app_folder / "models/verifier.json")
    name = next(iter(sample_photos(sample, 1, 1).values()))[0]
    taken = encoded(phone_photo(sample / "img_align_celeba" / name, 600, 800))
    found = verifier.embed(taken)
    assert LIMIT <= found.quality <= 1
    stricter = verifier.description.capture.model_copy(update={"min_quality": 1.0})
    verifier.description = verifier.description.model_copy(update={"capture": stricter})
    with pytest.raises(DoubtfulError) as refused:
        verifier.embed(taken)
    assert refused.value.code == "doubtful"


def test_a_doubtful_face_on_a_card_counts_as_no_answer(network, sample, tmp_path):
    name = next(iter(sample_photos(sample, 1, 1).values()))[0]
    good = (sample / "img_align_celeba" / name).read_bytes()
    (tmp_path / "5.png").write_bytes(good)
    turned = decode_aligned(good)[::-1, ::-1]
    (tmp_path / "7.png").write_bytes(cv2.imencode(".png", turned)[1].tobytes())
    faces = JudgedPhotos(tmp_path, ["5.png", "7.png"], np.array([1, 2]), ["a", "b"], np.empty(0))
    rows = np.array([[10, 0], [11, 1], [NO_PHOTO, 2], [10, 3]])
    pairs = VerificationPairs(rows, rows, np.ones(4, bool))
    found = CardPairs(faces, pairs, 3, {"no_face": 1})
    left = card_condition.without_doubtful(found, 10, network, LIMIT)
    assert left.pairs.photos[:, 0].tolist() == [10, NO_PHOTO, NO_PHOTO, 10]
    assert left.refusals == {"doubtful": 1, "no_face": 1}
    none = found._replace(faces=faces._replace(names=[]), pairs=pairs._replace(photos=rows[2:3]))
    assert card_condition.without_doubtful(none, 10, network, LIMIT).refusals == {"no_face": 1}
