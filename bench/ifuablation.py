"""What deblending, the fit of a surface and the chromatic likelihood buy, on light of which the truth is known.

``python bench/ifuablation.py`` prints the numbers of ``docs/ifu.md``; it takes ten minutes of one core. The light is
that of the simulator as the tests build it.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

HALF = 2.4
"""Half the height [pixel] of SEDM's own top hat about a trace."""
SLICES = 4
"""So many slices that know nothing of each other (six or seven in SEDM's pipeline)."""
WAVES = np.array([4047.7, 4500.0, 5000.0, 5579.0, 6500.0, 7600.0, 8500.0, 9165.0])


def deblending(found):
    """Return which share of its neighbours' light a dark lenslet is given: deblended, and in a top hat.

    The dome lights every second lenslet of each row of the lattice; the spectra between are dark.
    """
    from nightpipe.steps.spaxels.extract import ExtractSpaxels

    made, spaxels = found.made, found.spaxels
    frame = half_lit(made)
    spectra = ExtractSpaxels().run(frame, spaxels)
    true = made.index(spaxels.q, spaxels.r)
    shine = (made.lenslets.r[true] % 2 == 0) & (true >= 0)
    column = spectra.first[:, None] + np.arange(spectra.flux.shape[1])
    at = np.clip(column, 0, frame.shape[1] - 1)
    hat = np.array([top_hat(frame.data, at[k], spaxels.row(k, column[k])) for k in range(len(spaxels))])
    seen = spectra.good & (column >= 0) & (column < frame.shape[1])
    shares = []
    for flux in (spectra.flux, hat):
        level = np.array([np.median(row[use][80:220]) if use.sum() > 240 else np.nan
                          for row, use in zip(flux, seen, strict=True)])  # fmt: skip
        shares.append(float(np.nanmedian(level[~shine]) / np.nanmedian(level[shine])))
    return shares


def top_hat(image, columns, rows):
    """Return the sum of the pixels within `HALF` of `rows` (m,) in `columns` (m,), edges by their share."""
    low = np.floor(rows - HALF).astype(int)
    total = np.zeros(len(rows))
    for step in range(int(2 * HALF) + 3):
        at = low + step
        share = np.clip(np.minimum(at + 0.5, rows + HALF) - np.maximum(at - 0.5, rows - HALF), 0.0, 1.0)
        total += share * image[np.clip(at, 0, image.shape[0] - 1), columns]
    return total


def half_lit(made):
    """Return a frame [electron] of the dome that lights every second row of the lattice alone."""
    from dataclasses import replace

    from nightpipe.simulate.ifu.exposures import lit

    few = replace(made.lenslets, response=np.where(made.lenslets.r % 2 == 0, made.lenslets.response, 1e-9))
    light = lit(made.shot("dome"), few, made.options, made.seed).image[:, : made.width][:, ::-1]
    rng = np.random.default_rng(5)
    data = rng.poisson(light) + rng.normal(size=light.shape) * 5.0
    whole = made.electrons("dome", count=1)
    var = (light + 25.0).astype(np.float32)
    return whole.but(data=data.astype(np.float32), var=var, mask=np.zeros_like(whole.mask), read_var=None,
                     photon_var=None, flat_var=None)  # fmt: skip


def surface(found):
    """Return rms and largest error [A] of lenslets without and with the surface, from lamps a hundred times fainter."""
    rng = np.random.default_rng(4)
    faint = {name: _fainter(spectra, 100.0, rng) for name, spectra in found.lamps.items()}
    from dataclasses import replace

    rows = []
    for lamps in (found.lamps, faint):
        for degree in (0, 5):
            error = replace(found, lamps=lamps).errors(
                replace(found, lamps=lamps).mapped(degree=degree, refuse=1e3), WAVES
            )
            rms = np.sqrt(np.mean(error**2, axis=1))
            rows.append((float(np.median(rms)), float(np.percentile(rms, 99))))
    return rows


def _fainter(spectra, factor, rng):
    flux = spectra.flux / factor
    var = np.where(spectra.var > 0, np.maximum(flux, 0.0) + 60.0, 0.0)
    flux = flux + rng.normal(size=flux.shape) * np.sqrt(np.maximum(var - spectra.var / factor**2, 0.0))
    return spectra.but(flux=flux.astype(np.float32), var=var.astype(np.float32))


