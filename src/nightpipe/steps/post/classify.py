"""Classification: what kind of transient a spectrum shows, at which redshift, and how sure that is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.compare import compare
from nightpipe.maths.matching import I64, column_of, lag_of, redshift_of, shift_of
from nightpipe.maths.ranker import Ranker, joint, log_odds, sharpened
from nightpipe.maths.redshifts import (
    APPROACHING,
    Centres,
    agreed,
    around,
    centres,
    error_of,
    error_types,
    plausible,
)
from nightpipe.maths.structure import structure
from nightpipe.model.classification import (
    FEATURELESS,
    TOO_NOISY,
    Classification,
    Observed,
    RedshiftMode,
    TemplateMatch,
)
from nightpipe.model.templates import GROUPS, KINDS, TYPES
from nightpipe.steps.post.evidence import Evidence, ReadyBank, candidates, prepared, ranked, weighed
from nightpipe.steps.post.overlay import flux_fits, host_share, overlays
from nightpipe.steps.post.snid import snid_table

FloatArray = NDArray[np.float64]
TYPE_OF = np.array([TYPES.index(GROUPS[kind]) for kind in KINDS])
"""Place of each kind's type in TYPES."""
FLATTEST = 0.003
"""Structure of less than this share of the continuum is no spectrum of anything, however well some template fits it."""
OUT_OF_NOISE = 4.0
"""Structure that exceeds noise by fewer standard deviations is none."""
HIDING = 0.03
"""Noise of this share of the continuum, in features as broad as a supernova's, hides them: theirs are 0.04 to 0.5."""
NEAR = 4
"""Redshifts within so many columns (8 bins, 0.011) are the same answer."""
STEADY = frozenset(("Galaxy", "AGN", "Star"))
"""Kinds without a maximum to count days from; the bank tells subtypes of M stars as phases."""
BETTER = 1.0
"""Templates of another type must be so much better, in rlap, than those of the type found to speak against it."""


