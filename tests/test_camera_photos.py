"""Photo files as they come: every format, colour mode and orientation, and what is refused."""

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from faceverify.base.errors import UnusableError
from faceverify.faces import aligned_photos
from faceverify.verify import camera_photos, photo_headers
from faceverify.verify.refusals import CaptureError, TooManyPixelsError, UnreadablePhotoError
from phone import encoded, phone_photo

ORIENTATION = 0x0112
# What undoes each orientation, in Pillow's words; EXIF 2.32.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


pillow_heif.register_heif_opener()  # for what the tests save


@pytest.fixture(scope="module")
def photo(sample):
    return phone_photo(sample / "img_align_celeba/000001.png", 300, 400, 0.8)


def refused(data: bytes) -> CaptureError:
    with pytest.raises(CaptureError) as caught:
        camera_photos.decode(data)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def far(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of two pictures in grey levels."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_lossless_format_gives_the_same_pixels(photo, kind):
    found = camera_photos.decode(encoded(photo, kind))
    np.testing.assert_array_equal(found.pixels, photo)
    assert (found.pixels.dtype, found.scale) == (np.uint8, 1)
    assert found.pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 95}), ("JPEG", {"progressive": True}), ("WEBP", {"quality": 95}),
     ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
     ("HEIF", {"quality": 90}), ("HEIF", {"quality": 90, "tile_size": 128}),
     ("AVIF", {"quality": 90}), ("JPEG2000", {}), ("JPEG2000", {"no_jp2": True}),
     ("JPEG2000", {"irreversible": True, "tile_size": (128, 128)})],
    ids=str,
)  # fmt: skip
def test_a_lossy_or_packed_format_gives_nearly_the_same(photo, kind, options):
    assert far(camera_photos.decode(encoded(photo, kind, **options)).pixels, photo) < 3


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_the_orientation_tag_is_applied(photo, kind, orientation):
    image = Image.fromarray(photo)
    if STORED_AS[orientation] is not None:
        image = image.transpose(STORED_AS[orientation])
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    found = camera_photos.decode(encoded(image, kind, exif=tags.tobytes())).pixels
    assert found.shape == photo.shape
    assert far(found, photo) < 5


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_there_is_not_is_passed_over(photo, orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    assert far(camera_photos.decode(encoded(photo, exif=tags)).pixels, photo) < 5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_colour_mode_becomes_rgb(photo, mode):
    image = Image.fromarray(photo)
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG", "PA": "TIFF"}.get(mode, "PNG")
    if mode == "I;16":
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        data = encoded(Image.fromarray(grey), kind)
        expected = np.asarray(image.convert("L").convert("RGB"))
    else:
        data = encoded(image.convert(mode), kind)
        expected = np.asarray(image.convert(mode).convert("RGB"))
    found = camera_photos.decode(data).pixels
    assert found.shape == photo.shape
    assert far(found, expected) < 5


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_a_channel_become_eight(photo, suffix):
    data = cv2.imencode(suffix, cv2.cvtColor(photo, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257)[1]
    assert far(camera_photos.decode(data.tobytes()).pixels, photo) < 1


def test_what_is_transparent_becomes_white(photo):
    image = Image.fromarray(photo)
    image.putalpha(0)
    found = camera_photos.decode(encoded(image, "PNG")).pixels
    assert (found == 255).all()


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "HEIF"])
def test_of_several_frames_the_first_is_taken(photo, kind):
    frames = [Image.fromarray(255 - photo)]
    data = encoded(photo, kind, save_all=True, append_images=frames)
    assert far(camera_photos.decode(data).pixels, photo) < (5 if kind != "TIFF" else 0.01)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_that_lost_only_its_end_marker_is_whole(photo, progressive, lost):
    data = encoded(photo, progressive=progressive)
    found = camera_photos.decode(data[:-lost])
    np.testing.assert_array_equal(found.pixels, camera_photos.decode(data).pixels)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("lost", [4, 5, 8, 20])
def test_a_jpeg_that_lost_pixels_too_is_cut_off(photo, progressive, lost):
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 256, photo.shape, np.uint8)
    assert "cut off" in str(refused(encoded(noisy, progressive=progressive)[:-lost]))


@pytest.mark.parametrize(
    ("kind", "size"),
    [("JPEG", (3000, 4000)), ("PNG", (3000, 4000)), ("PNG", (5000, 700)), ("JPEG", (2100, 300))],
    ids=str,
)
def test_a_large_photo_is_brought_down_and_says_by_how_much(sample, kind, size):
    large = phone_photo(sample / "img_align_celeba/000002.png", *size)
    found = camera_photos.decode(encoded(large, kind))
    height, width = found.pixels.shape[:2]
    assert camera_photos.LEAST_SIDE <= max(height, width) <= camera_photos.LONGEST_SIDE
    assert found.scale == pytest.approx(max(size) / max(height, width))
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)
    expected = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    assert far(found.pixels, expected) < 2


