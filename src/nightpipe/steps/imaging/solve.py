"""The plate solution of one image: a ladder of ways to find it, each with the same gate at its top."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.tan import separation
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Astrometry, Wcs
from nightpipe.steps.imaging.rungs import Hunt, by_offset, by_quads, from_header, patches_of
from nightpipe.steps.imaging.settle import Guess, Settled, settle
from nightpipe.steps.imaging.starfield import References, StarField, references, star_field


@dataclass(frozen=True)
class Known:
    """What is known of an image before it is solved; `pointing` (ra, dec) [deg], `scale` [arcsec/pixel]."""

    prior: Wcs | None
    pointing: tuple[float, float] | None
    scale: float | None


class SolveAstrometry(Step):
    """Find where every pixel lies on the sky, from the stars and a catalogue."""

    version: ClassVar[int] = 4
    header_error: float = parameter(5.0, "how far a good header's solution may be off", unit="arcsec", gt=0)
    offset: float = parameter(
        180.0, "how far the pointing may be off where scale and rotation hold", unit="arcsec", gt=0
    )
    search: float = parameter(1.0, "how far the pointing may be off at all", unit="deg", gt=0)
    scale_error: float = parameter(0.1, "by which fraction the pixel scale may be off", ge=0.001, le=0.3)
    parity: int = parameter(0, "-1 as on the sky, +1 mirrored, 0 unknown", ge=-1, le=1)
    order: int = parameter(3, "highest order of distortion; 1 for none", ge=1, le=5)
    min_matches: int = parameter(3, "stars that must match at the least", ge=3)
    max_rms: float = parameter(0.0, "scatter at most; 0 for half a pixel and 0.6 arcsec together", unit="arcsec", ge=0)
    odds: float = parameter(1e6, "odds against a chance match, after all that was tried", gt=1)
    rungs: tuple[str, ...] = parameter(
        ("header", "offset", "quads", "neighbour", "blind"), "which ways are tried, in this order"
    )

    def run(
        self,
        sources: Sources,
        shape: tuple[int, int],
        catalogue: StarCatalogue,
        *,
        epoch: float,
        prior: Wcs | None = None,
        pointing: tuple[float, float] | None = None,
        scale: float | None = None,
        neighbours: tuple[tuple[Sources, Astrometry], ...] = (),
        wide: StarCatalogue | None = None,
    ) -> Astrometry:
        """Return the solution of an image of `shape` (ny, nx), at the `epoch` [Julian year] of its exposure.

        `prior` is the header's solution or what is like it (nominal scale and rotation at the pointing); else
        `pointing` (ra, dec) [deg] and `scale` [arcsec/pixel] say what is known. `neighbours` are solved images of the
        same night and field; `wide` is a catalogue of the sky at large for fields of some degrees.

        Raises
        ------
        NoSolutionError
            No rung led to a solution that passes the gate; the error says how each of them failed.
        """
        stars = star_field(sources, shape)
        known = _known(prior, pointing, scale, stars)
        if len(stars) < 3:
            raise NoSolutionError("an astrometric solution", f"{len(stars)} stars on the image", "a longer exposure")
        climb = _Climb(self, stars, known, references(catalogue, epoch))
        failures = []
        for rung in self.rungs:
            solved, why = climb.rung(rung, neighbours, None if wide is None else references(wide, epoch))
            if solved is not None:
                return self._astrometry(solved, rung, stars, climb.used, epoch, known)
            failures.append(f"{rung}: {why}")
        raise NoSolutionError(
            "an astrometric solution",
            "; ".join(failures),
            "a deeper or wider catalogue, a pointing or scale (the header's may be wrong), or more stars",
        )

    def judge(self, found: Settled, stars: StarField, known: Known, rung: str) -> str:
        """Return why a solution is not to be believed, empty where it is."""
        limit = self.max_rms or max(0.5 * found.wcs.scale, 0.6)
        rms = math.hypot(*found.rms) / math.sqrt(2)
        if found.i.size < self.min_matches:
            return f"{found.i.size} matches of {self.min_matches}"
        if rms > limit:
            return f"scatter of {rms:.2f} arcsec, {limit:.2f} allowed"
        if known.scale and abs(math.log(found.wcs.scale / known.scale)) > math.log(1 + self.scale_error) + 1e-3:
            return f"scale of {found.wcs.scale:.4f} arcsec/pixel, {known.scale:.4f} expected"
        if self.parity and found.wcs.parity != self.parity:
            return "mirrored"
        return self._unlikely(found, _away(found, stars, known) if rung != "blind" else 0.0)

    def _unlikely(self, found: Settled, away: float) -> str:
        if away > 3600.0 * self.search:
            return f"{away / 3600:.2f} deg from the pointing"
        if found.odds < math.log(self.odds):
            return f"{found.i.size} matches, log odds {found.odds:.1f} of {math.log(self.odds):.1f}"
        return ""

    def _astrometry(
        self, found: Settled, rung: str, stars: StarField, near: References, epoch: float, known: Known
    ) -> Astrometry:
        ra, dec = near.ra[found.j], near.dec[found.j]
        pairs = np.column_stack((stars.x[found.i], stars.y[found.i], ra, dec, *found.residual))
        away = _away(found, stars, known)
        caveats = []
        if rung == "neighbour":
            text = f"solved on the sources of another image ({near.name}): its errors are in this one too"
            caveats.append(Caveat("astrometry.neighbour", text))
        if away > 3600.0 * self.search:
            caveats.append(
                Caveat("astrometry.pointing", f"the image lies {away / 3600:.1f} deg from where its header points")
            )
        if found.i.size < 6:
            text = f"only {found.i.size} stars match: shape and distortion of the field are taken as they were known"
            caveats.append(Caveat("astrometry.few", text))
        return Astrometry(
            found.wcs, rung, int(found.i.size), found.rms, found.error, near.name, epoch, away, found.odds, pairs,
            tuple(caveats),
        )  # fmt: skip


def _known(prior: Wcs | None, pointing: tuple[float, float] | None, scale: float | None, stars: StarField) -> Known:
    if prior is None:
        return Known(None, pointing, scale)
    ra, dec = prior.to_sky(*stars.centre)
    return Known(prior, pointing or (float(ra), float(dec)), scale or prior.scale)


def _away(found: Settled, stars: StarField, known: Known) -> float:
    """Return how far the image's middle lies from the pointing [arcsec], 0 where none is known."""
    if known.pointing is None:
        return 0.0
    return 3600.0 * float(separation(*found.wcs.to_sky(*stars.centre), *known.pointing))


