"""Commands that need no night: simulate, instrument, data, doctor, docs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightpipe.cli.reducing import DEFAULT_OUT

instruments = typer.Typer(help="The instruments that nightpipe knows.", no_args_is_help=True, rich_markup_mode=None)
data = typer.Typer(
    help="Reference sets and example nights, by name and checksum, cached.", no_args_is_help=True, rich_markup_mode=None
)


def simulate(
    instrument: Annotated[
        str,
        typer.Argument(
            help="An instrument or one arm of it: alfosc, alfosc-imaging, dbsp, kast_blue, lmi, generic ..."
        ),
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the raw night; the truth goes into OUT-truth beside it.")
    ],
    seed: Annotated[int, typer.Option(help="The same seed gives the same night.")] = 1,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option", metavar="NAME=VALUE", help="size, exposures, disperser, filters ...: docs/simulator.md"
        ),
    ] = None,
) -> None:
    """Write a raw night with the instrument's own headers, and beside it what is true of it."""
    from nightpipe.api.settings import parse_assignment
    from nightpipe.simulate.night import write_night

    truth = write_night(instrument, out, seed=seed, **dict(parse_assignment(text) for text in options or ()))
    typer.echo(f"{out}: raw frames; {truth}: the truth")


@instruments.command("list")
def list_instruments() -> None:
    """List the instruments with their sites."""
    from nightpipe.instruments.registry import all_instruments

    for spec in all_instruments():
        first = spec.doc.split(". ")[0]
        typer.echo(f"{spec.name:12} {spec.title:16} {spec.site:12} {len(spec.dispersers):3} dispersers  {first}")


@instruments.command("check")
def check_instrument(files: Annotated[list[Path], typer.Argument(help="Raw frames: files and folders.")]) -> None:
    """Show how the frames' headers are understood, fact by fact, and what is missing or odd."""
    from nightpipe.base.errors import NightpipeError
    from nightpipe.engine.night import fits_files

    problems = 0
    for path in fits_files(files):
        try:
            problems += _checked(path)
        except NightpipeError as error:
            problems += 1
            typer.echo(f"{path}\n  problem: {error}")
    raise typer.Exit(10 if problems else 0)


def _checked(path: Path) -> int:
    import nightpipe.io.raw as raw_files
    from nightpipe.instruments.check import check

    found = check(raw_files.read_headers(path), str(path), raw_files.read_image(path))
    typer.echo(f"{path}\n  {found.instrument} {found.type}")
    for name, value in found.understood:
        typer.echo(f"  {name:16} {value}")
    for problem in found.problems:
        typer.echo(f"  problem: {problem}")
    return len(found.problems)


@instruments.command("new")
def new_instrument(
    name: Annotated[str, typer.Argument(help="Name of the instrument, lower case.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", help="File to write. Default: NAME.toml here.")] = None,
    like: Annotated[str, typer.Option("--like", help="Copy this instrument's description.")] = "",
) -> None:
    """Write a description to fill in; nightpipe finds it in the folder that NIGHTPIPE_INSTRUMENTS names."""
    from nightpipe.base.errors import ConfigError
    from nightpipe.instruments.template import template

    path = out or Path(f"{name}.toml")
    if path.exists():
        raise ConfigError("a new file", f"{path} exists", "name another with --out")
    path.write_text(template(name, like), encoding="utf-8")
    typer.echo(
        f"{path}: fill it in, then: NIGHTPIPE_INSTRUMENTS={path.absolute().parent} nightpipe instrument check FILES"
    )


@data.command("list")
def list_data() -> None:
    """List what can be had, with source and licence."""
    from nightpipe.io.download import data_sets, present

    for one in data_sets():
        here = "here" if present(one.name) else "not fetched"
        typer.echo(f"{one.name:18} {here:12} {one.summary} ({one.licence})")


@data.command("get")
def get_data(name: Annotated[str, typer.Argument(help="Name of the set; `nightpipe data list` knows them.")]) -> None:
    """Fetch a set, check it, and print its folder."""
    from nightpipe.io.download import get

    typer.echo(str(get(name)))


@data.command("path")
def data_path(name: Annotated[str, typer.Argument(help="Name of the set.")]) -> None:
    """Print the folder of a set that was fetched before."""
    from nightpipe.io.download import local

    typer.echo(str(local(name)))


def doctor(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder whose disk is looked at.")] = DEFAULT_OUT,
) -> None:
    """Tell whether this machine is fit: versions, cores, memory, disk, kernels, reference sets."""
    from nightpipe.api.doctor import examined

    worst = 0
    for finding in examined(out):
        typer.echo(f"{finding.mark:5} {finding.what:16} {finding.text}")
        worst = max(worst, finding.severity)
    raise typer.Exit((0, 10, 11)[worst])


def docs(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path("docs/reference"),
) -> None:
    """Write the reference pages: commands, recipes, steps with every parameter, instruments."""
    from nightpipe.cli.reference import write_pages

    for path in write_pages(out):
        typer.echo(str(path))
