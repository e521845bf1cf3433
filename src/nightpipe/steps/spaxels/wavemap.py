"""Wavelengths of a lenslet unit: each lenslet's own lines, and the smooth run of the laws over the field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError, NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.fieldpoly import drawn_to, fit_field
from nightpipe.maths.prism import PrismLaw, fit_prism
from nightpipe.maths.robust import mad_std
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.disperser import Lenslets
from nightpipe.model.references import LineList
from nightpipe.model.spaxels import Spaxel, SpaxelSet, SpaxelWaves
from nightpipe.steps.spaxels.lamps import EDGE, Lamp, look, mean_spectrum
from nightpipe.steps.spaxels.lattice import flat
from nightpipe.steps.spaxels.lawfit import GAINS, LampLight, Laws, expected, fitted, line_offsets, strengths

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
SCALE = 100.0
"""Nominal pixels in the unit of the laws' variable."""
SIGMA_TO_FWHM = 2.3548
WIDTHS = 2
STAGES = ((2.5, 0.15), (2.5, 0.15), (1.2, 0.15), (1.2, 0.15), (0.0, 0.15), *((0.0, 0.3),) * 6)
"""By how much [pixel] lines are blurred and how far their strengths may be from what is likely, round by round."""


@dataclass(frozen=True)
class Field:
    """What the smooth run over the field needs: coordinates (n,), which lenslets may tell, the nominal law.

    `home` (n,) is where the lenslet's middle lies from the first pixel of its spectrum: not smooth, for spectra begin
    at whole pixels, and those that the detector cuts at its edge.
    """

    u: FloatArray
    v: FloatArray
    good: Bools
    law: PrismLaw
    reference: float
    home: FloatArray

    def of(self, chosen: NDArray[np.intp]) -> Field:
        """Return the field of some lenslets."""
        arrays = {name: getattr(self, name)[chosen] for name in ("u", "v", "good", "home")}
        return replace(self, **arrays)

    def smooth(self, coef: FloatArray) -> FloatArray:
        """Return coefficients (n, k) of laws from the lenslets' middles: these run smoothly over the field."""
        return np.concatenate([coef[:, :1] - self.home[:, None], coef[:, 1:]], axis=1)

    def placed(self, coef: FloatArray) -> FloatArray:
        """Return coefficients (n, k) of laws from the spectra's first pixels, given those from the middles."""
        return np.concatenate([coef[:, :1] + self.home[:, None], coef[:, 1:]], axis=1)

    def along(self, wave: FloatArray) -> FloatArray:
        """Return the variable of the laws at wavelengths [Angstrom]."""
        return np.asarray((self.law(wave) - self.law(self.reference)) / SCALE)