class Classify(Step):
    """Tell the type of a transient with a probability, its redshift, phase and host share.

    The spectrum is correlated with every template at every redshift, weighted by its noise; evidence is counted by
    object. At the likeliest redshifts fifteen small networks, trained on 4,900 published spectra and on made ones,
    weigh the spectrum and that evidence; their probabilities are calibrated by object. The numbers of SNID (Blondin &
    Tonry 2007) stand beside them.
    """

    version: ClassVar[int] = 9
    redshift: float | None = parameter(None, "Redshift, where it is known; None: found.", ge=-0.01, le=1.0)
    redshift_error: float = parameter(0.0, "Standard error of `redshift`; 0: it is exact, else a prior.", ge=0.0)
    z_max: float = parameter(1.0, "Largest redshift looked for.", gt=0.0, le=1.0)
    phase: float | None = parameter(None, "Days from maximum light, where known: a prior.", unit="day")
    phase_error: float = parameter(10.0, "Standard error of `phase`.", unit="day", gt=0.0)
    age: float | None = parameter(None, "Days since first light: templates later than that count less.", unit="day")
    blue: float = parameter(3000.0, "Bluer wavelengths are left out.", unit="Angstrom", gt=0.0)
    red: float = parameter(10000.0, "Redder wavelengths are left out.", unit="Angstrom", gt=0.0)
    least_snr: float = parameter(1.0, "Below this signal-to-noise ratio in 406 km/s nothing is said.", ge=0.0)
    least_evidence: float = parameter(6.0, "Without a template above this evidence it is featureless.", ge=0.0)
    sure: float = parameter(0.5, "A type less probable than this is unclear.", ge=0.0, le=1.0)
    least_rlap: float = parameter(5.0, "SNID's rlapmin: the least rlap of a good match.", ge=0.0)

    def run(self, spectrum: Observed, bank: ReadyBank, ranker: Ranker) -> Classification:
        """Return the classification; raises `BadFrameError` for spectra too short or without positive flux."""
        if self.blue >= self.red:
            raise BadFrameError(
                "a range of wavelengths", f"blue {self.blue:g} >= red {self.red:g}", "mend Classify.blue"
            )
        log, flat = prepared(spectrum, (self.blue, self.red))
        evidence = weighed(log, flat, bank, lag_of(self.z_max), self._of_phase(bank), spectrum.resolution)
        columns = candidates(evidence, self.redshift if self.redshift_error == 0.0 else None)
        odds = log_odds(ranker, ranked(evidence, bank, columns))
        chance = joint(odds, ranker.temperature, self._of_redshift(columns))
        found = centres(around(evidence.profile, columns), columns, chance)
        return self._answer(spectrum, evidence, bank, ranker, found, self._calibrated(found, chance, ranker))

    def _calibrated(self, found: Centres, chance: FloatArray, ranker: Ranker) -> FloatArray:
        """Return the probabilities (candidates, kinds), those of the types as often right as they say."""
        if not self._given:
            chance = plausible(found, chance, KINDS)
        types = by_type(chance)
        factor = sharpened(types, ranker.curve) / np.maximum(types, 1e-300)
        return np.asarray(chance * factor[TYPE_OF])

    @property
    def _given(self) -> bool:
        return self.redshift is not None and self.redshift_error == 0.0

    def _of_phase(self, bank: ReadyBank) -> FloatArray | None:
        """Return the log prior of each template; those of unknown phase lose as much as ones a sigma off."""
        if self.phase is None and self.age is None:
            return None
        phases = bank.bank.phases
        prior = np.zeros(len(phases))
        if self.phase is not None:
            prior -= np.where(np.isfinite(phases), 0.5 * ((phases - self.phase) / self.phase_error) ** 2, 0.5)
        if self.age is not None:
            late = np.maximum(phases - self.age, 0.0) / 3.0
            prior -= np.where(np.isfinite(phases), 0.5 * late**2, 0.5)
        return prior

    def _of_redshift(self, columns: I64) -> FloatArray | None:
        if self.redshift is None or self.redshift_error == 0.0:
            return None
        z = np.array([redshift_of(shift_of(int(column))) for column in columns])
        width = np.hypot(self.redshift_error, 0.004)
        weight = np.exp(-0.5 * ((z - self.redshift) / width) ** 2) + 1e-6
        return np.asarray(weight[:, None])

    def _answer(
        self,
        spectrum: Observed,
        evidence: Evidence,
        bank: ReadyBank,
        ranker: Ranker,
        found: Centres,
        chance: FloatArray,
    ) -> Classification:
        kinds = {kind: float(value) for kind, value in zip(KINDS, chance.sum(axis=0), strict=True)}
        types = {name: sum(value for kind, value in kinds.items() if GROUPS[kind] == name) for name in TYPES}
        type_ = max(types, key=lambda name: types[name])
        kind = max((name for name in KINDS if GROUPS[name] == type_), key=lambda name: kinds[name])
        modes = self._modes(found, chance, ranker)
        place = redshift_column(modes[0].z, evidence.profile.shape[2])
        matches = matched(evidence, bank, place)
        phase, phase_error = phase_of(matches, kind)
        verdict, caveats = self._verdict(evidence, type_, types[type_])
        caveats = caveats or (*self._of_templates(matches, type_), *_of_approach(modes[0], type_))
        grid, density = _density(modes)
        share = host_share(evidence, bank, matches, kind)
        return Classification(
            name=spectrum.name,
            verdict=verdict,
            type=type_,
            kind=kind,
            types=types,
            kinds=kinds,
            modes=modes,
            redshift_given=self._given,
            phase=phase,
            phase_error=phase_error,
            host_share=share,
            snr=evidence.spectrum.snr,
            matches=matches,
            snid=snid_table(matches, modes[0].z, self.least_rlap),
            overlays=overlays(evidence, bank, matches, types),
            fits=flux_fits(evidence, bank, matches),
            grid=grid,
            density=density,
            wave=spectrum.wave[spectrum.good],
            flux=spectrum.flux[spectrum.good],
            level=evidence.flat.level,
            bank=f"{len(bank.bank)} templates of {len(bank.starts)} objects",
            caveats=(*spectrum.caveats, *caveats, *_of_bank(bank)),
            object=spectrum.object,
        )

    def _modes(self, found: Centres, chance: FloatArray, ranker: Ranker) -> tuple[RedshiftMode, ...]:
        """Return the possible redshifts with their errors, the likeliest first."""
        if self._given:
            return (RedshiftMode(float(self.redshift or 0.0), 0.0, 1.0),)
        types = by_type(chance)
        answers = agreed(found, chance, error_types(types))
        told = [
            RedshiftMode(
                float(np.expm1(one.place)), error_of(one, ranker.error), one.probability, float(np.expm1(one.peak))
            )
            for one in answers
        ]
        return tuple(mode for mode in told if mode.probability > 0.005) or (told[0],)

    def _verdict(self, evidence: Evidence, type_: str, probability: float) -> tuple[str, tuple[Caveat, ...]]:
        """Return the answer in words, with a caveat where it is not a type."""
        snr, strongest = evidence.spectrum.snr, float(evidence.profile.max())
        if snr < self.least_snr:
            text = f"signal-to-noise ratio {snr:.1f} in bins of 406 km/s: too noisy to be classified"
            text += "; the flux is negative over most of its range" if snr < -1.0 else ""
            return TOO_NOISY, (Caveat("classify.noisy", text),)
        seen = structure(evidence.flat)
        if seen.sigma < OUT_OF_NOISE and seen.noise > HIDING:
            text = f"nothing stands out of the noise: {100 * seen.noise:.0f}% of the continuum in broad features"
            return TOO_NOISY, (Caveat("classify.noisy", text),)
        if seen.sigma < OUT_OF_NOISE or strongest < self.least_evidence or seen.share < FLATTEST:
            sigma = max(seen.sigma, 0.0)
            text = f"structure of {100 * seen.share:.1f}% of the continuum, {sigma:.1f} sigma out of its noise"
            return FEATURELESS, (Caveat("classify.featureless", f"{text}, evidence {strongest:.1f}: featureless"),)
        if probability < self.sure:
            return "unclear", (Caveat("classify.unclear", f"the likeliest type, {type_}, has P = {probability:.2f}"),)
        return ("not a supernova" if type_ == "notSN" else type_), ()

    def _of_templates(self, matches: tuple[TemplateMatch, ...], type_: str) -> tuple[Caveat, ...]:
        """Return the caveat of an answer that the templates at its redshift do not bear out."""
        if not matches:
            return ()
        best = max(matches, key=lambda match: match.rlap)
        own = max((match.rlap for match in matches if GROUPS[match.kind] == type_), default=0.0)
        said = f"of all templates {best.object} ({best.subtype}) has the highest rlap, {best.rlap:.1f}"
        if best.rlap < self.least_rlap:
            return (Caveat("classify.unmatched", f"{said}: less than the {self.least_rlap:g} of a good match"),)
        if best.rlap > own + BETTER:
            return (Caveat("classify.contradicted", f"{said}; the best of the type found, {type_}, has {own:.1f}"),)
        return ()


