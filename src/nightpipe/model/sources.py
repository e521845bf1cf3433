"""What is measured on images: detected sources, the point-spread function, zero points, light curves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged

FloatArray = NDArray[np.float64]
NO_SOURCES = np.zeros(0)


@dataclass(frozen=True)
class Sources:
    """Sources of one image, one row each; positions are zero-based pixel centres.

    `x`, `y` (n,) with errors; `flux`, `flux_error` (n,) [electron/s] through the PSF where there is one, else the
    growth-corrected aperture: total flux, to infinity. `columns` holds all else by name, (n,) each: ``aperture_flux``,
    ``kron_flux``, ``fwhm`` [pixel], ``ellipticity``, ``theta``, ``peak``, ``background``, ``ra``, ``dec``, ``mag``,
    ``mag_error`` ... `mask` (n,) uint32 are the `Flag` bits of the pixels under the source's core, `quality` (n,)
    int32 the detection's own bits (1 blended, 2 at the edge, 4 saturated, 8 extended, 16 masked pixels in the core).
    """

    x: FloatArray
    y: FloatArray
    x_error: FloatArray
    y_error: FloatArray
    flux: FloatArray
    flux_error: FloatArray
    mask: NDArray[np.uint32]
    quality: NDArray[np.int32]
    columns: dict[str, FloatArray] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()

    def __len__(self) -> int:
        return int(self.x.size)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Sources:
        """Return some of the sources, or all in another order."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Sources(
            self.x[rows], self.y[rows], self.x_error[rows], self.y_error[rows], self.flux[rows],
            self.flux_error[rows], self.mask[rows], self.quality[rows], columns, self.caveats,
        )  # fmt: skip


@dataclass(frozen=True)
class Psf:
    """The point-spread function of an image, varying over the field as a polynomial.

    `basis` (k, m, m) float32, on a grid `oversampling` times finer than the pixels and centred, each plane the
    coefficient of one term; the terms are ``x**i y**j``, i + j <= `degree`, with x, y scaled to -1..1 over `shape`
    (ny, nx). At every place the PSF sums to one over infinity; `growth` (r, 2) is the curve of growth: radius
    [pixel] and share of the light within. `fwhm` [pixel], `ellipticity` and `theta` are those at the centre; `stars`
    were used; `chi` is the reduced chi of their fits.
    """

    basis: NDArray[np.float32]
    oversampling: int
    degree: int
    shape: tuple[int, int]
    fwhm: float
    ellipticity: float
    theta: float
    growth: FloatArray
    stars: int
    chi: float
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class ZeroPoint:
    """The zero point of one image: ``mag = zp - 2.5 log10(flux [electron/s]) + colour_term (colour - colour_zero)``.

    `band` and `system` are those of the magnitudes. The atmosphere at the exposure's airmass is inside; `above` is the
    zero point with the nominal extinction taken off, nan where it is not known. `error` is that of the mean, `scatter`
    that of one star. `colour` names the index (``"g-i"``). `depth` is the magnitude of a point source at 5 sigma,
    `sky` the sky's brightness [mag/arcsec2], `transparency` relative to the night's best (1: as good).
    """

    zp: float
    error: float
    band: str
    system: str
    catalogue: str
    stars: int
    scatter: float
    colour: str = ""
    colour_term: float = 0.0
    colour_term_error: float = 0.0
    colour_zero: float = 0.0
    above: float = float("nan")
    depth: float = float("nan")
    sky: float = float("nan")
    transparency: float = float("nan")
    used: FloatArray = field(default_factory=lambda: NO_SOURCES)
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class ZeroPoints:
    """The zero points of the images of one field, in their order; None where an image has none."""

    frames: tuple[ZeroPoint | None, ...]

    @property
    def known(self) -> tuple[ZeroPoint, ...]:
        """Return those that there are."""
        return tuple(one for one in self.frames if one is not None)

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """Return what is to be known of any of them."""
        return merged(*(one.caveats for one in self.known))


@dataclass(frozen=True)
class LightCurve:
    """Forced photometry at one place on the sky, a row for each image; limits are at `sigma`.

    `mjd` (n,) at mid-exposure, `exptime` [s], `band` and `image` (names); `flux`, `flux_error` in the row's `unit`
    (``"microjansky"``, or ``"electron/s"`` where the zero point does not tell), the error that of the image's noise;
    `mag`, `mag_error` (with the zero point's error) nan where there is no detection; `limit` (n,) the magnitude of a
    point source that reaches `sigma`, from empty apertures. All are nan where the image does not show the place.
    """

    name: str
    ra: float
    dec: float
    mjd: FloatArray
    exptime: FloatArray
    band: tuple[str, ...]
    image: tuple[str, ...]
    flux: FloatArray
    flux_error: FloatArray
    mag: FloatArray
    mag_error: FloatArray
    limit: FloatArray
    sigma: float = 3.0
    unit: tuple[str, ...] = ()
    caveats: tuple[Caveat, ...] = ()

    def __len__(self) -> int:
        return int(self.mjd.size)
