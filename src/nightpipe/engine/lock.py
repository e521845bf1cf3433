"""One writer an output folder: the second is told which process on which host has it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from nightpipe.base.errors import LockedError, StoreError

FILE = "lock"


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold the lock in `folder` (made where absent); raises LockedError, StoreError.

    The kernel frees the lock when its process ends, however it ends, so a lock left by a killed run is stale and is
    taken over without ado.
    """
    path = Path(folder) / FILE
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                f"to be the only one who writes to {path.parent.parent}",
                _holder(file),
                "wait for it or stop it, or choose another --out",
            ) from error
        _sign(file)
        yield


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            "an output folder to write to", f"{path.parent}: {error.strerror}", "choose another --out"
        ) from error


def _sign(file: IO[str]) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started}))
        file.flush()
    except OSError as error:
        raise StoreError("space to write", str(error.strerror), "free some space or choose another --out") from error


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['pid']} on {holder['host']}, since {holder['started']}"
    except (ValueError, KeyError):
        return "a process that is just starting"