@pytest.mark.parametrize(
    ("kind", "how", "waits"),
    [("JPEG", {}, False), ("JPEG", {"progressive": True}, True), ("PNG", {}, True)],
    ids=["halved by the decoder", "progressive", "png"],
)
def test_what_holds_many_pixels_while_it_is_decoded_waits_its_turn(photo, kind, how, waits):
    """Another thread's photo of many pixels is being decoded, as far as a photo can tell."""
    data = encoded(cv2.resize(photo, (3000, 4000)), kind, **how)
    with ThreadPoolExecutor(1) as pool:
        with camera_photos._large:
            found = pool.submit(camera_photos.decode, data)
            if waits:
                with pytest.raises(TimeoutError):
                    found.result(timeout=3)
            else:
                assert found.result(timeout=60).scale == pytest.approx(2)
        assert found.result(timeout=60).pixels.shape[0] >= camera_photos.LEAST_SIDE


# What is refused


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(8001, 8000), (50_000, 50_000), (2**31 - 1, 2**31 - 1)], ids=str)
def test_a_decompression_bomb_is_refused_by_its_header(size):
    fault = refused(png_header(*size))
    assert isinstance(fault, TooManyPixelsError)
    assert "64 megapixels" in str(fault)


def tiled(side: int, *extra: tuple[int, int, int], order: str = "<", big: bool = False) -> bytes:
    """A grey TIFF of 640 x 640 in one tile; `extra` tags (number, type, value) come first."""
    packed = zlib.compress(bytes(side * side), 9)
    start, entry = (16, "HHQQ") if big else (8, "HHII")
    tags = [(322, 4, side), (323, 4, side)]
    tags = [(256, 4, 640), (257, 4, 640), (258, 3, 8), (259, 3, 8), (262, 3, 1), *extra, *tags]
    size = start + struct.calcsize("=" + ("Q" if big else "H"))
    size += (len(tags) + 2) * struct.calcsize("=" + entry) + (8 if big else 4)
    tags += [(324, 4, size), (325, 4, len(packed))]
    data = b"II" if order == "<" else b"MM"
    data += struct.pack(order + ("HHHQQ" if big else "HIH"), *([43, 8, 0, 16] if big else [42, 8]),
                        len(tags))  # fmt: skip
    for number, kind, value in tags:
        # A number that is shorter than its field stands at the field's beginning.
        shift = 8 * ((8 if big else 4) - (2 if kind == 3 else 4)) if order == ">" else 0
        data += struct.pack(order + entry, number, kind, 1, value << shift)
    return data + bytes(8 if big else 4) + packed


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_tiff_in_one_tile_is_read_unless_the_tile_is_enormous(order, big):
    assert camera_photos.decode(tiled(640, order=order, big=big)).pixels.shape == (640, 640, 3)
    assert "the TIFF is built abnormally" in str(refused(tiled(4112, order=order, big=big)))


def test_a_tiff_that_only_libtiff_takes_for_a_bigtiff_is_refused():
    assert "the TIFF is built abnormally" in str(refused(tiled(640, order=">", big=True)))


@pytest.mark.parametrize("kind", [4, 9, 17])
def test_of_a_tag_that_comes_twice_the_first_counts_even_of_an_odd_type(kind):
    # As for libtiff; Pillow passes over a type that it does not know.
    twice = tiled(640, (322, kind, 4112), (323, kind, 4112))
    assert "the TIFF is built abnormally" in str(refused(twice))


def test_a_tiff_of_endless_strips_is_refused():
    data = encoded(Image.new("L", (8, 8)), "TIFF")
    places = data.index(struct.pack("<HHI", 273, 4, 1))
    data = data[: places + 2] + struct.pack("<HII", 1, 2**20 + 1, 0) + data[places + 12 :]
    assert "the TIFF is built abnormally" in str(refused(data + bytes(2**20)))


def test_webp_has_a_limit_of_its_own():
    data = encoded(Image.new("RGB", (5000, 4801)), "WEBP", method=0)
    assert "24 megapixels" in str(refused(data))


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded(photo):
    data = encoded(photo, progressive=True)
    start = data.index(b"\xff\xda")
    scan = data[start : data.index(b"\xff\xc4", start)]
    bomb = data[:start] + scan * 500 + data[start:]
    assert str(refused(bomb)).startswith("the JPEG is built abnormally")


