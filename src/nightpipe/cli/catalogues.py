"""Commands on catalogues of reference stars: import, list, cone, remove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

catalogues = typer.Typer(
    help="Catalogues of reference stars, kept by place on the sky.", no_args_is_help=True, rich_markup_mode=None
)


@catalogues.command("import")
def import_catalogue(
    tables: Annotated[list[Path], typer.Argument(help="Tables of stars: FITS, ECSV, CSV, Parquet, text.")],
    *,
    name: Annotated[str, typer.Option("--name", help="The catalogue's name: gaia, refcat2, ps1 ... or your own.")],
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="ROLE=NAME", help="ra, dec, pm_ra, error, g, g_error ...")
    ] = None,
    epoch: Annotated[float | None, typer.Option("--epoch", help="Julian year of the positions.")] = None,
    system: Annotated[
        list[str] | None, typer.Option("--system", metavar="BAND=SYSTEM", help="PS1, SDSS, Vega ... of a band.")
    ] = None,
) -> None:
    """Add tables of stars to the local store; what the columns mean is guessed where it is not given."""
    from nightpipe.io.catalogues.store import import_tables

    info = import_tables(tables, name, epoch=epoch, columns=_pairs(column), systems=_pairs(system))
    typer.echo(f"{info.name}: {info.rows} stars at {info.epoch}, bands {' '.join(info.bands) or 'none'}")


def _pairs(words: list[str] | None) -> dict[str, str]:
    from nightpipe.base.errors import ConfigError

    pairs = {}
    for word in words or ():
        key, sign, value = word.partition("=")
        if not sign:
            raise ConfigError("NAME=VALUE", word, "--column ra=RA_J2000")
        pairs[key] = value
    return pairs


@catalogues.command("list")
def list_catalogues() -> None:
    """List the catalogues of the local store and the services that can be asked."""
    from nightpipe.io.catalogues.online import SERVICES
    from nightpipe.io.catalogues.store import stored

    for info in stored():
        typer.echo(f"{info.name:14} stored   {info.rows:11} stars  {' '.join(info.bands)}")
    for one in SERVICES:
        typer.echo(f"{one.name:14} online   VizieR {one.table:24} {' '.join(one.bands)}")


@catalogues.command("cone")
def show_cone(
    ra: Annotated[float, typer.Argument(help="Right ascension [deg].")],
    dec: Annotated[float, typer.Argument(help="Declination [deg].")],
    radius: Annotated[float, typer.Argument(help="Radius [deg].")] = 0.2,
    *,
    name: Annotated[str, typer.Option("--name", help="Insist on one catalogue.")] = "",
    band: Annotated[list[str] | None, typer.Option("--band", help="A band that it must have.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no service.")] = False,
) -> None:
    """Tell which catalogue would be used at a place, fetching and keeping its cone where need be."""
    from nightpipe.io.catalogues.cone import cone

    found = cone(ra, dec, radius, name=name, bands=tuple(band or ()), online=not offline)
    depth = ", ".join(f"{key} {value:.1f}" for key, value in found.depth.items())
    typer.echo(
        f"{found.name}: {len(found)} stars within {radius} deg at {found.epoch}; complete to {depth or 'unknown'}"
    )


@catalogues.command("remove")
def remove_catalogue(name: Annotated[str, typer.Argument(help="A catalogue of the local store.")]) -> None:
    """Delete a catalogue from the local store."""
    from nightpipe.io.catalogues.store import remove

    remove(name)
    typer.echo(f"{name}: removed")
