"""Where the spectra of a lenslet unit lie: found on the dome, checked against the lattice, repaired from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError, NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.fieldpoly import FieldPoly, fit_field
from nightpipe.maths.prism import fit_prism
from nightpipe.model.disperser import Lenslets
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.model.spaxels import Spaxel, SpaxelSet
from nightpipe.steps.spaxels.bundle import UNIT, Bundle, gaussian_table
from nightpipe.steps.spaxels.chains import Chains, find_chains
from nightpipe.steps.spaxels.lattice import Lattice, assign, enclosed, on_sky, sites
from nightpipe.steps.spaxels.refine import Fitted, Smooth, refine
from nightpipe.steps.spaxels.scatter import lit, scattered

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Bools = NDArray[np.bool_]
MARGIN = 4.0
"""Columns beyond the nominal ends of the light that still belong to a spectrum."""
SIGMA_TERMS = 2
STRAY = 1.5
"""Rows from its place on the lattice beyond which a ridge is another's: one cut by an edge has its middle elsewhere."""
SEEN = 0.003
"""A spectrum of which the detector's edge leaves less than this share is left out."""
EVEN = 0.2
"""A continuum's typical light is more than this share of its brightest."""
KNOWN = 0.05
"""Pixels: a row that its own light tells no better than this was told by the neighbours."""


@dataclass(frozen=True)
class Places:
    """Lenslets (n,) that may have light: `q`, `r`, nominal middle (`x`, `y`) [pixel], `chain` index of its ridge or -1,
    `whole` where no edge of the detector cuts its ridge.
    """

    q: IntArray
    r: IntArray
    x: FloatArray
    y: FloatArray
    chain: IntArray
    whole: Bools

    def only(self, keep: Bools) -> Places:
        """Return some of them."""
        places = self.q[keep], self.r[keep], self.x[keep], self.y[keep]
        return Places(*places, self.chain[keep], self.whole[keep])


