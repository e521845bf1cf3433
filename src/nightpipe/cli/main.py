"""The command `nightpipe`: its sub-commands, and how errors are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from nightpipe.base.errors import NightpipeError
from nightpipe.cli import catalogues, classifying, imaging, machine, products, redoing, reducing

NOTHING_USABLE = 12
OURS = 1
INTERRUPTED = 130

app = typer.Typer(
    name="nightpipe",
    help="From the raw frames of a night to calibrated spectra: nightpipe reduce RAW...",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: tuple[Callable[..., None], ...] = (
    *(reducing.reduce, reducing.init, reducing.plan, reducing.recipe),
    *(products.show, products.why, products.decide, products.clean),
    imaging.findnew,
    classifying.classify,
    *(machine.simulate, machine.doctor, machine.docs),
)
for command in COMMANDS:
    app.command()(command)
app.command(context_settings={"ignore_unknown_options": True})(redoing.redex)  # places may be negative
machine.data.command("import")(classifying.import_templates)
app.add_typer(machine.instruments, name="instrument")
app.add_typer(machine.data, name="data")
app.add_typer(catalogues.catalogues, name="catalogue")


@app.callback(invoke_without_command=True)
def nightpipe(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and the debug log; may stand anywhere.")
    ] = False,
) -> None:
    """From the raw frames of a night to calibrated spectra."""
    del debug  # taken from the words by `main`, wherever it stood
    if version:
        from nightpipe import __version__

        typer.echo(f"nightpipe {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(words: list[str] | None = None) -> None:
    """Run the command line; errors for people are told in three lines, and only `--debug` shows where they arose."""
    words = list(sys.argv[1:] if words is None else words)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small systems: its threads cost more than they save
    debug = "--debug" in words or bool(os.environ.get("NIGHTPIPE_DEBUG"))
    words = [word for word in words if word != "--debug"]
    try:
        app(args=words, prog_name="nightpipe")
    except NightpipeError as error:
        if debug:
            raise
        _tell(error)
        sys.exit(NOTHING_USABLE)
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"nightpipe failed: {type(error).__name__}: {error}\ntry:    the same with --debug, and report it", err=True
        )
        sys.exit(OURS)
    except KeyboardInterrupt:
        typer.echo("interrupted: what is done is kept, run again to go on", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _tell(error: NightpipeError) -> None:
    for lead, part in (("wanted", error.wanted), ("found", error.found), ("try", error.remedy)):
        if part:
            typer.echo(f"{lead + ':':8}{part}", err=True)
