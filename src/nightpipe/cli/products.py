"""Commands on what was made: show, why, decide, clean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightpipe.cli.reducing import DEFAULT_OUT, Out

ProductName = Annotated[
    str, typer.Argument(metavar="PRODUCT", help="A product's file, or its name in the output folder.")
]


def show(
    product: ProductName,
    *,
    out: Out = DEFAULT_OUT,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw it into this file (PNG or PDF).")] = None,
) -> None:
    """Tell what a product is: contents, metrics, caveats, figures."""
    from nightpipe.api.inspect import described

    for line in described(out, product):
        typer.echo(line)
    if plot is not None:
        from nightpipe.api.figures import draw
        from nightpipe.api.products import load_models

        draw(load_models(out, product)[0]).savefig(plot)
        typer.echo(f"  drawn {plot}")


def why(product: ProductName, *, out: Out = DEFAULT_OUT) -> None:
    """Tell why a product is as it is: inputs, steps, parameters with origin, calibrations and caveats."""
    from nightpipe.api.inspect import reasons

    for line in reasons(out, product):
        typer.echo(line)


def decide(
    exposure: Annotated[
        str, typer.Argument(help="A raw frame's name or a product's, with @slit=ARCSEC for an object.")
    ],
    assignments: Annotated[
        list[str],
        typer.Argument(metavar="Step.parameter=value", help="Also Frame.type, Frame.target, Frame.use, Match.flat ..."),
    ],
    *,
    why: Annotated[str, typer.Option("--why", help="The reason, for whoever reads it later.")],
    who: Annotated[str, typer.Option("--who", help="Who decides. Default: the user's name.")] = "",
    out: Out = DEFAULT_OUT,
    raw: Annotated[list[Path] | None, typer.Option("--raw", help="Raw frames, where nothing was reduced yet.")] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take earlier decisions back: name parameters only.")
    ] = False,
) -> None:
    """Override a parameter for one exposure, now and ever after; the next reduce does what follows from it."""
    from nightpipe.api.decide import decide as append
    from nightpipe.api.reduce import user
    from nightpipe.recipes.book import BOOK

    made = append(BOOK, out, exposure, assignments, why=why, who=who or user(), raw=raw or (), withdraw=withdraw)
    for one in made:
        what = "withdrawn" if one.withdrawn else f"= {one.value!r}"
        typer.echo(f"{out / 'decisions.toml'}: {one.exposure}: {one.parameter} {what}")


def clean(
    out: Annotated[Path, typer.Argument(help="Output folder.")],
    *,
    older: Annotated[
        float, typer.Option("--older", min=0.0, help="Drop only intermediates made more than so many days ago.")
    ] = 0.0,
    keep: Annotated[
        float, typer.Option("--keep", min=0.0, help="Keep the newest intermediates up to so many GB.")
    ] = 0.0,
) -> None:
    """Drop intermediates, oldest first; never a product, a record or a decision: a later run makes what it needs."""
    import time

    from nightpipe.base.errors import StoreError
    from nightpipe.engine.lock import locked
    from nightpipe.engine.store import HIDDEN, Store

    if not (out / HIDDEN).is_dir():
        raise StoreError("an output folder of nightpipe", str(out), "name the folder given to reduce --out")
    with locked(out / HIDDEN):
        store = Store(out)
        store.sweep()
        freed = store.evict(keep * 1e9, before=time.time() - older * 86400.0)
    typer.echo(f"{out}: {freed / 1e6:.1f} MB of intermediates dropped")
