"""Shane/Kast: where the window of a readout lies on the detector."""

from __future__ import annotations

from collections.abc import Callable

from nightpipe.model.exposure import Scalar


def kast_window(card: Callable[[str], Scalar | None]) -> str | None:
    """Return the window read, from its origin and size in the cards ``CRVAL*U``, ``CDELT*U``, ``NAXIS*``, ``COVER``.

    A negative step means that the origin is the far end. Overscan columns are not part of the window.
    """
    values = [
        card(name) for name in ("CRVAL1U", "CDELT1U", "NAXIS1", "CRVAL2U", "CDELT2U", "NAXIS2", "COVER", "AMPSROW")
    ]
    if any(not isinstance(value, (int, float)) for value in values):
        return None
    x0, dx, nx, y0, dy, ny, cover, amps = (int(float(value)) for value in values if value is not None)
    x, y = _span(x0, dx, nx - cover * amps), _span(y0, dy, ny)
    return f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]"


def _span(origin: int, step: int, size: int) -> tuple[int, int]:
    if step > 0:
        return origin + 1, origin + step * size
    return origin + step * size + 1, origin
