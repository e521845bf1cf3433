"""Where results lie: by key, complete or not there; products fsynced and linked to human names, the rest evictable."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nightpipe.base.errors import StoreError

HIDDEN = ".nightpipe"
RECORD = "record.json"
FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def writing(where: str | Path) -> Iterator[None]:
    """Turn the operating system's complaints about disk space and rights into StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StoreError(
                "space on the disk", f"{where}: {error.strerror}", "free some, then run again: what is done is kept"
            ) from error
        if error.errno in DENIED:
            raise StoreError(
                "an output folder to write to", f"{where}: {error.strerror}", "choose another --out"
            ) from error
        raise


class Store:
    """The results of one output folder, under ``OUT/.nightpipe/store``; one folder a key with a `record.json`.

    A key's folder appears by one rename, so it is whole or absent. Eviction takes the files of intermediates and leaves
    the record: what came of a key stays known, and the files are made again when someone needs them.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out).absolute()
        self.root = self.out / HIDDEN
        self.keys = self.root / "store"

    def folder(self, key: str) -> Path:
        """Return the folder of a key."""
        return self.keys / key[:2] / key

    def record(self, key: str) -> dict[str, Any] | None:
        """Return what is known of a key, or None."""
        try:
            record: dict[str, Any] = json.loads((self.folder(key) / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record

    def records(self) -> Iterator[dict[str, Any]]:
        """Return all records."""
        for path in sorted(self.keys.glob(f"*/*/{RECORD}")):
            record = self.record(path.parent.name)
            if record is not None:
                yield record

    def files(self, key: str, output: str, record: dict[str, Any] | None = None) -> list[Path]:
        """Return the files of one output, whether they are there or not."""
        record = record or self.record(key) or {"outputs": {}}
        return [self.folder(key) / name for name in record["outputs"].get(output, {}).get("files", [])]

    def whole(self, key: str, record: dict[str, Any]) -> bool:
        """Return whether all files of a key are there."""
        return all(path.exists() for output in record["outputs"] for path in self.files(key, output, record))

    @contextmanager
    def filling(self, key: str) -> Iterator[Path]:
        """Give an empty folder to fill; it becomes the key's folder when all went well, else it vanishes."""
        draft = self.root / "drafts" / f"{key}.{os.getpid()}"
        with writing(self.out):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            try:
                yield draft
                self._accept(draft, key)
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def _accept(self, draft: Path, key: str) -> None:
        folder = self.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # an evicted or half-lost result makes room for the new one
            folder.rename(draft.with_suffix(".old"))
        draft.rename(folder)
        shutil.rmtree(draft.with_suffix(".old"), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed workers left half-written."""
        shutil.rmtree(self.root / "drafts", ignore_errors=True)

    def publish(self, path: Path, name: str) -> Path:
        """Give a stored file its human name below the output folder, by a hard link where the disk can do it."""
        target = self.out / name
        with writing(self.out):
            if target.exists() and path.exists() and target.samefile(path):
                return target
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.{os.getpid()}")
            draft.unlink(missing_ok=True)
            try:
                os.link(path, draft)
            except OSError as error:
                if error.errno in FULL + DENIED[:1]:
                    raise
                shutil.copy2(path, draft)
            draft.rename(target)
        return target

    def evict(self, budget: float = 0.0, keep: Iterable[str] = (), before: float = float("inf")) -> int:
        """Remove intermediates, oldest first, until at most `budget` bytes are left; return the bytes freed.

        Never touched: products, records, the keys in `keep`, files changed after `before` [s since 1970].
        """
        kept = set(keep)
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._intermediates())
        excess, freed = sum(size for _, size, _ in files) - budget, 0
        for changed, size, path in files:
            if excess <= freed:
                break
            if changed <= before and path.parent.name not in kept:
                path.unlink()
                freed += size
        return freed

    def _intermediates(self) -> Iterator[Path]:
        for record in self.records():
            for output in record["outputs"]:
                if output not in record["published"]:
                    yield from (path for path in self.files(record["key"], output, record) if path.exists())