def chromatic(seed, magnitude):
    """Return flux and colour errors of one target by the likelihood of all wavelengths, of single slices, a circle.

    Colour: rms of 12 bins from 4000 to 9000 A about their mean; flux: of that mean.
    """
    from builders.spaxelscene import spectra_of
    from nightpipe.model.flags import Flag
    from nightpipe.model.scene import Placed
    from nightpipe.steps.spaxels.aperture import ApertureSpectrum
    from nightpipe.steps.spaxels.forcedspectrum import ForcedSpectrum
    from nightpipe.steps.spaxels.scene import FitScene

    spectra, truth = spectra_of(seed, magnitude=magnitude)
    place = Placed(0.7, -0.4, np.eye(2) * 0.16, "guider")
    whole = FitScene(neighbours=0).run(spectra, place)
    spectrum = ForcedSpectrum().run(whole, spectra)
    light = truth.seen(spectrum.wave, spectrum.fwhm) * np.gradient(spectrum.wave)
    parts = np.full(len(spectrum.wave), np.nan)
    edges = np.interp(np.linspace(4.0, len(spectrum.wave) - 2.0, SLICES + 1), np.arange(len(light)), spectrum.wave)
    for low, high in pairwise(edges):
        beyond = (spectra.wave < low - 20.0) | (spectra.wave > high + 20.0)
        mask = spectra.mask | np.where(beyond, np.uint32(Flag.NO_DATA), np.uint32(0))
        narrow = FitScene.model_construct(low=float(low) - 20.0, high=float(high) + 20.0, slices=4, neighbours=0)
        alone = narrow.run(spectra.but(mask=mask.astype(np.uint32)), place)
        one = ForcedSpectrum().run(alone, spectra)
        inside = (spectrum.wave >= low) & (spectrum.wave < high)
        parts[inside] = np.interp(spectrum.wave[inside], one.wave, one.flux / np.gradient(one.wave))
    circle = ApertureSpectrum().run(whole, spectra)
    ways = (spectrum.flux, parts * np.gradient(spectrum.wave), np.interp(spectrum.wave, circle.wave, circle.flux))
    return [_errors(spectrum.wave, flux / light) for flux in ways]


def beside_host():
    """Return level and colour errors of a target 2 arcsec from a galaxy: with a host in the likelihood, in a circle."""
    from builders.spaxelscene import spectra_of
    from nightpipe.model.scene import Placed
    from nightpipe.steps.spaxels.aperture import ApertureSpectrum
    from nightpipe.steps.spaxels.forcedspectrum import ForcedSpectrum
    from nightpipe.steps.spaxels.scene import FitScene

    spectra, truth = spectra_of(1, magnitude=17.0, host=17.2, host_offset=2.0, host_angle=100.0)
    scene = FitScene(host=True, passes=2).run(spectra, Placed(1.0, -0.2, np.eye(2) * 0.16, "guider"))
    spectrum, circle = ForcedSpectrum().run(scene, spectra), ApertureSpectrum().run(scene, spectra)
    light = truth.seen(spectrum.wave, spectrum.fwhm) * np.gradient(spectrum.wave)
    inside = np.interp(spectrum.wave, circle.wave, circle.flux)
    return [_errors(spectrum.wave, flux / light) for flux in (spectrum.flux, inside)]


def _errors(wave, ratio):
    """Return the error of the level and the rms of 12 bins about it."""
    inside = np.flatnonzero((wave > 4000) & (wave < 9000) & np.isfinite(ratio))
    bins = np.array([np.mean(ratio[part]) for part in np.array_split(inside, 12)])
    return float(np.median(bins)) - 1.0, float(np.std(bins / np.median(bins)))


def main():
    """Print the tables."""
    import importlib

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "steps" / "spaxels"))
    found = importlib.import_module("test_wavemap").calibrated(1)
    lent = deblending(found)
    tell(f"light lent by neighbours: deblended {100 * lent[0]:.2f}%, top hat {100 * lent[1]:.2f}%")
    names = ("lamps, each lenslet alone", "lamps, surface", "1% of the light, alone", "1% of the light, surface")
    for (median, worst), name in zip(surface(found), names, strict=True):
        tell(f"wavelengths, {name}: median {median:.2f} A, 99% {worst:.2f} A")
    for name, (level, colour) in zip(("likelihood with a host", "circle"), beside_host(), strict=True):
        tell(f"beside a host, {name}: level {100 * level:.1f}%, colour {100 * colour:.1f}%")
    for magnitude in (17.0, 19.0, 20.5):
        means = np.abs(chromatic(11, magnitude))
        for name, (level, colour) in zip(("one likelihood", "slices", "circle"), means, strict=True):
            tell(f"V = {magnitude:.0f}, {name}: level {100 * level:.1f}%, colour {100 * colour:.1f}%")


def tell(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
