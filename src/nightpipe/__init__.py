"""nightpipe: from the raw frames of a night to calibrated and delivered spectra and photometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightpipe.api.reduce import reduce as reduce

__version__ = "0.1.0"
__all__ = ["__version__", "reduce"]


def __getattr__(name: str) -> Any:
    """Import `reduce` when it is first used, so that importing the package costs nothing."""
    if name == "reduce":
        from nightpipe.api.reduce import reduce  # noqa: PLC0415

        return reduce
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
