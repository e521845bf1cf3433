"""The lenslets' response: how much of the same light each passes, wavelength by wavelength."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.fieldpoly import drawn_to, fit_field
from nightpipe.maths.robust import mad_std
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.spaxels import Spaxel, SpaxelFlat, SpaxelSet

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


class FlatSpaxels(Step):
    """Measure each lenslet's response against wavelength on the dome, relative to the median lenslet."""

    terms: int = parameter(4, "coefficients of a lenslet's response along the wavelength", ge=1, le=8)
    degree: int = parameter(3, "degree of their smooth run over the field, for lenslets that lack light", ge=1, le=8)
    low: float = parameter(3600.0, "the response is told from here", unit="Angstrom", gt=0)
    high: float = parameter(9600.0, "to here", unit="Angstrom", gt=0)
    step: float = parameter(100.0, "in steps of", unit="Angstrom", gt=0)
    grain: float = parameter(0.01, "relative error of a column that smoothing averages away", ge=0, lt=0.2)
    least: float = parameter(0.003, "light below this share of the brightest is not used", gt=0, lt=1)

    def run(self, dome: SpaxelSpectra, spaxels: SpaxelSet) -> SpaxelFlat:
        """Return the response of all lenslets, `dome` being their spectra with wavelengths.

        The light per Angstrom over that of the typical lenslet at the same wavelengths is a polynomial; coefficients
        that a lenslet's light tells badly are drawn to their run over the field. Dead lenslets have response zero.

        Raises
        ------
        BadFrameError
            The spectra have no wavelengths, or no light.
        """
        if not np.any(dome.wave > 0):
            raise BadFrameError("dome spectra with wavelengths", "none", "extract them with the wavelength solution")
        live = spaxels.state != Spaxel.DEAD
        density, weight = self._density(dome)
        whole = live & (spaxels.state == Spaxel.MEASURED) & (spaxels.span[:, 0] > 0)
        whole &= spaxels.span[:, 1] < spaxels.shape[1] - 1
        if whole.sum() < 30:
            raise BadFrameError("a dome flat over the field", f"{int(whole.sum())} whole spectra", "use another dome")
        grid = np.arange(self.low - 100.0, self.high + 101.0, 20.0)
        wave = np.arange(self.low, self.high + self.step / 2, self.step)
        typical = _typical(dome.wave[whole], density[whole], weight[whole] > 0, grid)
        typical = np.where(typical > self.least * typical.max(), typical, 0.0)
        coef, normal, chi2 = self._fitted(dome.wave, density, weight, grid, typical)
        u, v = _coordinates(spaxels)
        run = fit_field(u, v, coef, self.degree, use=whole)
        spread = np.diag((1.5 * run.scatter) ** 2 + 1e-10)
        drawn, covariance = drawn_to(coef, normal, run(u, v), spread)
        basis = self._basis(wave)
        values = drawn @ basis.T
        error = np.sqrt(np.einsum("wi,nij,wj->nw", basis, covariance, basis) * np.maximum(chi2, 1.0)[:, None])
        middle = np.median(values[whole], axis=0)
        values, error = values / middle, error / middle
        values[~live], error[~live] = 0.0, 0.0
        return SpaxelFlat(wave, np.maximum(values, 0.0), error, caveats=_caveats(values, live))

    def _basis(self, wave: FloatArray) -> FloatArray:
        scaled = (2.0 * wave - self.low - self.high) / (self.high - self.low)
        return np.asarray(np.polynomial.legendre.legvander(np.clip(scaled, -1.2, 1.2), self.terms - 1))

    def _density(self, dome: SpaxelSpectra) -> tuple[FloatArray, FloatArray]:
        """Return the light per Angstrom and 1/variance of it, 0 where it may not be used."""
        step = np.where(dome.step > 0, dome.step, 1.0)
        density = np.where(dome.good, dome.flux, 0.0) / step
        var = np.where(dome.good, dome.var, 1.0) / step**2 + (self.grain * density) ** 2
        use = dome.good & (dome.step > 0) & (dome.wave > self.low) & (dome.wave < self.high)
        return density, np.where(use, 1.0 / np.maximum(var, 1e-12), 0.0)

    def _fitted(
        self, wave: FloatArray, density: FloatArray, weight: FloatArray, grid: FloatArray, typical: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return coefficients (n, terms), normal matrices and chi-square per column; outliers lose their weight."""
        level = np.interp(wave, grid, typical)
        basis = self._basis(wave.ravel()).reshape(*wave.shape, -1) * level[..., None]
        weight = np.where(level > 0, weight, 0.0)
        robust = np.ones(wave.shape)
        coef, normal, chi2 = (
            np.zeros((len(wave), self.terms)),
            np.zeros((len(wave), self.terms, self.terms)),
            robust[:, 0],
        )
        for _ in range(3):
            weighted = basis * (weight * robust)[..., None]
            normal = np.matmul(weighted.transpose(0, 2, 1), basis)
            ridge = 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-12
            right = np.einsum("nmi,nm->ni", weighted, density, optimize=True)
            coef = np.linalg.solve(normal + ridge * np.eye(self.terms), right[..., None])[..., 0]
            off = (density - np.einsum("nmi,ni->nm", basis, coef, optimize=True)) ** 2 * weight
            robust = 1.0 / (1.0 + off / 25.0)
            chi2 = (off * robust).sum(axis=1) / np.maximum((weight > 0).sum(axis=1) - self.terms, 1)
        return coef, normal, chi2


def _typical(wave: FloatArray, density: FloatArray, good: Bools, grid: FloatArray) -> FloatArray:
    """Return the median light per Angstrom of lenslets on a grid, each brought to the same level first."""
    rows = []
    for k in range(len(wave)):
        use = good[k]
        if use.sum() > 20:
            rows.append(np.interp(grid, wave[k][use], density[k][use], left=np.nan, right=np.nan))
    table = np.array(rows)
    seen = np.isfinite(table).mean(axis=0) > 0.1
    table, typical = table[:, seen], np.zeros(len(grid))
    first = np.nanmedian(table, axis=0)
    level = np.nansum(table * first, axis=1) / np.nansum(np.isfinite(table) * first**2, axis=1)
    typical[seen] = np.nanmedian(table / level[:, None], axis=0)
    return typical


def _coordinates(spaxels: SpaxelSet) -> tuple[FloatArray, FloatArray]:
    return np.asarray(2.0 * spaxels.q + spaxels.r) / np.sqrt(3.0), spaxels.r.astype(np.float64)


def _caveats(values: FloatArray, live: Bools) -> tuple[Caveat, ...]:
    spread = float(mad_std(np.median(values[live], axis=1)))
    if spread < 0.3:
        return ()
    return (Caveat("spaxelflat.uneven", f"the lenslets' response differs by {100 * spread:.0f}%: is the dome lit?"),)
