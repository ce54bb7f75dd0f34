"""How fast and how large `verify` is, beside the same job done by dlib alone on the same photos.

Run it from the repository's root on a quiet machine, when `dvc repro` has made the verifier:
`python benchmarks/bench_verify.py` writes benchmarks/verify.json. The photos are the sample's
faces in larger pictures, half the height of 3000 x 4000 or 450 x 600 pixels, with noise, as JPEG;
those of a list without faces show soft patches of light with as much noise.
"""

import csv
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import cv2
import numpy as np

import dlib_route
import footprint
from faceverify.base import errors, files
from faceverify.runs import script
from faceverify.verify import pair_list
from faceverify.verify.verifier import Verifier
from measuring import machine, peak_memory
from phone import encoded, phone_photo

OUT = ROOT / "benchmarks/verify.json"
VERIFIER = Path("models/verifier.json")
SIZES = {"12 megapixels": (3000, 4000), "600 pixels": (450, 600)}
# What is promised, on two cores: seconds, photos a second, megabytes.
LIMITS = {
    "cold start, 12 megapixels, s": 2.5,
    "cold start, 600 pixels, s": 2.5,
    "warm compare, 12 megapixels, s": 0.25,
    "warm compare, 600 pixels, s": 0.12,
    "list, 600 pixels, photos/s": 15,
    "list without faces, 600 pixels, photos/s": 15,
    "peak memory, 12 megapixels, MB": 600,
    "peak memory, 600 pixels, MB": 600,
    "bytes read by a cold start, MB": 400,
    "installed size, MB": 400,
}
EMBED_MS = 15  # promised of one core, for the network's part of a photo
RUNS, PAIRS, LISTED = 3, 10, 100
# Comparisons until `verify` has loaded a network for each core; dlib has all after one.
WARMING = 15


def main() -> None:
    """Measure both, write the figures, say which limits are not met."""
    verifier = Verifier.load(VERIFIER)
    figures: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        photos = {
            size: make_photos(Path(folder) / size, LISTED if size == "600 pixels" else 2 * PAIRS)
            for size in SIZES
        }
        for size, paths in photos.items():
            ours, theirs = (
                processes([sys.executable, script, *map(str, paths[:2])])
                for script in ("src/verify.py", "benchmarks/dlib_route.py")
            )
            figures[f"cold start, {size}, s"] = ours[0], theirs[0]
            figures[f"peak memory, {size}, MB"] = ours[1], theirs[1]
            # A 12-megapixel photo takes dlib many seconds: one pair tells enough.
            pairs = list(zip(paths[0::2], paths[1::2], strict=True))[:PAIRS]
            few = pairs if size == "600 pixels" else pairs[:1]
            figures[f"warm compare, {size}, s"] = (
                seconds(verifier.compare, pairs, WARMING),
                seconds(lambda *pair: dlib_route.distance(*map(str, pair)), few, 1),
            )
        listed = {"list": photos["600 pixels"], "list without faces": make_walls(Path(folder))}
        # In turns, so that what else the machine does falls on both lists.
        turns = [
            {name: (listed_by_us(verifier, paths), listed_by_dlib(paths)) for name, paths in lists}
            for lists in RUNS * [listed.items()]
        ]
        for name in listed:
            rates = zip(*(turn[name] for turn in turns), strict=True)
            figures[f"{name}, 600 pixels, photos/s"] = tuple(map(statistics.median, rates))
        figures |= footprints(photos["600 pixels"][:2])
    write(figures, embed_ms(verifier))


def make_photos(folder: Path, count: int) -> list[Path]:
    """The sample's first faces as phone photos of the size that the folder is named for."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    faces = sorted(Path("data/img_align_celeba").iterdir())[:count]
    paths = [folder / f"{face.stem}.jpg" for face in faces]
    for face, path in zip(faces, paths, strict=True):
        path.write_bytes(taken(phone_photo(face, *SIZES[folder.name]), rng))
    return paths


def make_walls(folder: Path) -> list[Path]:
    """Photos of 450 x 600 pixels without a face."""
    rng = np.random.default_rng(1)
    paths = [folder / f"wall-{k}.jpg" for k in range(LISTED)]
    for path in paths:
        light = rng.integers(0, 256, (8, 6, 3)).astype(np.uint8)
        size = SIZES["600 pixels"]
        path.write_bytes(taken(cv2.resize(light, size, interpolation=cv2.INTER_CUBIC), rng))
    return paths


def taken(scene: np.ndarray, rng: np.random.Generator) -> bytes:
    """A scene as a camera's JPEG, with noise: without it, it is a tenth and decodes too fast."""
    noise = rng.normal(0, 5, scene.shape[:2])[..., None]
    return encoded(np.clip(scene + noise, 0, 255).astype(np.uint8), quality=90)


