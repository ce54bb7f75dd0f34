"""Hostile files: real ones damaged at random, and small ones that mean something enormous."""

import codecs
import re
from collections.abc import Callable
from random import Random

# Names that lead elsewhere, break a line, or are more than a name to a program.
NAMES = (
    "../../etc/passwd.jpg", "/etc/hostname.jpg", "a/b.jpg", "a\\b.png", "..", ".", "",
    "nul\0.jpg", "new\nline.jpg", "carriage\r.jpg", "\x1b[31mred.jpg", "\u202egpj.exe.jpg",
    "=cmd|' /C calc'!A1.jpg", "+1.jpg", "-n.jpg", "@sum.png", "\t=1.jpg", "$(touch x).jpg",
    "; touch x.jpg", "a" * 300 + ".jpg", "\ud800.jpg", "000001.JPG", "café.png", "NA", "a b.jpg",
)  # fmt: skip
NUMBERS = (
    "-1", "0", "1e999", "-1e999", "NaN", "Infinity", "1e-320", "1.5", "0x1F", "1_000", "٣", "²",
    "1" + "0" * 400, "9" * 5000, "9223372036854775808", "4294967296", "true", "null", '"1"', "",
)  # fmt: skip


def damaged(data: bytes, rng: Random) -> bytes:
    """The bytes of a file after one to three accidents."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(_ACCIDENTS)(data, rng)
    return data


def _flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: Random) -> bytes:
    start, end = sorted(rng.randint(0, len(data)) for _ in range(2))
    return rng.choice((data[:start], data[start:], data[:start] + data[end:]))


def _insert(data: bytes, rng: Random) -> bytes:
    place = rng.randint(0, len(data))
    kinds = (rng.randbytes(rng.randint(1, 40)), bytes(rng.randint(1, 9)), b'"', b",", b"\n", b"[{")
    return data[:place] + rng.choice(kinds) + data[place:]


def _splice(data: bytes, rng: Random) -> bytes:
    start, end = sorted(rng.randint(0, len(data)) for _ in range(2))
    place = rng.randint(0, len(data))
    return data[:place] + data[start : min(end, start + 10_000)] + data[place:]


def _integer(data: bytes, rng: Random) -> bytes:
    """A binary number, of either byte order, becomes one at the end of its range."""
    size = rng.choice((1, 2, 4, 8))
    place = rng.randint(0, max(len(data) - size, 0))
    values = (0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1)
    number = rng.choice(values).to_bytes(size, rng.choice(("little", "big")))
    return data[:place] + number + data[place + size :]


def _word(pattern: bytes, words: tuple[str, ...]) -> Callable[[bytes, Random], bytes]:
    """One of the texts that match becomes one of `words`."""

    def accident(data: bytes, rng: Random) -> bytes:
        found = list(re.finditer(pattern, data[:100_000]))
        if not found:
            return data
        chosen = rng.choice(found)
        word = rng.choice(words).encode("utf-8", "surrogatepass")
        return data[: chosen.start()] + word + data[chosen.end() :]

    return accident


def _lines(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(one, lines[other])
        case 1:
            del lines[one]
        case 2:
            lines[one], lines[other] = lines[other], lines[one]
        case 3:
            lines[one] += lines.pop(other) if one < other else b""
    return b"\n".join(lines)


def _encode(data: bytes, rng: Random) -> bytes:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    kinds = ("utf-8-sig", "utf-16", "utf-32", "utf-16-be", "cp500")
    return rng.choice(
        (
            text.encode(rng.choice(kinds), "replace"),
            text.replace("\n", "\r\n").encode(),
            text.replace("\n", "\r").encode(),
            codecs.BOM_UTF8 * 2 + data,
        )
    )


_ACCIDENTS = (
    _flip, _flip, _cut, _insert, _splice, _integer, _integer, _lines, _encode,
    _word(rb"[\w./-]+", NAMES), _word(rb"-?\d+(\.\d+)?(e-?\d+)?", NUMBERS),
    _word(rb"-?\d+(\.\d+)?(e-?\d+)?", NUMBERS), _word(rb"[ ,:\n]", (" " * 100_000, ",", "\t")),
)  # fmt: skip


def json_bombs(key: str) -> list[bytes]:
    """JSON whose nesting or numbers have no end, alone and as the value of a key."""
    values = [
        b"[" * 100_000, b"[" * 900 + b"]" * 900, b'{"a":' * 100_000, b"9" * 5000,
        b"1" + b"0" * 400, b"-" + b"9" * 400, b"1e999", b"NaN", b"-Infinity", b'"' + b"a" * 10**6
        + b'"', b'"\\ud800"', b'"\\u0000"', b"[" + b"0," * 10**5 + b"0]", b"[[0]]" * 2,
    ]  # fmt: skip
    inside = [b'{"%b": %b}' % (key.encode(), value) for value in values]
    twice = b'{"%b": [], "%b": []}' % (key.encode(), key.encode())
    return [*values, *inside, twice, b'{"\\u001b[31m": 0}', b'{"' + b"k" * 10**6 + b'": 0}']


def yaml_bombs() -> list[bytes]:
    """YAML whose aliases and merges multiply, whose nesting has no end, whose tags do not fit."""
    laughs = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))
    merges = "".join(
        f"m{i}: &m{i}\n  <<: [{', '.join([f'*m{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    tags = (
        "!!int ''", "!!float ''", "!!bool maybe", "!!timestamp soon", "!!binary '='", "!!omap 1",
        "!!set [1]", "!!python/object/apply:os.system ['touch hacked']", "!!python/name:os.system",
        "!!null ''", "!!map x", "!!seq x", "!!int '0b'", "2001-99-99", "9:9:9:9:9:9:9:9:9:9",
        "? [a]",
        "0x" + "F" * 5000, "9" * 5000, "1" + "0" * 400, "1e400", ".nan", "-.inf", "*missing",
        "{epochs: 1, epochs: 2}", "{[a]: 1}", '"\\x1b[31m"', "%", "\t", "'", "&a [*a]",
    )  # fmt: skip
    return [
        ("l0: &l0 [lol]\n" + laughs).encode(),
        ("m0: &m0 {a: 1, b: 2}\n" + merges).encode(),
        b"[" * 100_000, b"a: " + b"[" * 240 + b"]" * 240, b"- " * 5000, b"{a: " * 5000,
        b"alpha: " + b"a" * 10**6, b"k" * 10**6 + b": 1",
        *(f"epochs: {tag}\n".encode() for tag in tags), *(f"{tag}\n".encode() for tag in tags),
    ]  # fmt: skip
