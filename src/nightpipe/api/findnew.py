"""New sources of one image against one catalogue: what `nightpipe findnew` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import ConfigError
from nightpipe.io.newlist import write_new_list
from nightpipe.io.skyfiles import read_moc, read_sky_image, read_star_list
from nightpipe.model.moc import Circle, Moc
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.plots.stack import new_sources, triplets
from nightpipe.plots.style import save
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.newsources import NewSources
from nightpipe.steps.imaging.regions import RankSources
from nightpipe.steps.imaging.subtract import Subtract
from nightpipe.steps.imaging.transients import FindTransients


def findnew(
    image: Path, catalogue: Path, *, bat: Sequence[float] = (), xrt: Sequence[float] = (), moc: Path | None = None,
    zp: float | None = None, limit: float = 20.1, band: str = "", out: Path | None = None,
) -> tuple[Sources, list[Path]]:  # fmt: skip
    """Write a table and a figure of the new sources beside the image (or to `out`), and return both.

    `bat` is (ra [deg], dec [deg], radius [arcmin]), `xrt` the same with a radius in arcsec; a source in the BAT circle
    is of class 1, one in both of class 2. Raises ConfigError: no zero point in the header and none given.
    """
    seen = read_sky_image(image)
    zero = seen.zp if zp is None else zp
    if not np.isfinite(zero):
        raise ConfigError("a zero point", f"none in the header of {image.name}", "give one: --zp 25.3")
    regions = regions_of(bat, xrt, moc)
    sources = Detect().run(seen)
    stars = read_star_list(catalogue)
    epoch, undated = _epoch(seen, stars.epoch)
    found = NewSources(limit=limit).run(sources, seen.wcs, zero, stars, epoch, band, regions)
    found = replace(found, caveats=merged(seen.caveats, undated, found.caveats))
    target = out or image.with_name(image.name.split(".fit")[0] + "_new.txt")
    title = f"{', '.join(seen.frames)}: {len(found)} new sources, zero point {zero:.3f}"
    write_new_list(target, found, title)
    circles = tuple((one.ra, one.dec, one.radius) for one in regions if isinstance(one, Circle))
    return found, [target, *save(new_sources(replace(seen, zp=zero), found, circles), target)]


def _epoch(image: Stack, otherwise: float) -> tuple[float, tuple[Caveat, ...]]:
    """Return the epoch [Julian year] of an image; that of the catalogue, with a caveat, where no card tells it."""
    mjd = float(image.header["MJD"])
    if np.isfinite(mjd):
        return 2000.0 + (mjd - 51544.5) / 365.25, ()
    text = f"no card tells the date: the stars were left where the catalogue has them in {otherwise:.1f}"
    return otherwise, (Caveat("findnew.date", text),)


def regions_of(bat: Sequence[float], xrt: Sequence[float], moc: Path | None) -> tuple[Circle | Moc, ...]:
    """Return the regions from the widest to the narrowest."""
    regions: list[Circle | Moc] = [] if moc is None else [read_moc(moc)]
    for name, values, unit in (("BAT", bat, 60.0), ("XRT", xrt, 3600.0)):
        if values:
            regions.append(Circle(name, values[0], values[1], values[2] / unit))
    return tuple(regions)


def changed(
    image: Path, reference: Path, *, bat: Sequence[float] = (), xrt: Sequence[float] = (), moc: Path | None = None,
    zp: float | None = None, out: Path | None = None,
) -> tuple[Sources, list[Path]]:  # fmt: skip
    """Write a table and a figure of what an image shows and a reference image does not, and return both.

    Candidates that look like residues of the subtraction are listed last, as bogus. Raises NoSolutionError: the two
    share no stars.
    """
    seen, other = read_sky_image(image), read_sky_image(reference)
    seen = seen if zp is None else replace(seen, zp=zp)
    difference = Subtract().run(seen, other, Detect().run(seen))
    found = RankSources().run(FindTransients().run(difference), regions_of(bat, xrt, moc))
    order = np.lexsort((-np.abs(found.columns["significance"]), -found.columns["class"], found.quality != 0))
    found = found.take(order)
    target = out or image.with_name(image.name.split(".fit")[0] + "_transients.txt")
    real = int((found.quality == 0).sum())
    write_new_list(target, found, f"{image.name} less {reference.name}: {real} new sources, {len(found)} candidates")
    return found, [target, *save(triplets(seen, difference, found), target)]
