"""Which format a photo file has, by its first bytes, and the name of what cannot be read."""

from faceverify.verify.refusals import UnreadablePhotoError

# The first bytes of the formats that are read, by Pillow's name of each.
_READ = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+"),
    "JPEG2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
}
# ... and of others that people send, by what to call them.
_UNREAD = {
    "a JPEG XL photo": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "a JPEG XR photo": (b"II\xbc\x01",),
    "a Photoshop file": (b"8BPS",),
    "a raw photo": (b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0"),
    "an icon": (b"\0\0\1\0", b"icns"),
    "an OpenEXR picture": (b"v/1\1",),
    "a QOI picture": (b"qoif",),
    "a Netpbm picture": (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
    "a PDF document": (b"%PDF",),
    "an archive or an office document": (b"PK\3\4", b"\xd0\xcf\x11\xe0", b"7z\xbc\xaf", b"Rar!"),
    "a film": (b"\x1aE\xdf\xa3", b"\0\0\1\xba"),
}
# What the brands of ISO/IEC 14496-12's `ftyp` box say, most telling first: a photo in AV1, a series
# of such, a photo in HEVC, Canon's raw photos. Any other belongs to a film.
_BRANDS = (
    ("a film", (b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1")),
    ("AVIF", (b"avif",)),
    ("HEIF", (b"heic", b"heix", b"heim", b"heis", b"mif1")),
    ("a raw photo", (b"crx ",)),
)
# What people call the formats, where Pillow has another name.
_CALLED = {"WEBP": "WebP", "HEIF": "HEIC", "JPEG2000": "JPEG 2000"}
NAMES = "JPEG, PNG, WebP, HEIC, AVIF, JPEG 2000, GIF, BMP or TIFF"


def format_of(data: bytes) -> str:
    """Pillow's name of the format that a file's bytes are of.

    Raises UnreadablePhotoError, with the name of what it is where that is known, for another.
    """
    if data[4:8] == b"ftyp":
        return _container(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    for name, starts in _READ.items():
        if data.startswith(starts):
            return name
    for name, starts in _UNREAD.items():
        if data.startswith(starts):
            raise _unread(name)
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<?xml", b"<svg", b"<!doctype", b"<html")):
        raise _unread("an SVG drawing" if b"<svg" in text else "a web page or other text")
    raise UnreadablePhotoError(f"not a {NAMES} photo; send the photo as JPEG")


def _container(data: bytes) -> str:
    """The format of an ISO file: the main brand counts before those that it is compatible with."""
    size = min(int.from_bytes(data[:4]), 1024)
    main, others = data[8:12], {data[place : place + 4] for place in range(16, size, 4)}
    # `mif1` alone says nothing of the codec.
    for brands in ({main} - {b"mif1"}, others - {b"msf1"}, {main}):
        for name, known in _BRANDS:
            if brands & set(known):
                if name in ("AVIF", "HEIF"):
                    return name
                raise _unread(name)
    raise _unread("a film")


def _unread(name: str) -> UnreadablePhotoError:
    return UnreadablePhotoError(f"this is {name}, which cannot be read; send the photo as JPEG")


def unreadable_kind(name: str) -> UnreadablePhotoError:
    """The error for a rare kind of a format that is read; `name` is Pillow's."""
    called = _CALLED.get(name, name)
    return UnreadablePhotoError(f"this kind of {called} cannot be read; send the photo as JPEG")