class _Climb:
    """One image on its ladder: the reference stars of its rungs, and what became of each guess."""

    def __init__(self, step: SolveAstrometry, stars: StarField, known: Known, catalogue: References) -> None:
        self.step, self.stars, self.known, self.catalogue = step, stars, known, catalogue
        self.used = catalogue

    def rung(
        self, name: str, neighbours: tuple[tuple[Sources, Astrometry], ...], wide: References | None
    ) -> tuple[Settled | None, str]:
        """Return the solution of one rung, or None and why there is none."""
        rungs = {"header": self._header, "offset": self._offset, "quads": self._quads}
        if name in rungs:
            return rungs[name]()
        if name == "neighbour":
            return self._neighbour(neighbours)
        if name == "blind":
            return self._blind(wide)
        return None, "no such rung"

    def _header(self) -> tuple[Settled | None, str]:
        if self.known.prior is None:
            return None, "no solution in the header"
        guesses = from_header(self.known.prior, self.step.header_error / self.known.prior.scale)
        return self._best(guesses, self.catalogue, "header")

    def _offset(self) -> tuple[Settled | None, str]:
        prior = self.known.prior
        if prior is None:
            return None, "neither scale nor rotation known"
        return self._shifted(prior, self.catalogue, "offset")

    def _shifted(self, prior: Wcs, near: References, rung: str) -> tuple[Settled | None, str]:
        radius = self.step.offset / prior.scale
        around = near.within(self._centre(prior), 1.2 * (self._field(prior.scale) + self.step.offset / 3600))
        tolerance = max(2.0, 0.004 * self.stars.side)
        return self._best(by_offset(prior, self.stars, around, radius, tolerance), near, rung)

    def _quads(self) -> tuple[Settled | None, str]:
        if self.known.pointing is None:
            return None, "no pointing"
        return self._searched(self.catalogue, self.known.pointing, "quads")

    def _searched(self, near: References, pointing: tuple[float, float], rung: str) -> tuple[Settled | None, str]:
        field = self._field(self.known.scale) if self.known.scale else 0.5
        radius = self.step.search + field
        around = near.within(pointing, radius)
        if len(around) < 4:
            return None, f"{len(around)} reference stars within {radius:.2f} deg of the pointing"
        area = math.pi * self.step.search**2
        return self._best(by_quads(self.stars, self._hunt(), [(pointing, around.plane(pointing))], area), near, rung)

    def _neighbour(self, neighbours: tuple[tuple[Sources, Astrometry], ...]) -> tuple[Settled | None, str]:
        why = "no solved image of the same field"
        for sources, astrometry in neighbours:
            near = _as_references(sources, astrometry)
            found, why = self._shifted(astrometry.wcs, near, "neighbour")
            if found is None:
                centre = self._centre(astrometry.wcs)
                found, why = self._searched(near, centre, "neighbour")
            if found is not None:
                return found, ""
        return None, why

    def _blind(self, wide: References | None) -> tuple[Settled | None, str]:
        why = "no catalogue wider than what was searched"
        for near in (self.catalogue, wide):
            if near is None or not self._beyond(near):
                continue
            field = self._field(self.known.scale) if self.known.scale else 0.5
            patches, area = patches_of(near, field)
            found, why = self._best(by_quads(self.stars, self._hunt(), patches, area), near, "blind")
            if found is not None:
                return found, ""
        return None, why

    def _beyond(self, near: References) -> bool:
        """Tell whether reference stars lie where the rung of quads does not look."""
        if self.known.pointing is None or not len(near):
            return len(near) > 0
        reach = self.step.search + 2 * self._field(self.known.scale or 1.0)
        return bool(np.any(separation(near.ra, near.dec, *self.known.pointing) > reach + 0.5))

    def _hunt(self) -> Hunt:
        return Hunt(self.known.scale, self.step.scale_error, self.step.parity)

    def _field(self, scale: float) -> float:
        """Return half the image's diagonal [deg]."""
        return self.stars.half_diagonal * scale / 3600

    def _centre(self, wcs: Wcs) -> tuple[float, float]:
        ra, dec = wcs.to_sky(*self.stars.centre)
        return float(ra), float(dec)

    def _best(self, guesses: Iterator[Guess], near: References, rung: str) -> tuple[Settled | None, str]:
        """Return the first guess that settles and passes the gate; else what came nearest to it, and why it failed."""
        self.used, tried, best = near, 0, (-math.inf, "no stars that match")
        for guess in guesses:
            tried += 1
            reach = 1.3 * (self.stars.half_diagonal + 2 * guess.radius) * guess.wcs.scale / 3600
            around = near.within(self._centre(guess.wcs), reach)
            found = settle(guess, self.stars, around, order=self.step.order)
            if found is None:
                continue
            why = self.step.judge(found, self.stars, self.known, rung)
            if not why:
                self.used = around
                return found, ""
            best = max(best, (found.odds, why))
        return None, f"{best[1]} ({tried} guesses)"


def _as_references(sources: Sources, astrometry: Astrometry) -> References:
    """Return a solved image's sources as reference stars."""
    good = np.flatnonzero(np.isfinite(sources.x) & np.isfinite(sources.flux))
    good = good[np.argsort(-sources.flux[good], kind="stable")]
    ra, dec = astrometry.wcs.to_sky(sources.x[good], sources.y[good])
    error = np.full(good.size, max(astrometry.rms))
    return References(ra, dec, error, f"{astrometry.catalogue} through another image")
