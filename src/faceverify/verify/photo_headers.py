"""Photos that are small by their header and enormous to decode, refused before they are.

Read here is only what decides on memory and time and what Pillow does not tell; a file whose
structure is not as its format's encoders write it is refused.
"""

import struct
from collections.abc import Iterator

from faceverify.verify.refusals import UnreadablePhotoError

# The most pixels of a TIFF's tile, which is decoded whole however small the photo is, and the most
# strips or tiles. A strip has no more rows than the photo.
MAX_TILE, MAX_TILES = 2**24, 2**20
# TIFF tags: width and height of the photo, then of a tile; offsets of the strips, of the tiles.
_SIDES, _PLACES = (256, 257, 322, 323), (273, 324)
# TIFF types of whole numbers that Pillow and libtiff both read as a side, as `struct` formats.
_NUMBERS = {3: "H", 4: "I", 16: "Q"}
# Most pixels of all of an AVIF's pictures together: the photo, its transparency, their tiles.
MAX_CODED = 2**27
# A JPEG 2000's decoder keeps about a hundred bytes for each block and each precinct, and goes over
# them for each layer: binary logarithms of their least sides (precincts: in
# pixels of the photo), and the most layers.
LEAST_BLOCK, LEAST_PRECINCT, MAX_LAYERS = 4, 5, 100


def abnormal(kind: str) -> UnreadablePhotoError:
    """The error for a photo that no camera or program would have made like this."""
    return UnreadablePhotoError(f"the {kind} is built abnormally; send another photo")


def check_tiff(data: bytes) -> None:
    """Raise UnreadablePhotoError for a TIFF whose tiles take far more memory than its photo.

    The tags are read here because Pillow does not give them as libtiff, which decodes, sees them:
    libtiff takes the first of two equal tags.
    """
    sides: dict[int, int] = {}
    for tag, count, number in _tiff_tags(data):
        if (tag in _SIDES and number is None) or (tag in _PLACES and count > MAX_TILES):
            raise abnormal("TIFF")
        if tag in _SIDES:
            sides.setdefault(tag, number)
    width, height, across, down = (sides.get(tag, 0) for tag in _SIDES)
    if across * down > max(MAX_TILE, (width + 15) * (height + 15)):  # sides are rounded up to 16
        raise abnormal("TIFF")


def _tiff_tags(data: bytes) -> Iterator[tuple[int, int, int | None]]:
    """The tags of a TIFF's first frame: number, count, and value if it is one whole number.

    TIFF 6.0, section 2, and BigTIFF, whose places and counts have 8 bytes.
    """
    order = "<" if data.startswith(b"II") else ">"
    if data.startswith(b"MM\0+"):  # BigTIFF to libtiff alone
        raise abnormal("TIFF")
    big = data[2] == 43
    (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, place)
    place += 8 if big else 2
    for _ in range(count):
        tag, kind, values, field = entry.unpack_from(data, place)
        letter = _NUMBERS.get(kind) if values == 1 else None
        whole = letter and struct.calcsize(letter) <= len(field)
        yield tag, values, struct.unpack_from(order + letter, field)[0] if whole else None
        place += entry.size


def check_jpeg2000(data: bytes) -> None:
    """Raise UnreadablePhotoError for a JPEG 2000 of tiny blocks or precincts, or endless layers.

    ITU-T T.800, annex A: each tile may have a coding style of its own, in the headers of its
    parts; components too.
    """
    place = data.find(b"\xff\x4f\xff\x51") + 2
    part = 0  # where the current tile's part begins
    while place < len(data):
        marker = int.from_bytes(data[place : place + 2])
        if marker == 0xFFD9:
            return
        size = int.from_bytes(data[place + 2 : place + 4])
        body = data[place + 4 : place + 2 + size]
        if marker == 0xFF93:  # the tile's packets; a length of 0 reaches to the end
            (length,) = struct.unpack_from(">I", data, part + 6)
            if not length:
                return
            place = max(place + 2, part + length)
            continue
        if marker < 0xFF50 or size < 2:
            raise abnormal("JPEG 2000")
        if marker == 0xFF90:
            part = place
        if marker == 0xFF52:  # style, progression, layers, transform, then as for a component
            if int.from_bytes(body[2:4]) > MAX_LAYERS:
                raise abnormal("JPEG 2000")
            _check_blocks(body[5:], bool(body[0] & 1))
        if marker == 0xFF53:  # a photo has fewer than 257 components: the number has one byte
            _check_blocks(body[2:], bool(body[1] & 1))
        place += 2 + size


