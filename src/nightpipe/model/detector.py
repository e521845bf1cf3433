"""A detector as one exposure used it: sections in the array's own pixels, gain, noise, limits, orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat

Section = tuple[int, int, int, int]
"""(x0, x1, y0, y1): zero-based, half-open, in pixels of the array as read."""


@dataclass(frozen=True)
class Amplifier:
    """One readout amplifier.

    `data` is its light-sensitive section; `overscan` the sections that give its pedestal (none: no overscan), with
    `overscan_axis` saying whether the pedestal is a function of ``"y"`` (one value a row) or ``"x"`` (one a column).
    `gain` [electron/adu] and `read_noise` [electron] are the header's or the description's word, to be measured.
    """

    name: str
    data: Section
    overscan: tuple[Section, ...]
    overscan_axis: str
    gain: float
    read_noise: float


@dataclass(frozen=True)
class Camera:
    """How the pixels of an image lie on the sky, as described: nothing of it is exact, a catalogue decides.

    `rotation` [degree, north through east] is the position angle of +y, `mirrored` tells that east lies to the right of
    north. The pixel `centre` (x, y; zero-based, of the trimmed image) lies at `offset` [arcmin, east and north] from
    the telescope's pointing, to within `tolerance` [arcmin]. `radial` lists (power, coefficient) of the distortion
    ``r (1 + sum c r^p)``, r [degree] from the centre.
    """

    rotation: float
    mirrored: bool
    centre: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)
    radial: tuple[tuple[int, float], ...] = ()
    tolerance: float = 2.0


@dataclass(frozen=True)
class Detector:
    """All that the prelude needs to know about one exposure's detector.

    `dispersion` is the raw axis along which light is dispersed (``"x"``, ``"y"`` or ``""`` for images), `increasing`
    whether wavelength grows with that axis. `saturation` and `linear_to` are in adu above the pedestal. `scale` is
    arcsec per unbinned pixel along the slit, `pixel_scale` per pixel as read. `scalable_dark`: may darks be scaled?
    `bad` are sections of bad pixels in the array as read; `camera` tells how images lie on the sky, where described.
    """

    name: str
    amplifiers: tuple[Amplifier, ...]
    dispersion: str
    increasing: bool
    saturation: float
    linear_to: float
    scale: float
    binning: tuple[int, int] = (1, 1)
    scalable_dark: bool = False
    bad: tuple[Section, ...] = ()
    camera: Camera | None = None

    @property
    def field(self) -> tuple[float, float]:
        """Return the size (x, y) [arcmin] of the light-sensitive part on the sky."""
        x0, x1, y0, y1 = zip(*(amplifier.data for amplifier in self.amplifiers), strict=True)
        x, y = self.binning
        return (max(x1) - min(x0)) * x * self.scale / 60.0, (max(y1) - min(y0)) * y * self.scale / 60.0

    @property
    def slit_binning(self) -> int:
        """Return the binning along the slit."""
        return self.binning[0] if self.dispersion == "y" else self.binning[1]

    @property
    def pixel_scale(self) -> float:
        """Return arcsec per pixel along the slit, as read."""
        return self.scale * self.slit_binning

    def oriented(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return the array with wavelength increasing along x and the slit along y: exact, no resampling."""
        array = raw.T if self.dispersion == "y" else raw
        return np.ascontiguousarray(array if self.increasing else array[:, ::-1])


@dataclass(frozen=True)
class Noise:
    """Measured gain [electron/adu] and read noise [electron] per amplifier, beside what the header said.

    `gain_source` and `read_noise_source` are ``"pairs"``, ``"overscan"``, ``"other speed"`` or ``"header"``; errors are
    one sigma, or 0.
    `gain_check` and `read_noise_check` are what a second estimator gave, from all frames at once; empty: none was run.
    """

    amplifiers: tuple[str, ...]
    gain: tuple[float, ...]
    read_noise: tuple[float, ...]
    gain_error: tuple[float, ...]
    read_noise_error: tuple[float, ...]
    header_gain: tuple[float, ...]
    header_read_noise: tuple[float, ...]
    gain_source: str
    read_noise_source: str
    gain_check: tuple[float, ...] = ()
    read_noise_check: tuple[float, ...] = ()
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A master bias against earlier ones, one entry each: the pedestal's step [adu], what differs in structure, noise.

    `structure` is the rms [adu] of the difference of the maps in excess of their noise, after removing the step;
    `noise_ratio` the read noise now over the read noise then (nan: unknown). `names` are those of the earlier masters.
    """

    names: tuple[str, ...]
    level: tuple[float, ...]
    structure: tuple[float, ...]
    noise_ratio: tuple[float, ...]
    caveats: tuple[Caveat, ...] = ()
