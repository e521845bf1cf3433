"""Shane/Kast: where the window of a readout lies on the detector, and how it was binned."""

from __future__ import annotations

from collections.abc import Callable

from nightpipe.model.exposure import Scalar

_CARDS = ("CRVAL1U", "CDELT1U", "NAXIS1", "CRVAL2U", "CDELT2U", "NAXIS2", "COVER", "AMPSROW")


def kast_binning(card: Callable[[str], Scalar | None]) -> str | None:
    """Return the binning as ``XxY``: the size of the steps ``CDELT1U``, ``CDELT2U``, whose sign is the direction."""
    steps = [card(name) for name in ("CDELT1U", "CDELT2U")]
    if any(not isinstance(step, (int, float)) for step in steps):
        return None
    return "x".join(str(abs(int(float(step)))) for step in steps if step is not None)


def kast_window(card: Callable[[str], Scalar | None]) -> str | None:
    """Return the window read, from its origin, steps and size; overscan columns are not part of it.

    A negative step means that the origin is the far end.
    """
    values = [card(name) for name in _CARDS]
    if any(not isinstance(value, (int, float)) for value in values):
        return None
    x0, dx, nx, y0, dy, ny, cover, amps = (int(float(value)) for value in values if value is not None)
    x, y = _span(x0, dx, nx - cover * amps), _span(y0, dy, ny)
    return f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]"


def _span(origin: int, step: int, size: int) -> tuple[int, int]:
    if step > 0:
        return origin + 1, origin + step * size
    return origin + step * size + 1, origin
