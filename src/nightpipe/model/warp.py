"""Flexure: how far the light of one exposure lies off the place that the calibrations give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.maths.poly import Poly2

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Warp:
    """A shift [pixel] as a smooth function of (x, y), of a slit, orders or lenslets: flexure from day to night.

    Light that the calibrations put at (x, y) is found at ``(x + along(x, y), y + across(x, y))`` in this exposure.
    `along` is the shift along the dispersion; `across` that along y, None where rows are found anew in each exposure.
    `lines` are the sky wavelengths used [Angstrom], `chi2_dof` of the fit, `withheld` what lines say that had no part
    in it; `accepted` is False where the fit failed its test, and then what failed is zero and `caveats` say why.
    """

    along: Poly2
    across: Poly2 | None = None
    lines: tuple[float, ...] = ()
    chi2_dof: float = 0.0
    withheld: dict[str, float] | None = None
    accepted: bool = True
    caveats: tuple[Caveat, ...] = ()

    @classmethod
    def rigid(
        cls,
        shape: tuple[int, int],
        dx: float = 0.0,
        dy: float = 0.0,
        turn: float = 0.0,
        covariance: FloatArray | None = None,
        **told: Any,
    ) -> Warp:
        """Return a shift (dx, dy) [pixel] and a `turn` [radian] about the middle of a detector of `shape` (ny, nx).

        Light at (x, y) is found at ``(x + dx - turn (y - y0), y + dy + turn (x - x0))``; `covariance` (3, 3) is that of
        (dx, dy, turn), and `told` are the other fields.
        """
        x, y = ((0.0, float(size - 1)) for size in reversed(shape))
        motion = np.array([dx, dy, turn])
        along = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -0.5 * y[1]]])
        across = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.5 * x[1]]])
        first, second = (None if covariance is None else one @ covariance @ one.T for one in (along, across))
        return cls(
            Poly2((along @ motion)[None, :], x, y, first),
            across=Poly2((across @ motion)[:, None], x, y, second),
            **told,
        )

    def at(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the shift along x and along y [pixel] of light at (x, y)."""
        dx = self.along(x, y)
        return dx, np.zeros_like(dx) if self.across is None else self.across(x, y)

    @property
    def middle(self) -> tuple[float, float]:
        """The middle (x, y) [pixel] of the detector: there the shift is told as one number."""
        return 0.5 * sum(self.along.domain_x), 0.5 * sum(self.along.domain_y)

    def told(self) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
        """Return the shift along x and that along y [pixel] in the middle, and the turn [radian], each with its error.

        The turn is the slope of `across` along x.
        """
        dx = _value(self.along, self.middle)
        if self.across is None:
            return dx, (0.0, 0.0), (0.0, 0.0)
        x, y = self.middle
        return dx, _value(self.across, self.middle), self.across.change((x - 0.5, y), (x + 0.5, y))


def _value(field: Poly2, at: tuple[float, float]) -> tuple[float, float]:
    return float(np.squeeze(field(*at))), float(np.squeeze(field.sigma(*at)))
