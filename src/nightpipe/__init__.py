"""nightpipe: from the raw frames of a night to calibrated and delivered spectra and photometry."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "reduce"]


def __getattr__(name: str) -> Any:
    """Import `reduce` when it is first used, so that importing the package costs nothing."""
    if name == "reduce":
        from nightpipe.base.garbage import imported

        return imported("nightpipe.api.reduce", "nightpipe.recipes.book").reduce
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