def _of_approach(mode: RedshiftMode, type_: str) -> tuple[Caveat, ...]:
    """Return the caveat of a redshift below the least that is told, where the peak lay beyond what it may be off."""
    if not mode.peak + mode.error < APPROACHING:
        return ()
    where = f"z = {mode.peak:.4f} ({299792.458 * mode.peak:.0f} km/s)"
    why = "its own velocity, or wavelengths that are off" if type_ == "notSN" else "the velocity of what it ejected"
    text = f"the best match lies at {where}, below the least that is told, {APPROACHING:g}: {why}"
    return (Caveat("classify.approaching", text),)


def _of_bank(bank: ReadyBank) -> tuple[Caveat, ...]:
    """Return the caveat of a bank that the probabilities were not calibrated with, where it is alone."""
    if bank.calibrated:
        return ()
    text = "the probabilities were calibrated with the templates of `nightpipe data get templates`, which are not here"
    return (Caveat("classify.bank", text),)


def by_type(chance: FloatArray) -> FloatArray:
    """Return the probabilities of the types (types,) from those of (candidates, kinds)."""
    return np.bincount(TYPE_OF, chance.sum(axis=0), len(TYPES)).astype(np.float64)


def matched(evidence: Evidence, bank: ReadyBank, column: int, most: int = 150) -> tuple[TemplateMatch, ...]:
    """Return the best templates about a redshift, by evidence, with the numbers of SNID."""
    near = evidence.rows[:, max(column - NEAR, 0) : column + NEAR + 1]
    best = near.max(axis=1)
    lag = shift_of(np.argmax(near, axis=1) + max(column - NEAR, 0))
    order = np.argsort(-best, kind="stable")[:most]
    order = order[best[order] > 0.0]
    if len(order) == 0:
        return ()
    own = bank.bank
    flat = np.asarray(own.flat[order], dtype=np.float32)
    found = compare(evidence.flat, flat, own.spans[order], np.asarray(lag[order], dtype=np.int64))
    kinds = own.kinds
    return tuple(
        TemplateMatch(
            object=own.objects[row],
            type=own.types[row],
            subtype=own.subtypes[row],
            kind=kinds[row],
            source=own.sources[row],
            age=float("nan") if kinds[row] in STEADY else float(own.phases[row]),
            z=float(found.z[number]),
            z_error=float(found.z_error[number]),
            r=float(found.r[number]),
            lap=float(found.lap[number]),
            rlap=float(found.rlap[number]),
            evidence=float(best[row]),
            row=int(row),
        )
        for number, row in enumerate(order)
    )