def footprints(photos: list[Path]) -> dict[str, tuple[float, float]]:
    """What is read from start to answer on two photos, and what is installed for it."""
    ways = ("src/verify.py", "benchmarks/dlib_route.py")
    packages = footprint.dependencies(ROOT / "pyproject.toml"), ["dlib-bin", "numpy", "pillow"]
    read = (footprint.bytes_read_mb([way, *map(str, photos)], ROOT) for way in ways)
    return {
        "bytes read by a cold start, MB": tuple(read),
        "installed size, MB": tuple(map(footprint.installed_mb, packages)),
    }


def processes(command: list[str]) -> tuple[float, float]:
    """Seconds (median) and megabytes (most) of a command, from its start to its end."""
    taken, memory = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            memory.append(peak_memory(process.pid))
            time.sleep(0.005)
        taken.append(time.perf_counter() - start)
        if process.returncode not in (0, 1):
            raise errors.InputError(f"{command[1]} ended with exit code {process.returncode}")
    return statistics.median(taken), max(memory)


def seconds(compare: Callable, pairs: list[tuple[Path, Path]], warming: int) -> float:
    """Median seconds of a comparison of two photos, after `warming` others, when all is loaded."""
    taken = []
    for _ in range(warming):
        compare(*pairs[-1])
    for pair in pairs:
        start = time.perf_counter()
        compare(*pair)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def embed_ms(verifier: Verifier) -> float:
    """Median milliseconds in which one core embeds an aligned photo."""
    canvas = np.random.default_rng(1).integers(0, 256, (1, 218, 218, 3), np.uint8)
    taken = []
    for _ in range(50):
        start = time.perf_counter()
        verifier.network.embed(canvas)
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


def listed_by_us(verifier: Verifier, photos: list[Path]) -> float:
    """Photos a second of a list, when the verifier is loaded."""
    pairs, out = photos[0].with_name("pairs.csv"), photos[0].with_name("scores.csv")
    with pairs.open("w", newline="") as file:
        rows = zip(photos[0::2], photos[1::2], strict=True)
        csv.writer(file).writerows([pair_list.SLOTS, *rows])
    start = time.perf_counter()
    pair_list.score(verifier, pairs, out, 0.6)
    return len(photos) / (time.perf_counter() - start)


def listed_by_dlib(photos: list[Path]) -> float:
    """Photos a second by a process on each core, as the package's own command works."""
    cores = os.cpu_count() or 1
    with multiprocessing.Pool(cores) as pool:
        pool.map(dlib_route.describe, map(str, photos[:cores]), chunksize=1)
        start = time.perf_counter()
        pool.map(dlib_route.describe, map(str, photos))
        return len(photos) / (time.perf_counter() - start)


def write(figures: dict[str, tuple[float, float]], embedding: float) -> None:
    """Write both, their ratio and the limit; a ratio above 1 is in favour of `verify`."""
    report = {}
    for name, (ours, theirs) in figures.items():
        rate = name.endswith("/s")
        report[name] = {
            "verify": round(ours, 3),
            "dlib": round(theirs, 3),
            "ratio": round(ours / theirs if rate else theirs / ours, 2),
            "limit": LIMITS[name],
            "met": ours >= LIMITS[name] if rate else ours <= LIMITS[name],
        }
        print(f"{name}: {ours:.3f}, dlib {theirs:.3f}, limit {LIMITS[name]:g}")
    print(f"embed, one core, ms: {embedding:.2f}, limit {EMBED_MS}")
    embed = {"ms": round(embedding, 2), "limit": EMBED_MS, "met": embedding <= EMBED_MS}
    files.write_json(OUT, {"machine": machine(), "figures": report, "embed": embed}, indent=2)


if __name__ == "__main__":
    script.run(main)
