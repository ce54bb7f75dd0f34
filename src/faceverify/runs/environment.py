"""What the bytes of a result depend on beside code, parameters and data."""

import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf

from faceverify.base.packages import RESULTS

# What users set to make TensorFlow and its libraries compute in another way.
SETTINGS = (
    "CUDA_VISIBLE_DEVICES",
    "DNNL_MAX_CPU_ISA",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "XLA_FLAGS",
)
_PROCESSORS = Path("/proc/cpuinfo")


def record() -> dict[str, str | int | list[str] | dict[str, str]]:
    """Versions, processor and devices of this process: equal for equal kinds of machines.

    `instruction_sets` are those that NumPy knows and found; `cores` those that this process may
    use, since the share of each thread decides the order of sums; `settings` the environment
    variables of `SETTINGS` that are set. Start TensorFlow first (`backend.start`).
    """
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    devices = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in sorted(RESULTS.values())},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "instruction_sets": [*simd["baseline"], *simd.get("found", [])],
        "cores": _cores(),
        "gpus": [device.get("device_name", "unknown") for device in devices],
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"  # installed in another way, such as built from source


def _processor() -> str:
    """The processor's name: its caches decide how TensorFlow's libraries cut up their work."""
    if _PROCESSORS.is_file():
        for line in _PROCESSORS.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"


def _cores() -> int:
    # macOS and Windows do not tie processes to cores.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
