"""Binnings that a header splits over two cards."""

from __future__ import annotations

from collections.abc import Callable

from nightpipe.model.exposure import Scalar

PAIRS = (("XBINNING", "YBINNING"), ("BINX", "BINY"), ("CCDXBIN", "CCDYBIN"), ("XBIN", "YBIN"))


def alfosc_binning(card: Callable[[str], Scalar | None]) -> str | None:
    """Return NOT/ALFOSC's binning as ``XxY``."""
    return _pair(card("DETXBIN"), card("DETYBIN"))


def sprat_binning(card: Callable[[str], Scalar | None]) -> str | None:
    """Return LT/SPRAT's binning as ``XxY``."""
    return _pair(card("CCDXBIN"), card("CCDYBIN"))


def plain_binning(card: Callable[[str], Scalar | None]) -> str | None:
    """Return ``XxY`` from any of the usual pairs: XBINNING, BINX, CCDXBIN or XBIN with its twin, or CCDSUM."""
    for x, y in PAIRS:
        if (found := _pair(card(x), card(y))) is not None:
            return found
    summed = card("CCDSUM")
    return None if summed is None else str(summed).strip().replace(" ", "x")


def _pair(x: Scalar | None, y: Scalar | None) -> str | None:
    return None if x is None or y is None else f"{x}x{y}"