def redshift_column(z: float, columns: int) -> int:
    """Return the column of a redshift among so many, the nearest where it lies outside."""
    return min(max(column_of(z), 0), columns - 1)


def phase_of(matches: tuple[TemplateMatch, ...], kind: str) -> tuple[float, float]:
    """Return days from maximum and their error: over the kind's best template of each object, weighted by evidence.

    NaN for what is steady.
    """
    best: dict[str, TemplateMatch] = {}
    if kind in STEADY:
        return float("nan"), float("nan")
    for match in matches:
        if match.kind == kind and np.isfinite(match.age):
            best.setdefault(match.object, match)
    top = sorted(best.values(), key=lambda match: -match.evidence)[:8]
    if not top:
        return float("nan"), float("nan")
    weight = np.array([np.exp(np.sqrt(match.evidence) - np.sqrt(top[0].evidence)) for match in top])
    ages = np.array([match.age for match in top])
    mean = float(np.average(ages, weights=weight))
    scatter = float(np.sqrt(np.average((ages - mean) ** 2, weights=weight)))
    return mean, max(scatter, 3.0)


def _density(modes: tuple[RedshiftMode, ...]) -> tuple[FloatArray, FloatArray]:
    """Return the distribution of the redshift on a grid: a Gaussian for each mode."""
    grid = np.linspace(-0.02, max(max(mode.z for mode in modes) * 1.2, 0.1), 2000)
    width = [max(mode.error, 0.0005) for mode in modes]
    density = sum(
        mode.probability / sigma * np.exp(-0.5 * ((grid - mode.z) / sigma) ** 2) / np.sqrt(2 * np.pi)
        for mode, sigma in zip(modes, width, strict=True)
    )
    return grid, np.asarray(density)
