"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from nightpipe.base.errors import StoreError


@contextmanager
def written(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Give a stream under a temporary name beside `path`, renamed to it when all went well.

    `durable` waits until file and folder lie on the disk. Raises `StoreError` naming the folder when it is full,
    read-only or absent; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"to write {path.name} into {path.parent}", error.strerror or str(error), _remedy(error)
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _remedy(error: OSError) -> str:
    remedies = {
        28: "free some space there (`nightpipe clean`), or give another folder with --out",
        122: "free some space there (the quota is used up), or give another folder with --out",
    }
    return remedies.get(error.errno or 0, "make the folder writable, or give another with --out")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
