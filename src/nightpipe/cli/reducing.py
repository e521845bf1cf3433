"""Commands that plan and reduce: reduce, init, plan, recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

Raw = Annotated[list[Path], typer.Argument(help="Raw frames: files and folders, of any number of instruments.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder.")]
Objects = Annotated[list[str] | None, typer.Option("--object", help="Reduce this target only (may be repeated).")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", "-s", help="Settings file; `nightpipe init` writes one.")
]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="Step.parameter=value", help="Set a parameter for this run only.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes to use; 1 runs all in line. Default: as fits.")]
Quick = Annotated[bool, typer.Option("--quick", help="Quick look: leave out what takes long and changes little.")]
Silent = Annotated[bool, typer.Option("--silent", help="No progress, no table: the exit status and the files tell.")]
Pdf = Annotated[bool, typer.Option("--pdf", help="Figures as PDF beside the PNG.")]
Who = Annotated[str, typer.Option(help="Who reduces; goes into headers and decisions. Default: the user's name.")]
Instrument = Annotated[
    str, typer.Option("--instrument", help="Take all frames for this instrument's (generic, or a TOML file).")
]
Cameras = Annotated[list[str] | None, typer.Option("--camera", help="This camera or arm only (may be repeated).")]
Filters = Annotated[list[str] | None, typer.Option("--filter", help="This filter only (may be repeated).")]
Masters = Annotated[
    list[Path] | None,
    typer.Option(
        "--calibrations",
        help="Output folder or products of an earlier night: its masters serve where these frames hold no calibrations "
        "(may be repeated).",
    ),
]
References = Annotated[
    list[Path] | None,
    typer.Option("--reference", help="Earlier images of the fields to subtract: files, folders."),
]
Bat = Annotated[
    tuple[float, float, float] | None, typer.Option("--bat", help="Error circle: ra, dec [deg], radius [arcmin].")
]
Xrt = Annotated[
    tuple[float, float, float] | None, typer.Option("--xrt", help="Error circle: ra, dec [deg], radius [arcsec].")
]
MocFile = Annotated[Path | None, typer.Option("--moc", help="Error region: a coverage map of the sky (FITS).")]
DEFAULT_OUT = Path("reduced")


def reduce(
    raw: Raw,
    *,
    out: Out = DEFAULT_OUT,
    objects: Objects = None,
    settings: SettingsFile = None,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="Edited plan table, as `nightpipe plan` writes it.")
    ] = None,
    assignments: Assignments = None,
    workers: Workers = None,
    quick: Quick = False,
    silent: Silent = False,
    pdf: Pdf = False,
    who: Who = "",
    instrument: Instrument = "",
    cameras: Cameras = None,
    filters: Filters = None,
    calibrations: Masters = None,
    references: References = None,
    bat: Bat = None,
    xrt: Xrt = None,
    moc: MocFile = None,
    sky: Annotated[
        str, typer.Option("--sky", help="Whose images tell the sky of images: night, target, none (each its own).")
    ] = "",
    cosmics: Annotated[
        bool, typer.Option("--cosmics/--no-cosmics", help="Search cosmic rays in single images.")
    ] = True,
    first: Annotated[
        str, typer.Option("--from", metavar="STEP", help="Do this step of imaging and those after it anew.")
    ] = "",
    last: Annotated[str, typer.Option("--to", metavar="STEP", help="End imaging with this step.")] = "",
    redo: Annotated[bool, typer.Option("--redo", help="Do everything anew.")] = False,
) -> None:
    """Reduce raw frames to calibrated spectra and stacked images, with no question asked.

    Recognises the instrument, types every frame, finds calibrations, reduces everything, and ends with a table. A
    second run does only what changed. Exit status: 0 well, 10 caveats, 11 some failed, 12 nothing usable.
    """
    from nightpipe.api.chain import until
    from nightpipe.api.reduce import Request, user
    from nightpipe.api.wishlist import reference_wish, region_wish, sky_wish
    from nightpipe.recipes.book import BOOK

    texts = (*reference_wish(references or (), out), *region_wish(bat or (), xrt or (), moc))
    texts = (*texts, *sky_wish(sky, cosmics=cosmics), *(assignments or ()))
    request = Request(
        out, tuple(objects or ()), settings, texts, plan_file, workers, quick, who or user(),
        pdf=pdf, instrument=instrument, cameras=tuple(cameras or ()), filters=tuple(filters or ()),
        masters=tuple(calibrations or ()), redo=(first or "") if first or redo else None,
        keep=until(last) if last else None,
    )  # fmt: skip
    _run(BOOK, raw, request, silent=silent)


def init(
    raw: Raw,
    *,
    settings: Annotated[Path, typer.Option("--settings", "-s", help="File to write.")] = Path("nightpipe.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the settings file: every parameter of the recipes that these frames need, commented out.

    Each with its default, unit, range and one line of help.
    """
    from nightpipe.api.reduce import Request, planned
    from nightpipe.api.settings_file import settings_text
    from nightpipe.base.errors import ConfigError
    from nightpipe.recipes.book import BOOK

    if settings.exists() and not force:
        raise ConfigError("a new settings file", f"{settings} exists", "name another with --settings, or give --force")
    _, plan = planned(BOOK, raw, Request(Path()))
    needed = {node.recipe for node in plan.nodes}
    settings.write_text(settings_text(one for one in BOOK.recipes if one.name in needed), encoding="utf-8")
    typer.echo(f"{settings}: edit it and give it to nightpipe reduce --settings {settings}")


