"""Processes on this machine: one task each, killed workers noticed, restarted and their task retried."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from nightpipe.base.garbage import set_aside
from nightpipe.base.log import logger
from nightpipe.engine.worker import Task, from_json, perform
from nightpipe.kernels.threads import Busy, share

TRIES = 2
PRELOAD = ("nightpipe.engine.worker",)
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Pool(Protocol):
    """Whoever runs tasks."""

    def submit(self, task: Task) -> None:
        """Take a task to run as soon as there is room."""

    def room(self) -> int:
        """Return how many more tasks would start at once."""

    def results(self) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Wait until something has happened, then give what is done."""

    def close(self) -> None:
        """End all processes."""


class InLine:
    """Runs tasks in this process: for small plans and for debugging."""

    def __init__(self, places: int = 1) -> None:
        self._tasks: deque[Task] = deque()
        self._places = places

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._tasks.append(task)

    def room(self) -> int:
        """Return how many tasks may still wait."""
        return self._places - len(self._tasks)

    def results(self) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Run what waits."""
        while self._tasks:
            task = self._tasks.popleft()
            yield task, perform(task)

    def close(self) -> None:
        """There is nothing to end."""


@dataclass
class Worker:
    """A process and our end of its pipe; `task` is what it works on."""

    process: BaseProcess
    pipe: Connection
    task: Task | None = None


class Processes:
    """A pool of `count` workers from a fork server that has the heavy modules loaded.

    A worker that dies takes nobody along: its task is tried once more, and blamed if it kills again.
    """

    def __init__(self, count: int, preload: tuple[str, ...] = ()) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOAD, *preload])
        self._count = count
        self._busy: Busy = self._context.RawValue("i", 0)
        self._workers: list[Worker] = []
        self._queue: deque[Task] = deque()
        self._deaths: dict[str, int] = {}

    def submit(self, task: Task) -> None:
        """Give the task to an idle worker, start one if none is idle, or keep it until there is one."""
        self._queue.append(task)
        self._feed()

    def room(self) -> int:
        """Return how many more tasks would start at once."""
        return self._count - sum(worker.task is not None for worker in self._workers) - len(self._queue)

    def results(self) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Wait for a worker to finish or to die; give the records of what is done."""
        busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
        for pipe in wait(list(busy)) if busy else []:
            worker = busy[pipe]  # type: ignore[index]
            task = worker.task
            record = self._received(worker)
            if record is not None and task is not None:
                yield task, record
        self._feed()

    def close(self) -> None:
        """End all workers, busy or not: what they had not finished leaves no trace."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=5)

    def pids(self) -> tuple[int, ...]:
        """Return the workers' process ids."""
        return tuple(worker.process.pid or 0 for worker in self._workers)

    def _received(self, worker: Worker) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            return self._buried(worker)
        worker.task = None
        return record

    def _buried(self, worker: Worker) -> dict[str, Any] | None:
        """Replace a dead worker; return a verdict on its task, or None where the task is tried again."""
        task = worker.task
        worker.process.join(timeout=5)
        code = worker.process.exitcode
        worker.pipe.close()
        self._workers.remove(worker)
        if task is None:
            return None
        self._deaths[task.key] = self._deaths.get(task.key, 0) + 1
        logger().warning("a worker died (exit code %s) on %s", code, task.node)
        if self._deaths[task.key] < TRIES:
            self._queue.appendleft(task)
            return None
        return blamed(task, code)

    def _feed(self) -> None:
        while self._queue and (worker := self._idle()) is not None:
            worker.task = self._queue.popleft()
            with suppress(OSError):  # a worker that died idle is found out when its result is awaited
                worker.pipe.send_bytes(worker.task.to_json().encode())
        self._busy.value = sum(worker.task is not None for worker in self._workers)

    def _idle(self) -> Worker | None:
        for worker in self._workers:
            if worker.task is None:
                return worker
        if len(self._workers) == self._count:
            return None
        self._workers.append(self._started())
        return self._workers[-1]

    def _started(self) -> Worker:
        ours, theirs = self._context.Pipe()
        with quiet_main(), _environment(dict.fromkeys(ONE_THREAD, "1")):
            process = self._context.Process(target=serve, args=(theirs, self._busy, _own()), daemon=True)
            process.start()
        theirs.close()
        return Worker(process, ours)


def blamed(task: Task, code: int | None) -> dict[str, Any]:
    """Return the record of a task that killed its worker every time."""
    error = {
        "kind": "WorkerDied",
        "wanted": f"recipe {task.recipe} to run",
        "found": f"its worker died {TRIES} times (exit code {code})",
        "remedy": "see that there is enough memory, or use --workers 1",
        "trace": "",
    }
    return {"key": task.key, "node": task.node, "recipe": task.recipe, "state": "failed", "error": error}


def _own() -> dict[str, str]:
    """Return what of the environment is ours: the fork server's is that of its first day."""
    return {name: value for name, value in os.environ.items() if name.startswith("NIGHTPIPE_")}


def take_over(own: Mapping[str, str]) -> None:
    """Set what of the environment is ours, and nothing else of it."""
    for name in _own():
        del os.environ[name]
    os.environ.update(own)


def serve(pipe: Connection, busy: Busy, own: Mapping[str, str]) -> None:
    """Work off tasks until the other end closes, with the coordinator's `own` part of the environment.

    A task that runs alone, as each of a chain does, has all cores for its kernels.
    """
    take_over(own)
    share(busy)
    threading.Thread(target=_outlive_nobody, args=(os.getppid(),), daemon=True).start()
    with set_aside():
        while True:
            try:
                task = from_json(pipe.recv_bytes().decode())
                pipe.send_bytes(json.dumps(perform(task)).encode())
            except (EOFError, OSError):
                return


def _outlive_nobody(parent: int) -> None:
    """End this process soon after its fork server, which ends with the coordinator, however that ends."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@contextmanager
def quiet_main() -> Iterator[None]:
    """Hide the main module, which workers would otherwise import: scripts and notebooks need no guard then."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    old = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def workers_for(tasks: int, wanted: int | None) -> int:
    """Return how many processes to use: one (in line) for few tasks, at most one a core unless asked for more."""
    if wanted is not None:
        return max(1, min(wanted, tasks))
    return 1 if tasks < 4 else min(cores(), tasks)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
