"""Siamese face verification: from CelebA photos to a verifier, and the verifier itself.

`Verifier` and what its callers need are found here. Each name is imported when it is first
used, so that importing a wing loads nothing but that wing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceverify.base.errors import InputError
    from faceverify.verify.embedding import Embedding
    from faceverify.verify.refusals import CaptureError
    from faceverify.verify.verifier import Comparison, Nearest, Verifier

__all__ = ["CaptureError", "Comparison", "Embedding", "InputError", "Nearest", "Verifier"]
__version__ = "1.0.0"

_HOMES = {
    "CaptureError": "faceverify.verify.refusals",
    "Comparison": "faceverify.verify.verifier",
    "Embedding": "faceverify.verify.embedding",
    "InputError": "faceverify.base.errors",
    "Nearest": "faceverify.verify.verifier",
    "Verifier": "faceverify.verify.verifier",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