class FindSpaxels(Step):
    """Find the spectra of all lenslets on a dome flat: rows, widths and the profile, validated against the lattice."""

    version: ClassVar[int] = 2
    threshold: float = parameter(0.05, "a ridge's light begins at this share of the brighter ridges'", gt=0, lt=1)
    least: int = parameter(80, "shorter ridges are not spectra", unit="pixel", ge=20)
    fewest: int = parameter(60, "fewer ridges are no dome flat of a lenslet unit", ge=6)
    saturated: float = parameter(0.01, "a frame with a larger share of saturated pixels is refused", gt=0, lt=1)
    terms: int = parameter(4, "coefficients of a row along its spectrum", ge=2, le=6)
    degree: int = parameter(4, "degree of the smooth run of coefficients over the field", ge=1, le=8)
    rounds: int = parameter(5, "rounds of the fit of all spectra", ge=3, le=12)
    window: float = parameter(4.0, "rows on either side of a spectrum that tell its place", unit="pixel", gt=1)
    knots: int = parameter(45, "knots of the profile across a spectrum", ge=15, le=121)
    blur: float = parameter(48.0, "scattered light varies over such distances", unit="pixel", gt=0)
    dead: float = parameter(0.2, "lenslets darker than this share of the median are dead", gt=0, lt=1)
    clip: float = parameter(8.0, "a row farther from its neighbours' run is repaired", unit="sigma", gt=2)

    def run(self, dome: Frame) -> SpaxelSet:
        """Return the spectra on `dome` [electron]; its disperser must describe the lenslets.

        Ridges are found column by column, put onto the hexagonal lattice by the described steps from the middle
        outwards, and all of them fitted at once (Gauss-Newton, each against the light that the others leave): rows,
        widths and one empirical profile, over scattered light from where no spectrum lies. Coefficients that a
        spectrum's own light tells badly are drawn to their smooth run over the field; outliers take that run
        (caveat ``spaxels.repaired``), places without light inside the array are dead (``spaxels.dead``).

        Raises
        ------
        BadFrameError
            Saturated, empty, or the light of a line lamp.
        NoSolutionError
            The spectra do not lie on the described lattice.
        """
        lenslets = _described(dome)
        self._may_serve(dome)
        chains = find_chains(dome, least=self.least, threshold=self.threshold)
        self._are_spectra(dome, chains)
        law = fit_prism(lenslets.features)
        middle = (lenslets.middle[0] + float(law(lenslets.half) - law(lenslets.reference)), lenslets.middle[1])
        low, high = (float(law(wave) - law(lenslets.half)) for wave in lenslets.light)
        span = (low - MARGIN, high + MARGIN)
        q, r, lattice = assign(chains.x, chains.row[:, 0], lenslets, middle)
        places = _places(lattice, chains, q, r, dome.shape, span)
        bundle = _bundle(places, chains, lattice, span, self.terms, lenslets.sigma)
        bundle, places = self._lit(dome, bundle, places)
        smooth = Smooth(*lattice.flat(places.q, places.r), places.whole, self.degree)
        fitted = refine(dome, bundle, smooth, rounds=self.rounds, window=self.window, blur=self.blur, knots=self.knots)
        return self._judged(dome, fitted, places, lattice, smooth, span)

    def _may_serve(self, dome: Frame) -> None:
        share = float(np.mean((dome.mask & np.uint32(Flag.SATURATED)) != 0))
        if share > self.saturated:
            raise BadFrameError(
                f"a dome flat that is not saturated: {_name(dome)}",
                f"{100 * share:.0f}% of its pixels are",
                "expose it shorter, or drop it: `nightpipe decide FRAME Frame.use=false`",
            )

    def _are_spectra(self, dome: Frame, chains: Chains) -> None:
        if len(chains) >= self.fewest and chains.short < len(chains) and np.median(chains.even) > EVEN:
            return
        found = f"{len(chains)} spectra; the brightest ridges have {chains.peak:.0f} electrons"
        if chains.short > 5 * max(len(chains), 10) or len(chains) >= self.fewest:
            found = f"{chains.short} short pieces of light and {len(chains)} long uneven ones, as from a line lamp"
        raise BadFrameError(
            f"the continuous spectra of a dome flat: {_name(dome)}", found,
            "retype the frame, `nightpipe decide FRAME Frame.type=arc`, or use the dome flats of another night",
        )  # fmt: skip

    def _lit(self, dome: Frame, bundle: Bundle, places: Places) -> tuple[Bundle, Places]:
        """Return what has light, or is dead amid the living; what lies beyond the array's edge goes."""
        data = np.where(dome.good, dome.data, 0.0).astype(np.float64)
        weight = np.where(dome.good, 1.0 / np.maximum(dome.var, 1e-6), 0.0)
        data -= scattered(data, ~lit(dome.shape, bundle.first, bundle.rows, 6.0) & dome.good, self.blur)
        light = bundle.light(data, weight, np.zeros((len(places.q), bundle.m)), window=self.window)
        bright, seen = brightness(light[..., 0], light[..., 1], places.whole)
        live = (bright > self.dead) & (seen > SEEN)
        on = bundle.visible(dome.shape[1]).mean(axis=1) > 0.2
        keep = live | (enclosed(places.q, places.r, live) & on)
        kept = replace(
            bundle, x=bundle.x[keep], first=bundle.first[keep], centre=bundle.centre[keep], sigma=bundle.sigma[keep]
        )
        return kept, places.only(keep)

    def _judged(
        self, dome: Frame, fitted: Fitted, places: Places, lattice: Lattice, smooth: Smooth, span: tuple[float, float]
    ) -> SpaxelSet:
        """Return the set: outliers repaired, the dead named."""
        bundle = fitted.bundle
        bright, seen = brightness(fitted.light, fitted.light_ivar, places.whole)
        dead = (bright < self.dead) & (seen > 0)
        surface = fit_field(smooth.u, smooth.v, bundle.centre, self.degree, use=places.whole & ~dead)
        run = surface(smooth.u, smooth.v)
        out = self._out_of_line(bundle, run, surface) | (fitted.row_error > KNOWN)
        state = np.where(dead, Spaxel.DEAD, np.where(out, Spaxel.REPAIRED, Spaxel.MEASURED)).astype(np.int64)
        lost = state != Spaxel.MEASURED
        centre, sigma = bundle.centre.copy(), bundle.sigma.copy()
        wide = fit_field(smooth.u, smooth.v, sigma, self.degree, use=places.whole & ~lost)
        off = self._out_of_line(bundle, run, surface) | dead
        centre[off] = run[off]
        sigma[lost] = wide(smooth.u, smooth.v)[lost]
        east, north = on_sky(lattice.nominal, places.q, places.r)
        ends = np.clip(bundle.x[:, None] + np.array(span), 0, dome.shape[1] - 1)
        return SpaxelSet(
            q=places.q, r=places.r, east=east, north=north, x=bundle.x, span=ends,
            centre=centre / UNIT ** np.arange(centre.shape[1]), sigma=sigma / UNIT ** np.arange(sigma.shape[1]),
            offset=bundle.offset, below=bundle.below, state=state, brightness=bright, shape=dome.shape,
            mjd=0.0 if dome.exposure is None else dome.exposure.mjd, caveats=_caveats(state),
        )  # fmt: skip

    def _out_of_line(self, bundle: Bundle, run: FloatArray, surface: FieldPoly) -> Bools:
        """Return which rows are far off their neighbours' run, at the middle or at either end."""
        off = bundle.centre - run
        at = np.array([-1.5, 0.0, 0.5])
        values = np.stack([(off * at_ ** np.arange(off.shape[1])).sum(axis=1) for at_ in at], axis=1)
        typical = 1.4826 * np.median(np.abs(values[surface.kept]), axis=0)
        return np.asarray((np.abs(values) > self.clip * typical + 0.05).any(axis=1))


