"""Commands on single images of the sky."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def findnew(
    image: Annotated[Path, typer.Argument(help="A FITS image with a plate solution.")],
    catalogue: Annotated[
        Path | None, typer.Argument(help="A table with ra, dec [deg] and magnitudes: FITS, ECSV, CSV, text.")
    ] = None,
    *,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="An earlier image of the field, in place of a catalogue.")
    ] = None,
    bat: Annotated[
        tuple[float, float, float] | None, typer.Option("--bat", help="Circle: ra, dec [deg], radius [arcmin].")
    ] = None,
    xrt: Annotated[
        tuple[float, float, float] | None, typer.Option("--xrt", help="Circle: ra, dec [deg], radius [arcsec].")
    ] = None,
    moc: Annotated[Path | None, typer.Option("--moc", help="A coverage map of the sky (FITS, UNIQ cells).")] = None,
    zp: Annotated[
        float | None, typer.Option("--zp", help="Zero point of the image, where its header has none.")
    ] = None,
    limit: Annotated[float, typer.Option("--limit", help="Faintest magnitude.")] = 20.1,
    band: Annotated[str, typer.Option("--band", help="The image's band, to judge the catalogue's depth.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="The table. Default: beside the image.")] = None,
) -> None:
    """List sources of an image that a catalogue should have and has not, or an earlier image; by error circle."""
    from nightpipe.api.findnew import changed
    from nightpipe.api.findnew import findnew as find
    from nightpipe.base.errors import ConfigError

    if (catalogue is None) == (reference is None):
        raise ConfigError("a catalogue or --reference", "both" if catalogue else "neither", "give one of the two")
    if reference is not None:
        found, files = changed(image, reference, bat=bat or (), xrt=xrt or (), moc=moc, zp=zp, out=out)
        _shown(files, f"{int((found.quality == 0).sum())} new")
        return
    assert catalogue is not None
    found, files = find(image, catalogue, bat=bat or (), xrt=xrt or (), moc=moc, zp=zp, limit=limit, band=band, out=out)
    _shown(files, f"{len(found)} new")


def _shown(files: list[Path], summary: str) -> None:
    for line in files[0].read_text(encoding="utf-8").splitlines():
        typer.echo(line)
    typer.echo(f"{summary}: " + ", ".join(str(path) for path in files))