def _check_blocks(style: bytes, precincts: bool) -> None:
    """Refuse tiny blocks and precincts; `style` is table A.15's: levels, block sides, ..."""
    small = min(style[1], style[2]) + 2 < LEAST_BLOCK
    if precincts:  # a byte for each resolution, the least first; each has half the next one's side
        halvings = range(style[0], -1, -1)
        small |= any(
            min(byte & 15, byte >> 4) + halved < LEAST_PRECINCT
            for byte, halved in zip(style[5:], halvings, strict=True)
        )
    if small:
        raise abnormal("JPEG 2000")


def check_avif(data: bytes) -> None:
    """Raise UnreadablePhotoError for an AVIF whose coded pictures are larger than MAX_CODED.

    libavif decodes a picture of any size and scales it to the one that the header claims.
    """
    boxes = _boxes(data, 0, len(data))
    if b"meta" not in boxes or b"moov" in boxes:
        raise abnormal("AVIF")
    start, end = boxes[b"meta"]
    inner = _boxes(data, start + 4, end)
    kept = data[slice(*inner.get(b"idat", (0, 0)))]
    pixels = sum(_coded_pixels(item) for item in _items(data, kept, data[slice(*inner[b"iloc"])]))
    if pixels > MAX_CODED:
        raise abnormal("AVIF")


def _boxes(data: bytes, place: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Where the contents of each box begin and end, by its type; ISO/IEC 14496-12, 4.2."""
    found: dict[bytes, tuple[int, int]] = {}
    while place < end:
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, place + 8), 16
        size = size or end - place
        if size < head or place + size > end or (kind in found and kind in (b"meta", b"iloc")):
            raise abnormal("AVIF")
        found[kind] = place + head, place + size
        place += size
    return found


def _items(data: bytes, kept: bytes, iloc: bytes) -> Iterator[bytes]:
    """The bytes of each item, from the file or from what `meta` keeps; 14496-12, 8.11.3."""
    version, sizes = iloc[0], iloc[4:6]
    widths = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15 if version else 0
    place = 6

    def number(width: int) -> int:
        nonlocal place
        place += width
        if place > len(iloc):
            raise abnormal("AVIF")
        return int.from_bytes(iloc[place - width : place])

    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        number(wide)  # its number
        method = number(2) & 15 if version else 0
        number(2)  # the file that it is in: this one
        base, item = number(widths[2]), b""
        if method > 1:
            raise abnormal("AVIF")
        for _ in range(number(2)):
            number(widths[3])
            start = base + number(widths[0])
            length = number(widths[1])
            source = kept if method else data
            if not length or start + length > len(source) or len(item) > len(data):
                raise abnormal("AVIF")
            item += source[start : start + length]
        yield item


def _coded_pixels(item: bytes) -> int:
    """Pixels of all frames of an AV1 picture; of an item that is none, 0. AV1, section 5.3."""
    place = pixels = size_of_one = 0
    while place < len(item):
        kind, has_size = item[place] >> 3 & 15, item[place] & 2
        place += 2 if item[place] & 4 else 1
        length, shift = len(item) - place, 0
        if has_size:
            length = 0
            while place < len(item) and shift < 64:
                length |= (item[place] & 127) << shift
                place, shift = place + 1, shift + 7
                if item[place - 1] < 128:
                    break
        if kind == 1:
            size_of_one = _most_pixels(item[place : place + 64])
        pixels += size_of_one if kind in (3, 6) else 0  # a frame's header, a frame
        place += length
    return pixels


def _most_pixels(header: bytes) -> int:
    """The most pixels of a frame by its sequence header; AV1, section 5.5.1."""
    bits = "".join(f"{byte:08b}" for byte in header) + "0" * 400
    place = 0

    def number(width: int) -> int:
        nonlocal place
        place += width
        return int(bits[place - width : place], 2)

    number(4)  # profile, and whether it is a still picture
    reduced = number(1)
    if reduced:
        number(5)
    else:
        if number(1):  # times, which only films have
            raise abnormal("AVIF")
        delays = number(1)
        for _ in range(number(5) + 1):
            number(12)
            if number(5) > 7:
                number(1)
            if delays and number(1):
                number(4)
    across, down = number(4) + 1, number(4) + 1
    # Other headers than the reduced one let a frame have any size of as many bits.
    return (number(across) + 1) * (number(down) + 1) if reduced else 2 ** (across + down)
