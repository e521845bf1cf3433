"""The command `redex`: extract an exposure of a lenslet unit again, as a person says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightpipe.cli.reducing import DEFAULT_OUT, Masters, Out, SettingsFile


def redex(
    time: Annotated[str, typer.Argument(metavar="HH_MM_SS", help="When the exposure began (UT), or its name.")],
    centre: Annotated[
        list[float] | None,
        typer.Argument(metavar="[X Y]", help="The target's place: arcsec east and north of the field's middle."),
    ] = None,
    *,
    why: Annotated[str, typer.Option("--why", help="The reason, for whoever reads it later.")],
    region: Annotated[
        str,
        typer.Option(
            "--region",
            help="Use the lenslets within this polygon only: x1,y1;x2,y2;... [arcsec], or in circles: x,y,radius;...",
        ),
    ] = "",
    exclude: Annotated[str, typer.Option("--exclude", help="Leave out these lenslets, by number: 12,13,40.")] = "",
    exclude_region: Annotated[
        str,
        typer.Option(
            "--exclude-region",
            help="Leave out the lenslets within this polygon or these circles, as for --region; several: A|B.",
        ),
    ] = "",
    method: Annotated[str, typer.Option("--method", help="Take this extraction: psf, aperture, masked, scene.")] = "",
    who: Annotated[str, typer.Option("--who", help="Who decides. Default: the user's name.")] = "",
    out: Out = DEFAULT_OUT,
    settings: SettingsFile = None,
    calibrations: Masters = None,
    silent: Annotated[bool, typer.Option("--silent", help="No progress, no table.")] = False,
) -> None:
    """Extract one exposure again: with another centre, other lenslets or another method, now and ever after.

    The wish becomes decisions; the old product is kept under old/, what it was classified as goes, spectrum,
    classification, verification and report are made anew. A centre that a person placed lifts quality 5 to 1.
    """
    from nightpipe.api.redex import Wish
    from nightpipe.api.redex import redex as again
    from nightpipe.api.reduce import user
    from nightpipe.base.errors import ConfigError
    from nightpipe.cli.progress import logging_to, shown
    from nightpipe.cli.tables import print_end
    from nightpipe.recipes.book import BOOK

    if centre is not None and len(centre) not in (0, 2):
        raise ConfigError("a place as two numbers, east and north [arcsec]", str(centre), "give both or neither")
    place = (centre[0], centre[1]) if centre else None
    logging_to(Path(out), silent=silent)
    with shown(silent=silent) as progress:
        made = again(
            BOOK, Path(out), time, Wish(place, region, exclude, exclude_region, method), why=why, who=who or user(),
            settings=settings, calibrations=tuple(calibrations or ()), progress=progress,
        )  # fmt: skip
    if not silent:
        print_end(made)
    raise typer.Exit(int(made.status))
