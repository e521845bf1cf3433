"""The lenslets: a hexagonal lattice on sky and detector; each one's spectrum's place, shape and response."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.simulate.ifu.instrument import PITCH, SIZE, along

FloatArray = NDArray[np.float64]

_STEP = 53.0  # pixels between neighbouring lenslets' spectra: 1,500 and more on the detector
_TURN = 7.6  # degrees from +x of a row of them: neighbours' spectra lie 7 pixels apart
_SKY_TURN = 103.0  # degrees, so that north is up
_RADIUS = 1090.0  # pixels from (950, 950) within which there are lenslets


@dataclass(frozen=True)
class Lattice:
    """Lenslets (n,): axial `q`, `r`; `east`, `north` [arcsec] from the field's centre; `x`, `y` [pixel, zero-based] of
    6500 A; `tilt` [pixel/pixel] and `bend` [1/pixel] of the trace; `stretch` and `skew` [1/pixel] of its dispersion;
    `width` [pixel] rms across, `line` [pixel] rms along; `response` at 6500 A and its `slope` per 1000 A; `dead`.
    """

    q: NDArray[np.int64]
    r: NDArray[np.int64]
    east: FloatArray
    north: FloatArray
    x: FloatArray
    y: FloatArray
    tilt: FloatArray
    bend: FloatArray
    stretch: FloatArray
    skew: FloatArray
    width: FloatArray
    line: FloatArray
    response: FloatArray
    slope: FloatArray
    dead: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.q.size)

    def column(self, k: int, wave: FloatArray) -> FloatArray:
        """Return the column of wavelengths [A] in the spectrum of lenslet `k`: red at low x."""
        u = along(wave)
        return np.asarray(self.x[k] + u * (1.0 + self.stretch[k]) + self.skew[k] * u * u)

    def row(self, k: int, column: FloatArray) -> FloatArray:
        """Return the row of the trace of lenslet `k` at columns."""
        u = column - self.x[k]
        return np.asarray(self.y[k] + self.tilt[k] * u + self.bend[k] * u * u)

    def flexed(self, dx: float, dy: float, turn: float) -> Lattice:
        """Return the lattice as flexure moves it: shifts [pixel], and a turn [radian] about the detector's middle."""
        u, v = self.x - SIZE / 2, self.y - SIZE / 2
        return replace(self, x=self.x + dx - turn * v, y=self.y + dy + turn * u)


def lattice(rng: np.random.Generator, *, dead: int = 3) -> Lattice:
    """Return the lenslets of one hardware epoch, as they were glued and not as they were drawn."""
    q, r = (part.ravel() for part in np.mgrid[-40:41, -40:41])
    turn, step = np.radians(_TURN + rng.normal(0.0, 0.05)), _STEP * rng.normal(1.0, 0.002)
    x = step * (q * np.cos(turn) + r * np.cos(turn + np.pi / 3))
    y = step * (q * np.sin(turn) + r * np.sin(turn + np.pi / 3))
    u, v = x / SIZE, y / SIZE
    barrel = 1.0 + 0.006 * (u * u + v * v)  # the camera's distortion
    x, y = 950.0 + x * barrel + rng.normal(0.0, 0.15, q.size), 950.0 + y * barrel + rng.normal(0.0, 0.15, q.size)
    keep = (np.hypot(x - 950.0, y - 950.0) < _RADIUS) & (x > -120) & (x < SIZE + 120) & (y > 4) & (y < SIZE - 5)
    q, r, x, y, u, v = (part[keep] for part in (q, r, x, y, u, v))
    n = q.size
    ux, uy = (2 * q + r) / np.sqrt(3.0), r.astype(float)  # in units of half the lattice's height: 0.55 arcsec
    unit = PITCH * np.sqrt(3.0) / 2.0 * rng.normal(1.0, 0.002)
    angle = np.radians(_SKY_TURN + rng.normal(0.0, 0.2))
    response = np.clip(1.0 + 0.05 * u - 0.08 * (u * u + v * v) + rng.normal(0.0, 0.04, n), 0.7, 1.2)
    lost = np.zeros(n, dtype=bool)
    lost[rng.integers(0, n, dead)] = True
    response[lost] *= 0.03
    return Lattice(
        q=q,
        r=r,
        east=unit * (ux * np.cos(angle) - uy * np.sin(angle)),
        north=unit * (ux * np.sin(angle) + uy * np.cos(angle)),
        x=x,
        y=y,
        tilt=0.012 + 0.008 * u - 0.006 * v + rng.normal(0.0, 4e-4, n),
        bend=2.0e-5 * (1.0 + 0.8 * u - 0.5 * v) + rng.normal(0.0, 1e-6, n),
        stretch=0.004 * u - 0.005 * v + 0.006 * v * v + rng.normal(0.0, 3e-4, n),
        skew=1.5e-5 * u + 1e-5 * v * u,
        width=1.08 + 0.10 * (u * u + v * v) * 2.0 + 0.04 * u,
        line=1.10 + 0.12 * (u * u + v * v) * 2.0 - 0.03 * v,
        response=response,
        slope=rng.normal(0.0, 0.012, n) + 0.01 * u,
        dead=lost,
    )
