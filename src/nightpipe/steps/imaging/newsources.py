"""Sources of an image that a catalogue should know and does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.model.moc import Circle, Moc
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcs import Wcs

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
BLENDED, EDGE, SATURATED, MASKED = 1, 2, 4, 16


class NewSources(Step):
    """Find sources without a counterpart in a catalogue that is deep enough to have had it; rank by error circles."""

    radius: float = parameter(1.5, "largest distance of a counterpart", unit="arcsec", gt=0)
    limit: float = parameter(20.1, "faintest magnitude", unit="mag")
    brightest: float = parameter(12.0, "brightest magnitude", unit="mag")
    roundness: float = parameter(
        0.8, "least ratio of axes: trails, rows and galaxies seen edge-on are longer", ge=0, le=1
    )
    snr: float = parameter(7.0, "least significance", unit="sigma", gt=0)
    margin: float = parameter(0.3, "the catalogue must be deeper than the source by this", unit="mag", ge=0)
    colour: float = parameter(1.0, "and by this too where it is of another band: red stars", unit="mag", ge=0)
    sharp: float = parameter(2.5, "a peak so many times steeper than a star's is a hit on the detector", gt=1)
    crowd: float = parameter(0.05, "largest chance of an unrelated counterpart before it is said", gt=0)

    def run(
        self,
        sources: Sources,
        wcs: Wcs,
        zp: float,
        catalogue: StarCatalogue,
        epoch: float = 2000.0,
        band: str = "",
        regions: Sequence[Circle | Moc] = (),
    ) -> Sources:
        """Return the new sources, those in most `regions` first; magnitudes are ``zp - 2.5 log10(flux)``.

        A star is only missed where the catalogue would have had it: its depth in `band` (else in the band that goes
        deepest, less `colour`) must exceed the source's magnitude by `margin`. Depth is what the catalogue states, else
        the peak of its number counts. Columns: ``ra``, ``dec``, ``mag``, ``mag_error``, ``class`` (in how many
        regions, in order: PyNOT's 0, 1 for BAT, 2 for BAT and XRT), ``nearest`` [arcsec] to the next catalogue entry,
        ``spare`` [mag] by which the catalogue is deeper than needed, ``ratio`` of the axes.

        Raises
        ------
        NoSolutionError
            The catalogue does not overlap the image.
        """
        from scipy.spatial import cKDTree

        ra, dec = wcs.to_sky(sources.x, sources.y)
        known = np.stack(wcs.to_pixel(*catalogue.at(epoch)), axis=1)
        known = known[np.isfinite(known).all(axis=1)]
        _overlap(known, sources, catalogue)
        nearest = cKDTree(known).query(np.stack([sources.x, sources.y], axis=1))[0] * wcs.scale
        with np.errstate(divide="ignore", invalid="ignore"):
            mag = np.asarray(zp - 2.5 * np.log10(sources.flux))
            snr = np.asarray(sources.flux / sources.flux_error)
        depth, told = self._depth(catalogue, band)
        ratio: FloatArray = 1.0 - sources.columns.get("ellipticity", np.zeros(len(sources)))
        alone = nearest > self.radius
        bright = (mag < self.limit) & (mag > self.brightest) & (snr > self.snr)
        clean = (ratio >= self.roundness) & ((sources.quality & (EDGE | SATURATED | MASKED)) == 0)
        hit = self._hits(sources)
        clean &= ~hit
        deep = mag < depth
        rank = _ranks(regions, ra, dec)
        chosen = np.flatnonzero(alone & bright & clean & deep)
        chosen = chosen[np.lexsort((mag[chosen], -rank[chosen]))]
        if lost := int((alone & bright & hit).sum()):
            text = f"{lost} sources without counterpart are narrower than any star: hits on the detector, left out"
            told += (Caveat("findnew.hits", text),)
        told += self._warnings(sources, wcs, known, alone & bright & clean & ~deep, depth)
        columns: dict[str, FloatArray] = {
            "ra": ra, "dec": dec, "mag": mag, "mag_error": np.asarray(1.0857 / np.maximum(snr, 1e-9)), "class": rank,
            "nearest": np.asarray(nearest), "spare": np.asarray(depth - mag), "ratio": np.asarray(ratio),
        }  # fmt: skip
        return _taken(sources, columns, chosen, told)

    def _depth(self, catalogue: StarCatalogue, band: str) -> tuple[float, tuple[Caveat, ...]]:
        """Return the magnitude to which the catalogue would show a source of the image."""
        depths = {name: catalogue.depth.get(name, _turnover(mags)) for name, mags in catalogue.mags.items()}
        depths = {name: value for name, value in depths.items() if np.isfinite(value)}
        if band in depths:
            return depths[band] - self.margin, ()
        if not depths:
            text = f"{catalogue.name} gives no magnitudes: its depth is not known, faint stars may pass as new"
            return np.inf, (Caveat("findnew.depth", text),)
        deepest = max(depths, key=lambda name: depths[name])
        text = f"the depth of {catalogue.name} is judged in {deepest}, {self.colour:g} mag left for red stars"
        return depths[deepest] - self.margin - self.colour, (Caveat("findnew.band", text),)

    def _hits(self, sources: Sources) -> Bools:
        """Return which sources have more of their light in one pixel than the seeing allows."""
        if "peak" not in sources.columns:
            return np.zeros(len(sources), np.bool_)
        share = sources.columns["peak"] / np.maximum(sources.flux, 1e-9)
        sound = (sources.quality == 0) & (sources.flux > 20 * sources.flux_error)
        if sound.sum() < 5:
            return np.zeros(len(sources), np.bool_)
        return np.asarray(share > self.sharp * np.median(share[sound]))

    def _warnings(
        self, sources: Sources, wcs: Wcs, known: FloatArray, shallow: Bools, depth: float
    ) -> tuple[Caveat, ...]:
        told = [Caveat("findnew.moving", "moving objects were not checked: an asteroid is no catalogue's star either")]
        if shallow.any():
            number = int(shallow.sum())
            text = f"{number} sources without counterpart are fainter than {depth:.2f}: the catalogue cannot tell"
            told.append(Caveat("findnew.shallow", text))
        span = np.ptp(sources.x) * np.ptp(sources.y) if len(sources) > 1 else 0.0
        inside = int(_within(known, sources).sum())
        chance = inside * np.pi * (self.radius / wcs.scale) ** 2 / max(span, 1.0)
        if chance > self.crowd:
            text = f"a counterpart is there by chance for {chance:.0%} of the places: new sources may be missed"
            told.append(Caveat("findnew.crowded", text))
        return tuple(told)


def _within(known: FloatArray, sources: Sources) -> Bools:
    inside = (known[:, 0] >= sources.x.min()) & (known[:, 0] <= sources.x.max())
    return np.asarray(inside & (known[:, 1] >= sources.y.min()) & (known[:, 1] <= sources.y.max()))


def _overlap(known: FloatArray, sources: Sources, catalogue: StarCatalogue) -> None:
    if not len(sources):
        raise NoSolutionError("sources in the image", "none", "lower Detect.threshold")
    if not len(known) or not _within(known, sources).any():
        raise NoSolutionError(
            "a catalogue that covers the image", f"no entry of {catalogue.name} lies on it",
            "fetch the catalogue for this field, or look at the plate solution",
        )  # fmt: skip


def _ranks(regions: Sequence[Circle | Moc], ra: FloatArray, dec: FloatArray) -> FloatArray:
    """Return in how many regions each place lies, counted from the first one on without a gap."""
    rank, inside = np.zeros(ra.shape), np.ones(ra.shape, np.bool_)
    for region in regions:
        inside &= region.holds(ra, dec)
        rank += inside
    return rank


def _turnover(mags: FloatArray, step: float = 0.5) -> float:
    """Return the faint end of the fullest bin of magnitudes: fainter the catalogue is no longer complete."""
    known = mags[np.isfinite(mags)]
    if known.size < 20:
        return float("nan")
    counts, edges = np.histogram(known, np.arange(known.min(), known.max() + step, step))
    return float(edges[int(np.argmax(counts)) + 1])


def _taken(
    sources: Sources, columns: dict[str, FloatArray], chosen: NDArray[np.intp], told: tuple[Caveat, ...]
) -> Sources:
    kept = {name: values[chosen] for name, values in (sources.columns | columns).items()}
    return Sources(
        sources.x[chosen], sources.y[chosen], sources.x_error[chosen], sources.y_error[chosen], sources.flux[chosen],
        sources.flux_error[chosen], sources.mask[chosen], sources.quality[chosen], kept, sources.caveats + told,
    )  # fmt: skip