class MapSpaxels(Step):
    """Fit the wavelengths of all lenslets to the lines of Hg, Cd and Xe lamps, drawn to their run over the field."""

    version: ClassVar[int] = 2
    terms: int = parameter(5, "coefficients of a lenslet's law in the nominal place", ge=2, le=6)
    degree: int = parameter(5, "degree of the laws' smooth run over the field; 0: each lenslet for itself", ge=0, le=8)
    faintest: float = parameter(1e-3, "lines listed fainter than this share of the brightest are left out", ge=0, lt=1)
    least: float = parameter(0.01, "lines with this share of a lamp's brightest are measured singly", gt=0, lt=1)
    reach: int = parameter(12, "lines may be so far from their nominal places", unit="pixel", ge=2)
    unlike: float = parameter(0.08, "another lamp must be liker by this much to be taken for it", gt=0, lt=1)
    clip: float = parameter(6.0, "laws farther from their neighbours' run follow it", unit="sigma", gt=2)
    rounds: int = parameter(3, "rounds of the last fit", ge=1, le=20)
    sharers: int = parameter(120, "lenslets from which the strengths of lines are taken", ge=20)
    accept: float = parameter(5.0, "a larger scatter of the lines is a caveat", unit="Angstrom", gt=0)
    refuse: float = parameter(20.0, "a larger scatter of the lines is no solution", unit="Angstrom", gt=0)

    def run(
        self, lamps: tuple[SpaxelSpectra, ...], spaxels: SpaxelSet, lenslets: Lenslets, lines: tuple[LineList, ...]
    ) -> SpaxelWaves:
        """Return the wavelengths; `lamps` are their frames' spectra, `lines` the lists of all lamps that may shine.

        The column is a polynomial of the prism's nominal place. Each lamp's lines have fixed wavelengths and strengths
        that all lenslets share (they see the blends at as many phases of the pixel as there are lenslets); the law,
        the line width and the lamps' brightness are each lenslet's own. The laws then are drawn to a polynomial over
        the field by what their errors leave open (shrinkage); outliers, and lenslets without lines, follow it.

        A lamp that shows another's lines is used as what it shows (caveat ``wave.wrong_lamp``).

        Raises
        ------
        BadFrameError
            No lamp shows lines.
        NoSolutionError
            The lines scatter by more than `refuse` about the laws.
        """
        law = fit_prism(lenslets.features)
        known = {_element(one): one for one in lines}
        seen, caveats = self._identified(lamps, spaxels, lenslets, known, law)
        u, v = flat(lenslets, spaxels.q, spaxels.r)
        inner = (spaxels.span[:, 0] > 0) & (spaxels.span[:, 1] < spaxels.shape[1] - 1)
        first = lamps[0].first.astype(np.float64)
        tells = (spaxels.state == Spaxel.MEASURED) & inner
        field = Field(u, v, tells, law, lenslets.reference, spaxels.x - first)
        light = [self._light(spectra, known[name], field, lenslets) for name, (spectra, _) in seen.items()]
        laws = self._started(light, lenslets, field, [lamp.shift for _, lamp in seen.values()])
        laws, light = self._solved(light, laws, field)
        laws, smooth = self._smoothed(light, laws, field, spaxels)
        found = self._described(light, laws, field, smooth, first, spaxels, lenslets)
        return self._judged(replace(found, caveats=(*found.caveats, *caveats)), field)

    def _identified(
        self,
        lamps: tuple[SpaxelSpectra, ...],
        spaxels: SpaxelSet,
        lenslets: Lenslets,
        known: dict[str, LineList],
        law: PrismLaw,
    ) -> tuple[dict[str, tuple[SpaxelSpectra, Lamp]], list[Caveat]]:
        """Return the lamps by what they show, the one named so first, and what must be told of the others."""
        low = float(law(lenslets.light[0]) - law(lenslets.half)) - EDGE
        size = int(float(law(lenslets.light[1]) - law(lenslets.light[0])) + 2 * EDGE)
        zero, sigma = float(law(lenslets.half)) + low, lenslets.sigma
        found: dict[str, tuple[SpaxelSpectra, Lamp]] = {}
        caveats: list[Caveat] = []
        for spectra in lamps:
            name = _lamp_name(spectra, known)
            mean = mean_spectrum(spectra, spaxels, low, size)
            lamp = look(mean, name, known, law, zero, sigma, reach=self.reach)
            other = lamp.seen != name and lamp.likeness[lamp.seen] > lamp.likeness.get(name, 0.0) + self.unlike
            shows = lamp.seen if other or name not in known else name
            if other:
                lamp = look(mean, shows, known, law, zero, sigma, reach=self.reach)
                text = f"{_frame(spectra)} is named {name or 'no lamp'} and shows the lines of {shows}"
                caveats.append(Caveat("wave.wrong_lamp", text))
            if lamp.likeness[shows] < 0.25:
                caveats.append(Caveat("wave.no_lines", f"{_frame(spectra)}, named {name}, shows no lamp's lines"))
            elif shows not in found or not other:
                found[shows] = spectra, lamp
        if not found:
            raise BadFrameError("lamps with lines", "; ".join(c.text for c in caveats), "use another night's lamps")
        if missing := sorted(set(known) - set(found)):
            caveats.append(
                Caveat("wave.lamp_missing", f"no lines of {', '.join(missing)}: wavelengths hang on the others")
            )
        return found, caveats

    def _light(self, spectra: SpaxelSpectra, lines: LineList, field: Field, lenslets: Lenslets) -> LampLight:
        """Return a lamp's light: its pixels, and those lines that may be seen."""
        on = (lines.wave > lenslets.light[0] - 50) & (lines.wave < lenslets.light[1] + 50)
        on &= lines.intensity > self.faintest * lines.intensity[on].max()
        wave = lines.wave[on]
        weight = np.where(spectra.good, 1.0 / np.maximum(spectra.var, 1e-6), 0.0).astype(np.float64)
        flux = np.where(spectra.good, spectra.flux, 0.0).astype(np.float64)
        strength = (lines.intensity[on] / lines.intensity[on].max()) ** 0.75 * float(
            np.percentile(flux.max(axis=1), 60)
        )
        listed = lines.intensity[on] / lines.intensity[on].max()
        return LampLight(_element(lines), flux, weight, wave, field.along(wave), listed, strength)

    def _started(self, light: list[LampLight], lenslets: Lenslets, field: Field, shifts: list[float]) -> Laws:
        n = len(field.u)
        coef = np.zeros((n, self.terms))
        coef[:, 0] = field.home - float(field.law(lenslets.half) - field.law(lenslets.reference))
        coef[:, 0] += float(np.median(shifts))
        coef[:, 1] = SCALE
        sigma = np.zeros((n, WIDTHS))
        sigma[:, 0] = lenslets.sigma
        gain = np.zeros((len(light), n, GAINS))
        gain[:, :, 0] = 1.0
        return Laws(coef, sigma, gain, np.zeros((n, self.terms, self.terms)), np.zeros(n))

    def _solved(self, light: list[LampLight], laws: Laws, field: Field) -> tuple[Laws, list[LampLight]]:
        """Return each lenslet's own law: the lines' strengths from a few lenslets, then all laws with these."""
        chosen = np.flatnonzero(field.good)
        chosen = chosen[:: max(len(chosen) // self.sharers, 1)]
        few, own = [lamp.of(chosen) for lamp in light], laws.of(chosen)
        part = field.of(chosen)
        for blur, doubt in STAGES:
            wide = replace(own, sigma=np.hypot(own.sigma, np.array([blur, 0.0]))) if blur else own
            likely = expected(few)
            few = [
                replace(lamp, strength=strengths(lamp, wide, number, likely[number], doubt))
                for number, lamp in enumerate(few)
            ]
            prior = self._prior(own, part) if blur < 2.0 else None
            own = fitted(few, own, rounds=2, blur=blur, prior=prior)
        light = [replace(lamp, strength=one.strength) for lamp, one in zip(light, few, strict=True)]
        told = np.concatenate([part.smooth(own.coef), own.sigma], axis=1)
        values = fit_field(part.u, part.v, told, 3, use=part.good)(field.u, field.v)
        laws = replace(laws, coef=field.placed(values[:, : self.terms]), sigma=values[:, self.terms :])
        laws = fitted(light, laws, rounds=1)
        return fitted(light, laws, rounds=self.rounds, prior=self._prior(laws, field)), light

    def _prior(self, laws: Laws, field: Field) -> tuple[FloatArray, FloatArray]:
        """Return a loose prior of the laws, so that no lenslet walks off to a wrong line on the way."""
        surface = fit_field(field.u, field.v, field.smooth(laws.coef), 2, use=field.good)
        loose = np.maximum(3.0 * surface.scatter, 0.3) ** 2
        return field.placed(surface(field.u, field.v)), np.diag(1.0 / loose)

    def _smoothed(self, light: list[LampLight], laws: Laws, field: Field, spaxels: SpaxelSet) -> tuple[Laws, Bools]:
        """Return the laws drawn to their run over the field, and which of them follow it alone."""
        final = fitted(light, laws, rounds=1)
        enough = np.linalg.eigvalsh(final.normal)[:, 0] > 1.0
        alive = spaxels.state != Spaxel.DEAD
        if not self.degree:
            return final, ~(enough & alive)
        surface = fit_field(field.u, field.v, field.smooth(final.coef), self.degree, use=field.good & enough)
        run = field.placed(surface(field.u, field.v))
        off = final.coef - run
        kept = surface.kept
        own = (
            np.linalg.inv(final.normal[kept] + 1e-9 * np.eye(self.terms))
            * np.maximum(final.chi2[kept], 1.0)[:, None, None]
        )
        spread = _positive(np.cov(off[kept].T) - np.median(own, axis=0))
        inflated = final.normal / np.maximum(final.chi2, 1.0)[:, None, None]
        coef, _ = drawn_to(final.coef, inflated, run, spread)
        at = np.array([-1.2, 0.0, 0.6])[None, :] ** np.arange(self.terms)[:, None]
        away = np.abs((final.coef - run) @ at)
        typical = np.asarray(mad_std((off @ at)[kept], axis=0))
        alone = (away > self.clip * typical + 0.05).any(axis=1) | ~(enough & alive)
        coef[alone] = run[alone]
        sigma = fit_field(field.u, field.v, final.sigma, min(self.degree, 4), use=field.good & enough)(field.u, field.v)
        return replace(final, coef=coef, sigma=sigma), np.asarray(alone)

    def _described(
        self,
        light: list[LampLight],
        laws: Laws,
        field: Field,
        alone: Bools,
        first: FloatArray,
        spaxels: SpaxelSet,
        lenslets: Lenslets,
    ) -> SpaxelWaves:
        """Return the solution with what its lines say of it."""
        shifts, waves = [], []
        for number, lamp in enumerate(light):
            shift, error, chosen = line_offsets(lamp, laws, number, least=self.least)
            shift[~(error < 0.3)] = np.nan
            shifts.append(shift)
            waves.append(lamp.wave[chosen])
        residual, wave = np.concatenate(shifts, axis=1), np.concatenate(waves)
        order = np.argsort(wave)
        residual, wave = residual[:, order], wave[order]
        grid = np.arange(lenslets.light[0] - 150.0, lenslets.light[1] + 151.0, 25.0)
        coef = laws.coef.copy()
        coef[:, 0] += first
        ends = (float(wave[0]), float(wave[-1])) if wave.size else lenslets.light
        angstrom = residual / (coef[:, 1:2] / SCALE * field.law.slope(wave)[None, :])
        measured = np.isfinite(residual)
        with np.errstate(invalid="ignore"):
            rms = np.sqrt(np.nansum(angstrom**2, axis=1) / np.maximum(measured.sum(axis=1), 1))
        return SpaxelWaves(
            law_wave=grid, law_pixel=field.along(grid) * SCALE, scale=SCALE, coef=coef,
            fwhm_px=laws.sigma * SIGMA_TO_FWHM, range=ends, rms=rms, used=measured.sum(axis=1), smooth=alone,
            line_wave=wave, residual=residual, lamps=tuple(lamp.name for lamp in light), mjd=spaxels.mjd,
        )  # fmt: skip

    def _judged(self, waves: SpaxelWaves, field: Field) -> SpaxelWaves:
        """Return the solution with caveats; raises NoSolutionError where its lines scatter too much."""
        angstrom = waves.residual / (waves.coef[:, 1:2] / SCALE * field.law.slope(waves.line_wave)[None, :])
        own = np.isfinite(angstrom) & ~waves.smooth[:, None]
        scatter = float(mad_std(angstrom[own])) if own.sum() > 10 else float("inf")
        told = f"the lines of {', '.join(waves.lamps)} scatter by {scatter:.1f} Angstrom about the laws"
        if scatter > self.refuse:
            raise NoSolutionError(f"wavelengths to {self.refuse:.0f} Angstrom", told, "use another night's lamps")
        caveats = list(waves.caveats)
        if scatter > self.accept:
            caveats.append(Caveat("wave.poor", told))
        if waves.smooth.any():
            text = f"{int(waves.smooth.sum())} of {len(waves.smooth)} lenslets have the wavelengths of their neighbours"
            caveats.append(Caveat("wave.neighbours", text))
        return replace(waves, caveats=tuple(caveats))


def _element(lines: LineList) -> str:
    """Return the element of a lamp's list: its first species without the stage of ionisation."""
    return lines.species[0].rstrip("IV")


def _lamp_name(spectra: SpaxelSpectra, known: dict[str, LineList]) -> str:
    lamps = () if spectra.exposure is None else spectra.exposure.lamps
    return next((lamp for lamp in lamps if lamp in known), lamps[0] if lamps else "")


def _frame(spectra: SpaxelSpectra) -> str:
    return spectra.exposure.name if spectra.exposure else "a lamp frame"


def _positive(matrix: FloatArray) -> FloatArray:
    """Return the nearest covariance: negative variances become small ones."""
    values, vectors = np.linalg.eigh(matrix)
    floor = 1e-5 * max(float(values.max()), 1e-8)
    return np.asarray((vectors * np.maximum(values, floor)) @ vectors.T)
