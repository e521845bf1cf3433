"""Templates laid over a spectrum, its host's share, and fits of fluxes where the bank has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.host import flux_fit, mixed
from nightpipe.maths.logflux import BINS, STEP, grid_wave
from nightpipe.maths.matching import data_of, lag_of
from nightpipe.model.classification import FluxFit, Overlay, TemplateMatch
from nightpipe.model.templates import GROUPS, KINDS
from nightpipe.steps.post.evidence import Evidence, ReadyBank

FloatArray = NDArray[np.float64]
TRIED = 30
"""Templates whose fluxes are fitted."""


def at_redshift(values: FloatArray, z: float) -> FloatArray:
    """Return rows of the rest-frame grid (..., 1024) on the observer's grid; NaN where they do not reach."""
    index = np.arange(BINS) - np.log1p(z) / STEP
    rows = np.atleast_2d(values)
    found = np.array([np.interp(index, np.arange(BINS), row, left=np.nan, right=np.nan) for row in rows])
    return np.asarray(found.reshape(*values.shape[:-1], BINS))


def overlays(
    evidence: Evidence, bank: ReadyBank, matches: tuple[TemplateMatch, ...], types: dict[str, float]
) -> tuple[Overlay, ...]:
    """Return the best template of each of the three likeliest types, on the spectrum's own continuum."""
    found = []
    for type_ in sorted(types, key=lambda name: -types[name])[:3]:
        best = next((match for match in matches if GROUPS[match.kind] == type_), None)
        if best is None:
            continue
        flat = np.asarray(bank.bank.flat[best.row], dtype=np.float64)
        span = bank.bank.spans[best.row]
        inside = (np.arange(BINS) >= span[0]) & (np.arange(BINS) < span[1])
        model = (1.0 + at_redshift(np.where(inside, flat, np.nan), best.z)) * 10.0**evidence.flat.level
        first, last = evidence.flat.span
        kept = np.isfinite(model) & (np.arange(BINS) >= first) & (np.arange(BINS) < last)
        age = f", {best.age:+.0f} d" if np.isfinite(best.age) else ""
        label = f"{best.object} ({best.subtype}{age}), z = {best.z:.3f}, rlap {best.rlap:.1f}"
        found.append(Overlay(label, grid_wave()[kept], model[kept]))
    return tuple(found)


def host_share(evidence: Evidence, bank: ReadyBank, matches: tuple[TemplateMatch, ...], kind: str) -> float:
    """Return the share of a galaxy in the flattened light beside the best template; NaN where none can be told.

    The galaxies of the bank are tried one by one. A share is told only where the galaxy takes away a tenth of what the
    template alone leaves: a galaxy can imitate noise.
    """
    best = next((match for match in matches if match.kind == kind), None)
    rows = bank.rows_of(KINDS.index("Galaxy"))
    if best is None or len(rows) == 0 or kind in ("Galaxy", "AGN", "Star"):
        return float("nan")
    data, weight = data_of(evidence.flat, bank.transforms.cut)
    flat = np.asarray(bank.bank.flat[[best.row, *rows]], dtype=np.float64)
    shifted = at_redshift(flat, best.z)
    covered = np.isfinite(shifted).all(axis=0)
    parts = np.where(covered, shifted, 0.0)
    tried = [mixed(data, weight * covered, parts[0], galaxy) for galaxy in parts[1:]]
    found = min(tried, key=lambda one: one.left)
    return found.share if found.left < 0.9 * found.without else 0.0


def flux_fits(evidence: Evidence, bank: ReadyBank, matches: tuple[TemplateMatch, ...]) -> tuple[FluxFit, ...]:
    """Fit the fluxes of the best templates that have them, with dust and a host; the best first, () without any.

    Hosts are the galaxies of the bank whose fluxes are known.
    """
    own = bank.bank
    if own.level is None:
        return ()
    with_flux = own.has_flux
    tried = [match for match in matches if with_flux[match.row] and match.kind != "Galaxy"][:TRIED]
    galaxies = [row for row in bank.rows_of(KINDS.index("Galaxy")) if with_flux[row]]
    found = []
    for match in tried:
        shift = lag_of(match.z)
        absolute = np.array([_flux_of(bank, row) for row in (match.row, *galaxies)])
        moved = np.full_like(absolute, np.nan)
        moved[:, max(shift, 0) : BINS + min(shift, 0)] = absolute[:, max(-shift, 0) : BINS - max(shift, 0)]
        good = evidence.spectrum.good
        scale = float(np.median(np.abs(evidence.spectrum.flux[good])))
        flux = np.where(good, evidence.spectrum.flux / scale, 0.0)
        var = np.where(good, evidence.spectrum.var / scale**2, 0.0)
        fit = flux_fit(grid_wave() / (1.0 + match.z), flux, var, moved[0], moved[1:])
        if fit is not None:
            found.append(FluxFit(match.object, match.kind, fit.a_v, fit.share, fit.chi))
    return tuple(sorted(found, key=lambda one: one.chi))


def _flux_of(bank: ReadyBank, row: int) -> FloatArray:
    """Return a template's flux, its median one; NaN outside its range."""
    level = bank.bank.level
    assert level is not None
    flux = 10.0 ** np.asarray(level[row], dtype=np.float64) * (1.0 + np.asarray(bank.bank.flat[row], dtype=np.float64))
    first, last = bank.bank.spans[row]
    inside = (np.arange(BINS) >= first) & (np.arange(BINS) < last)
    flux = np.where(inside, flux, np.nan)
    return np.asarray(flux / np.nanmedian(flux)) if np.isfinite(flux).any() else flux
