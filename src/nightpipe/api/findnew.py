"""New sources of one image against one catalogue: what `nightpipe findnew` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nightpipe.base.caveat import Caveat, merged
from nightpipe.base.errors import ConfigError
from nightpipe.io.atomic import written
from nightpipe.io.skyfiles import read_moc, read_sky_image, read_star_list
from nightpipe.model.moc import Circle, Moc
from nightpipe.model.sources import Sources
from nightpipe.model.stack import Stack
from nightpipe.plots.stack import new_sources
from nightpipe.plots.style import save
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.newsources import NewSources


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
    with written(target) as stream:
        stream.write(table(found, seen, zero).encode())
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


def table(found: Sources, image: Stack, zp: float) -> str:
    """Return the new sources as a text of fixed columns, caveats first."""
    lines = [f"# {', '.join(image.frames)}: {len(found)} new sources, zero point {zp:.3f}"]
    lines += [f"# {caveat}" for caveat in found.caveats]
    lines.append(
        f"#{'no':>3} {'ra':>11} {'dec':>11} {'x':>8} {'y':>8} {'mag':>7} {'error':>6} {'class':>5} {'nearest':>8}"
    )
    for k in range(len(found)):
        row = {name: float(values[k]) for name, values in found.columns.items()}
        lines.append(
            f"{k + 1:4d} {row['ra']:11.6f} {row['dec']:+11.6f} {found.x[k] + 1:8.2f} {found.y[k] + 1:8.2f} "
            f"{row['mag']:7.3f} {row['mag_error']:6.3f} {int(row['class']):5d} {row['nearest']:8.2f}"
        )
    return "\n".join(lines) + "\n"
