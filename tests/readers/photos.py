"""Readers of photos, of dlib's models, and of what an audit keeps of photos."""

from pathlib import Path

from faceverify.base import digests
from faceverify.base.errors import InputError
from readers.photo_bombs import encoded_photos, photo_bombs
from readers.reader import SAMPLE, Reader, reader


@reader
def photos_of_the_data(folder: Path) -> Reader:
    from faceverify.faces import aligned_photos

    def read(path: Path) -> None:
        with aligned_photos.name_in_errors(path):
            photo = aligned_photos.decode_aligned(aligned_photos.read(path.parent, path.name))
        assert photo.shape == (218, 178, 3)

    kinds = {"JPEG": [{}, {"progressive": True}, {"quality": 30}], "PNG": [{}]}
    seeds = [*encoded_photos(kinds), *encoded_photos(kinds, "L")]
    return Reader("000001.jpg", seeds, read, bombs=photo_bombs(seeds[:2]))


@reader
def pretraining_photos(folder: Path) -> Reader:
    from faceverify.faces import aligned_photos

    def read(path: Path) -> None:
        with aligned_photos.name_in_errors(path):
            photo = aligned_photos.decode(aligned_photos.read(path.parent, path.name))
        assert photo.ndim == 3
        assert photo.shape[0] * photo.shape[1] <= aligned_photos.MAX_PIXELS

    seeds = encoded_photos({"JPEG": [{}, {"progressive": True}], "PNG": [{}]})
    return Reader("000001.jpg", seeds, read, bombs=photo_bombs(seeds[:2]), share=0.5)


@reader
def photos_of_a_phone(folder: Path) -> Reader:
    import pillow_heif

    from faceverify.verify import camera_photos
    from faceverify.verify.refusals import CaptureError

    pillow_heif.register_heif_opener()  # for the seeds

    def read(path: Path) -> None:
        try:
            photo = camera_photos.decode(camera_photos.read_bytes(path))
        except CaptureError as error:
            raise InputError(f"{path}: {error}") from None
        assert photo.pixels.ndim == 3
        assert max(photo.pixels.shape) <= camera_photos.LONGEST_SIDE
        assert photo.scale >= 1

    kinds = {
        "JPEG": [{}, {"progressive": True}], "PNG": [{}], "WEBP": [{}, {"lossless": True}],
        "BMP": [{}], "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"},
                              {"compression": "tiff_adobe_deflate"}, {"compression": "packbits"}],
        "GIF": [{}], "HEIF": [{}, {"tile_size": 64}], "AVIF": [{}, {"quality": 30}],
        "JPEG2000": [{}, {"no_jp2": True, "tile_size": (64, 64)}],
    }  # fmt: skip
    seeds = [*encoded_photos(kinds), *encoded_photos({"PNG": [{}], "TIFF": [{}]}, "P")]
    return Reader("photo.jpg", seeds, read, bombs=photo_bombs(seeds[:2]), share=3)


# dlib's models


@reader
def landmark_model(folder: Path) -> Reader:
    import bz2

    from faceverify.faces import landmarks

    start = (SAMPLE / "shape_predictor_68_face_landmarks.dat").open("rb").read(200_000)
    seeds = [start, bz2.compress(start)]
    zeros = bz2.compress(bytes(100 * 2**20))

    def read(path: Path) -> None:
        # A file's own checksum is right while it is whole, as if its maker had damaged it.
        data = path.read_bytes()
        packed = path.with_name(f"{path.name}.bz2") if data.startswith(b"BZ") else path
        packed.write_bytes(data)
        beside = path.with_name(f"{packed.name}.sha256")
        beside.write_text(f"{digests.sha256(b'')}  {packed.name}\n")
        if data in seeds:
            beside.write_text(f"{digests.digest(packed)}  {packed.name}\n")
        landmarks.check_predictor(packed)
        raise AssertionError("no model was refused")

    return Reader("model.dat", seeds, read, bombs=[*seeds, zeros * 200, b"", b"BZh9"], share=0.5)


@reader
def descriptor_model(folder: Path) -> Reader:
    from faceverify.faces import dlib_descriptor

    seed = (SAMPLE / "dlib_face_recognition_resnet_model_v1.dat").open("rb").read(200_000)

    def read(path: Path) -> None:
        dlib_descriptor.descriptors([], [], path, folder / "cache")
        raise AssertionError("no model was refused")

    return Reader("model.dat", [seed], read, share=0.3)


@reader
def kept_looks(folder: Path) -> Reader:
    import numpy as np

    from faceverify.audit.observations import Models, observe_all

    models = Models(
        SAMPLE / "shape_predictor_68_face_landmarks.dat",
        SAMPLE / "dlib_face_recognition_resnet_model_v1.dat",
    )
    photos = ["000001.png", "000002.png"]

    def looked() -> list:
        return [
            np.asarray(a) for a in observe_all(SAMPLE / "img_align_celeba", photos, models, folder)
        ]

    whole = looked()
    (store,) = folder.rglob("observations.sqlite")
    seed = store.read_bytes()

    def read(path: Path) -> None:
        store.write_bytes(path.read_bytes())
        try:
            found = looked()
        except InputError as error:
            assert str(store) in str(error)
            raise InputError(f"{path}: {error}") from None
        assert all(map(np.array_equal, found, whole))

    return Reader("observations.sqlite", [seed], read, share=0.2)