def jpeg_segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def scan_header(data: bytes) -> tuple[int, bytes]:
    """Where the first scan of a JPEG begins, and its header."""
    start = data.index(b"\xff\xda")
    return start, data[start : start + 2 + int.from_bytes(data[start + 2 : start + 4])]


@pytest.mark.parametrize("marker", [0x02, 0xBF, 0xF0, 0xFE], ids=hex)
def test_scans_that_a_length_would_hide_are_counted(photo, marker):
    data = encoded(photo, progressive=True)
    start, header = scan_header(data)
    hidden = jpeg_segment(marker, (header + b"\0") * 500)
    bomb = data[:start] + header + b"\0" + hidden + data[start:]
    assert str(refused(bomb)).startswith("the JPEG is built abnormally")
    with pytest.raises(UnusableError, match="a JPEG of more than 100 scans"):
        aligned_photos.decode(bomb)


@pytest.mark.parametrize("marker", [0xE1, 0xFE], ids=["EXIF", "comment"])
def test_scans_of_a_thumbnail_and_of_what_is_behind_the_photo_do_not_count(photo, marker):
    data = encoded(photo, progressive=True)
    start, header = scan_header(data)
    many = (header + b"\0") * 500
    large = data[:start] + jpeg_segment(marker, many) + data[start:]
    np.testing.assert_array_equal(aligned_photos.decode(large), aligned_photos.decode(data))
    expected = camera_photos.decode(data).pixels
    np.testing.assert_array_equal(camera_photos.decode(large + many).pixels, expected)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "HEIF", "AVIF", "JPEG2000"]
)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_a_photo_that_is_cut_off_is_refused(photo, kind, share):
    data = encoded(photo, kind)
    fault = refused(data[: int(len(data) * share)])
    assert isinstance(fault, UnreadablePhotoError)
    assert fault.code == "unreadable"


ISO = b"\0\0\0\x18ftyp%b\0\0\0\0%b" + bytes(100)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a JPEG, PNG, WebP, HEIC, AVIF, JPEG 2000, GIF, BMP or TIFF photo"),
        (b"%PDF-1.7\n" + bytes(100), "this is a PDF document"),
        (b"\xff\x0a" + bytes(100), "this is a JPEG XL photo"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "this is a JPEG XL photo"),
        (b"8BPS" + bytes(100), "this is a Photoshop file"),
        (b"PK\3\4" + bytes(100), "this is an archive"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this is an SVG drawing"),
        (b"<!DOCTYPE html><html></html>", "this is a web page"),
        (ISO % (b"isom", b"mp42mp41"), "this is a film"),
        (ISO % (b"qt  ", b"qt  \0\0\0\0"), "this is a film"),
        (ISO % (b"avis", b"avifmif1"), "this is a film"),
        (ISO % (b"crx ", b"crx isom"), "this is a raw photo"),
        (ISO % (b"heic", b"mif1heic"), "this kind of HEIC cannot be read"),
        (ISO % (b"mif1", b"mif1heic"), "this kind of HEIC cannot be read"),
        (ISO % (b"mif1", b"mif1avif"), "the AVIF is built abnormally"),
        (b"\xff\xd8\xff" + bytes(100), "this kind of JPEG cannot be read"),
        (b"GIF89a" + bytes(3), "this kind of GIF cannot be read"),
    ],
)
def test_what_is_no_photo_is_refused_by_name_and_with_advice(data, said):
    fault = refused(data)
    assert said in str(fault)
    assert ";" in str(fault)  # what to do


@pytest.mark.parametrize("mode", ["I", "F"])
def test_no_bit_depth_is_claimed_of_a_kind_that_is_not_read(photo, mode):
    fault = refused(encoded(Image.fromarray(photo).convert(mode), "TIFF"))
    assert str(fault) == "this kind of TIFF cannot be read; send the photo as JPEG"


def test_a_whole_bmp_of_a_kind_that_is_not_read_is_not_called_damaged():
    masks = struct.pack("<IIII", 0xF00, 0xF0, 0xF, 0xF000)  # four bits a channel
    header = struct.pack("<IiiHHIIiiII", 56, 8, 8, 1, 16, 3, 128, 0, 0, 0, 0) + masks
    data = b"BM" + struct.pack("<IHHI", 14 + len(header) + 128, 0, 0, 14 + len(header)) + header
    assert "this kind of BMP cannot be read" in str(refused(data + bytes(128)))


def claimed(data: bytes, side: int) -> bytes:
    """A photo in an ISO file whose header claims another size."""
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", side, side) + data[place + 8 :]


