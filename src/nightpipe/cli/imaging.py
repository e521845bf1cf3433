"""Commands on single images of the sky."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def findnew(
    image: Annotated[Path, typer.Argument(help="A FITS image with a plate solution.")],
    catalogue: Annotated[
        Path, typer.Argument(help="A table with ra, dec [deg] and magnitudes: FITS, ECSV, CSV, text.")
    ],
    *,
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
    """List sources of an image that a catalogue should have and has not, by error circle, with a figure."""
    from nightpipe.api.findnew import findnew as find

    found, files = find(image, catalogue, bat=bat or (), xrt=xrt or (), moc=moc, zp=zp, limit=limit, band=band, out=out)
    for line in files[0].read_text(encoding="utf-8").splitlines():
        typer.echo(line)
    typer.echo(f"{len(found)} new: " + ", ".join(str(path) for path in files))
