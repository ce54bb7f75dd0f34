"""Photos to damage, and photos that claim or hide more than they hold."""

from readers.reader import SAMPLE


def encoded_photos(kinds: dict[str, list[dict]], mode: str = "RGB") -> list[bytes]:
    """A small real photo in some of Pillow's formats."""
    from PIL import Image

    from phone import encoded

    photo = Image.open(SAMPLE / "img_align_celeba/000001.png").convert(mode)
    return [encoded(photo, kind, **each) for kind, options in kinds.items() for each in options]


def png(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    """A PNG that claims a size, with some more chunks, and `data` for its pixels."""
    import struct
    import zlib

    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def photo_bombs(jpegs: list[bytes]) -> list[bytes]:
    """Photos whose headers claim enormous sizes, and whose parts unpack or repeat enormously."""
    import struct
    import zlib

    packed = zlib.compress(bytes(200 * 2**20), 9)
    text = (b"zTXt", b"a\0\0" + packed)
    profile = (b"iCCP", b"a\0\0" + packed)
    frames = (b"acTL", struct.pack(">II", 2**31 - 1, 0))
    frame = (b"fcTL", struct.pack(">IIIIIHHBB", 0, 30_000, 30_000, 0, 0, 1, 1, 0, 0))
    sides = (30_000, 46_340, 65_500, 2**31 - 1)
    found = [png(side, side, data=bytes(1000)) for side in sides]
    found += [png(178, 218, *extra, data=bytes(100)) for extra in ([text], [profile])]
    found += [png(178, 218, frames, frame), png(30_000, 1), png(0, 218), png(178, 218, text, text)]
    found += [png(178, 218, (b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)))]
    for jpeg in jpegs:
        frame_at = next(jpeg.find(m) for m in (b"\xff\xc0", b"\xff\xc2") if m in jpeg)
        for side in (65_500, 30_000, 0):
            size = struct.pack(">HH", side, side)
            found.append(jpeg[: frame_at + 5] + size + jpeg[frame_at + 9 :])
        segment = jpeg[frame_at : frame_at + 2 + int.from_bytes(jpeg[frame_at + 2 : frame_at + 4])]
        large = segment[:5] + struct.pack(">HH", 60_000, 60_000) + segment[9:]
        found.append(jpeg[:frame_at] + large + jpeg[frame_at:])
        hidden = b"\xff\x01\x00\x13" + large
        found.append(jpeg[:2] + hidden + jpeg[2:])
        start = jpeg.index(b"\xff\xda")
        scan = jpeg[start : start + 2 + int.from_bytes(jpeg[start + 2 : start + 4])] + b"\0"
        found.append(jpeg[:start] + scan * 20_000 + jpeg[start:])
    found.append(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 50_000, 50_000, 1, 24,
                                     0, 0, 0, 0, 0, 0) + bytes(46))  # fmt: skip
    return found
