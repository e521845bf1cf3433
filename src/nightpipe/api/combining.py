"""Images stacked again by an edited list: what the night's run made is not made twice."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from nightpipe.api.reduce import Progress, Request, reduce_with
from nightpipe.api.reduction import Reduction
from nightpipe.base.errors import PlanError
from nightpipe.engine.builder import Book
from nightpipe.engine.store import Store

IMAGES = ("imagestack", "imagephotometry", "segments")


def combine_images(
    book: Book, frames: list[Path], lists: list[Path], request: Request, progress: Progress | None = None
) -> Reduction:
    """Stack the images among `frames` into the file ``request.out``; all else lies in a folder of that name.

    `lists` are the files that named the frames: what lies beside them from an earlier run serves. Of several stacks
    each gets its label at the end of the name. Raises PlanError: no images, or no stack could be made.
    """
    out = request.out.absolute()
    folder = out.with_suffix("")
    for path in lists:
        _seeded(Store(path.absolute().parent), Store(folder))
    keep = request.keep or (lambda _night, node: node.recipe in IMAGES)
    reduction = reduce_with(book, frames, replace(request, out=folder, keep=keep), progress)
    stacks = [target for target in reduction.targets if target.stack is not None]
    if not stacks:
        raise PlanError("images that can be stacked", reduction.status.word, "see the report in " + str(folder))
    for target in stacks:
        name = out if len(stacks) == 1 else out.with_name(f"{out.stem}_{target.label}{out.suffix}")
        assert target.stack is not None
        shutil.copyfile(target.stack.path, name)
    return reduction


def _seeded(old: Store, new: Store) -> None:
    """Link what an earlier run stored into a new store: keys tell what it is, so it serves where it fits."""
    if old.keys.is_dir() and old.keys != new.keys:
        shutil.copytree(old.keys, new.keys, copy_function=_linked, dirs_exist_ok=True)


def _linked(source: str, target: str) -> str:
    if not Path(target).exists():
        os.link(source, target)
    return target