def brightness(light: FloatArray, ivar: FloatArray, whole: Bools) -> tuple[FloatArray, FloatArray]:
    """Return each spectrum's light relative to the typical one of `whole` ones, and the share of that which is seen."""
    typical = np.median(light[whole], axis=0) if whole.any() else np.median(light, axis=0)
    seen = ivar > 0
    square = (seen * typical**2).sum(axis=1)
    bright = (seen * light * typical).sum(axis=1) / np.maximum(square, 1e-9)
    return np.asarray(bright), np.asarray(square / max(float((typical**2).sum()), 1e-9))


def _described(dome: Frame) -> Lenslets:
    found = None if dome.disperser is None else dome.disperser.lenslets
    if found is None:
        raise NoSolutionError(
            "a frame behind a described array of lenslets",
            _name(dome),
            "add `lenslets` to the disperser in the instrument's description",
        )
    return found


def _name(frame: Frame) -> str:
    return frame.exposure.name if frame.exposure else "the frame"


def _places(
    lattice: Lattice, chains: Chains, q: IntArray, r: IntArray, shape: tuple[int, int], span: tuple[float, float]
) -> Places:
    """Return all places of the lattice near the found spectra, each with its ridge if it has one."""
    on = q > -999
    found = {(int(a), int(b)): k for k, (a, b) in enumerate(zip(q, r, strict=True)) if a > -999}
    all_q, all_r = sites(lattice, q[on], r[on], shape, span)
    x, y = lattice.place(all_q, all_r)
    chain = np.array([found.get((int(a), int(b)), -1) for a, b in zip(all_q, all_r, strict=True)], dtype=np.int64)
    chain[(chain >= 0) & (np.abs(chains.row[chain, 0] - y) > STRAY)] = -1
    whole = chain >= 0
    whole[whole] = (chains.first[chain[whole]] > 12) & (chains.last[chain[whole]] < shape[1] - 12)
    return Places(all_q, all_r, x, y, chain, whole)


def _bundle(
    places: Places, chains: Chains, lattice: Lattice, span: tuple[float, float], terms: int, sigma: float
) -> Bundle:
    """Return the traces that the fit begins with: rows as ridge and lattice have them, tilt and bend as the field."""
    known = places.chain >= 0
    mine = places.chain[known]
    u, v = lattice.flat(places.q, places.r)
    shapes = chains.row[mine, 1:] * np.array([UNIT, UNIT**2])
    long = (chains.last[mine] - chains.first[mine]) > 0.5 * (span[1] - span[0])
    run = fit_field(u[known], v[known], shapes, 2, use=long)
    centre = np.zeros((len(places.q), terms))
    centre[:, 0] = places.y
    centre[known, 0] = chains.row[mine, 0]
    width = min(terms, 3)
    centre[:, 1:width] = run(u, v)[:, : width - 1]
    offset, below = gaussian_table()
    widths = np.zeros((len(places.q), SIGMA_TERMS))
    widths[:, 0] = sigma
    first = np.floor(places.x + span[0]).astype(np.int64)
    return Bundle(places.x, first, int(np.ceil(span[1] - span[0])) + 1, centre, widths, offset, below)


def _caveats(state: IntArray) -> tuple[Caveat, ...]:
    found = []
    repaired, dead = int((state == Spaxel.REPAIRED).sum()), int((state == Spaxel.DEAD).sum())
    if repaired:
        text = f"{repaired} of {len(state)} spectra were told by their neighbours on the lattice"
        found.append(Caveat("spaxels.repaired", text))
    if dead:
        found.append(Caveat("spaxels.dead", f"{dead} of {len(state)} lenslets are dead"))
    return tuple(found)