@pytest.mark.parametrize(("kind", "side"), [("HEIF", 30_000), ("AVIF", 16_000)])
def test_an_iso_file_that_claims_hundreds_of_megapixels_is_refused(photo, kind, side):
    assert isinstance(refused(claimed(encoded(photo, kind), side)), TooManyPixelsError)


def test_an_avif_that_hides_its_pixels_is_refused_by_its_header():
    whole = encoded(Image.new("L", (12_000, 12_000)), "AVIF", speed=10)
    assert "the AVIF is built abnormally" in str(refused(claimed(whole, 64)))


def test_of_a_coded_picture_every_frame_counts(photo):
    data = encoded(photo, "AVIF")
    pixels = photo.shape[0] * photo.shape[1]
    start = data.index(b"mdat") + 4
    item = data[start:]
    frame = item[item.index(b"\x32", 2) :]  # a frame with its length, behind the sequence's header
    assert photo_headers._coded_pixels(item) == pixels
    assert photo_headers._coded_pixels(item + frame * 9) == 10 * pixels


@pytest.mark.parametrize(
    "style",
    [{"codeblock_size": (4, 4)}, {"precinct_size": (16, 16)}],
    ids=str,
)
def test_a_jpeg_2000_of_tiny_parts_is_refused(photo, style):
    assert "the JPEG 2000 is built abnormally" in str(refused(encoded(photo, "JPEG2000", **style)))


def test_a_jpeg_2000_of_usual_parts_is_read(photo):
    style = {"codeblock_size": (32, 32), "precinct_size": (128, 128), "quality_layers": [40, 20, 1]}
    assert far(camera_photos.decode(encoded(photo, "JPEG2000", **style)).pixels, photo) < 3


@pytest.mark.parametrize("marker", [0xFF52, 0xFF53])
def test_a_tile_of_a_jpeg_2000_can_not_have_tiny_parts_of_its_own(photo, marker):
    data = encoded(photo, "JPEG2000", no_jp2=True)
    style = struct.pack(">BBBBB", 5, 0, 0, 0, 1)  # blocks of 4 x 4
    style = struct.pack(">BBHB", 0, 0, 1, 1) + style if marker == 0xFF52 else b"\0\0" + style
    place = data.index(b"\xff\x93")
    data = data[:place] + struct.pack(">HH", marker, len(style) + 2) + style + data[place:]
    assert "the JPEG 2000 is built abnormally" in str(refused(data))


def test_a_jpeg_2000_of_endless_layers_is_refused(photo):
    data = encoded(photo, "JPEG2000", no_jp2=True)
    place = data.index(b"\xff\x52") + 6
    data = data[:place] + struct.pack(">H", 65_535) + data[place + 2 :]
    assert "the JPEG 2000 is built abnormally" in str(refused(data))


@pytest.mark.parametrize(("kind", "limit"), [("AVIF", 24), ("JPEG2000", 16)])
def test_decoders_that_need_more_memory_have_limits_of_their_own(photo, kind, limit):
    data = encoded(photo, kind)
    if kind == "AVIF":
        data = claimed(data, 4_900)
    else:
        place = data.index(b"ihdr") + 4
        data = data[:place] + struct.pack(">II", 4_001, 4_000) + data[place + 8 :]
    assert f"{limit} megapixels" in str(refused(data))


def unreadable(path) -> str:
    with pytest.raises(UnreadablePhotoError) as caught:
        camera_photos.read_bytes(path)
    return str(caught.value)


def test_a_path_without_a_file_is_refused(tmp_path):
    assert "no such file" in unreadable(tmp_path / "none.jpg")
    assert "no such file" in unreadable(tmp_path / "no\0ne.jpg")
    assert "folder" in unreadable(tmp_path)
    assert "too long" in unreadable(tmp_path / ("a" * 5000))
    (tmp_path / "circle").symlink_to("circle")
    assert "symbolic links" in unreadable(tmp_path / "circle")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "device" in unreadable(tmp_path / "pipe.jpg")


def test_a_huge_file_is_refused_unread(tmp_path):
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(camera_photos.MAX_BYTES + 1)
    assert "64 MB" in unreadable(tmp_path / "huge.jpg")


def test_a_thumbnail_behind_the_photo_does_not_count(photo):
    # Phones append a second picture to a JPEG; Pillow calls such a file MPO.
    data = io.BytesIO()
    second = Image.fromarray(255 - photo)
    Image.fromarray(photo).save(data, "MPO", save_all=True, append_images=[second])
    assert far(camera_photos.decode(data.getvalue()).pixels, photo) < 5