def plan(
    raw: Raw,
    *,
    out: Out = DEFAULT_OUT,
    objects: Objects = None,
    settings: SettingsFile = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="Write the plan as a table to edit.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the whole plan as JSON.")] = None,
    assignments: Assignments = None,
    quick: Quick = False,
    instrument: Instrument = "",
    cameras: Cameras = None,
    filters: Filters = None,
    calibrations: Masters = None,
) -> None:
    """Show the frames as recognised, what will run, with which calibrations, and why each was taken or refused."""
    from nightpipe.api.reduce import Request, planned
    from nightpipe.api.table import table_text
    from nightpipe.cli.tables import print_plan
    from nightpipe.recipes.book import BOOK

    request = Request(
        out, tuple(objects or ()), settings, tuple(assignments or ()), quick=quick,
        instrument=instrument, cameras=tuple(cameras or ()), filters=tuple(filters or ()),
        masters=tuple(calibrations or ()),
    )  # fmt: skip
    night, made = planned(BOOK, raw, request)
    if plan_file is not None:  # the files first: a pager that is closed ends the printing
        plan_file.write_text(table_text(night, made), encoding="utf-8")
    if json_file is not None:
        made.write(json_file)
    print_plan(night, made)
    if plan_file is not None:
        typer.echo(f"\n{plan_file}: edit it, then nightpipe reduce ... --plan {plan_file}")


def recipe(
    name: Annotated[
        str,
        typer.Argument(
            help="bias, dark, noise, flat, arc, prepare, extract, sensitivity, calibrate, combine, standard, science."
        ),
    ],
    frames: Annotated[
        list[Path],
        typer.Argument(
            help="FITS files, folders, or a set of files: text lines `path TAG`; masters made before have tags such as "
            "MASTER_BIAS, or are known without."
        ),
    ],
    *,
    out: Out = DEFAULT_OUT,
    settings: SettingsFile = None,
    assignments: Assignments = None,
    workers: Workers = None,
    silent: Silent = False,
    instrument: Instrument = "",
) -> None:
    """Run one recipe alone, with what it needs; a tag in a set of files says what a frame is, as ESO users expect."""
    from nightpipe.api.reduce import Request, user
    from nightpipe.api.setoffiles import keeper, read_frames
    from nightpipe.io.raw import is_fits_name
    from nightpipe.recipes.book import BOOK

    keep = keeper(BOOK, name)
    listed = read_frames(frames)
    request = Request(
        out,
        settings=settings,
        assignments=tuple(assignments or ()),
        workers=workers,
        who=user(),
        keep=keep,
        extra=listed.retyped,
        masters=listed.masters,
        parts=listed.parts,
        instrument=instrument,
    )
    lists = [path for path in frames if path.is_file() and not is_fits_name(path)]
    if name == "combine" and is_fits_name(out):
        _run(BOOK, list(listed.raw), replace(request, keep=None), silent=silent, lists=lists)
    _run(BOOK, list(listed.raw), request, silent=silent)


def _run(book: object, raw: list[Path], request: object, *, silent: bool, lists: list[Path] | None = None) -> None:
    from nightpipe.api.combining import combine_images
    from nightpipe.api.reduce import Request, reduce_with
    from nightpipe.cli.progress import logging_to, shown
    from nightpipe.cli.tables import print_end
    from nightpipe.engine.builder import Book

    assert isinstance(book, Book)
    assert isinstance(request, Request)
    logging_to(request.out if lists is None else request.out.with_suffix(""), silent=silent)
    with shown(silent=silent) as progress:
        if lists is None:
            reduction = reduce_with(book, raw, request, progress)
        else:
            reduction = combine_images(book, raw, lists, request, progress)
    if not silent:
        print_end(reduction)
    raise typer.Exit(int(reduction.status))
