from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from builders import toys
from nightpipe.base.errors import LockedError
from nightpipe.engine import local
from nightpipe.engine.decisions import Decisions, make
from nightpipe.engine.execute import State
from nightpipe.engine.local import Processes, workers_for
from nightpipe.engine.lock import locked
from nightpipe.engine.night import scan

pytestmark = pytest.mark.faults


@pytest.fixture
def pool():
    pool = Processes(2, preload=("builders.toys",))
    yield pool
    pool.close()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def on(raw, name, **parameters):
    exposure = scan([raw]).named(name)
    return Decisions([make(exposure, f"Trouble.{key}", value, "test", "me") for key, value in parameters.items()])


def test_a_pool_gives_what_one_process_gives(raw, out, pool, tmp_path):
    pooled = toys.run_night(raw, out, pool=pool)
    inline = toys.run_night(raw, tmp_path / "other")
    assert {name: one.key for name, one in pooled.items()} == {name: one.key for name, one in inline.items()}
    assert {one.state for one in pooled.values()} == {State.OK}
    assert toys.ran(toys.run_night(raw, out, pool=pool)) == []


def test_a_killed_worker_is_replaced_and_its_task_retried(raw, out, pool, tmp_path):
    toys.run_night(raw, out, pool=pool)
    before = pool.pids()
    decisions = on(raw, "s00", what="kill_once", marker=str(tmp_path / "marker"))
    outcomes = toys.run_night(raw, out, pool=pool, decisions=decisions)
    assert {one.state for one in outcomes.values()} == {State.OK}
    assert len(set(before) & set(pool.pids())) == 1


def test_a_task_that_kills_twice_is_blamed_and_the_night_goes_on(raw, out, pool):
    outcomes = toys.run_night(raw, out, pool=pool, decisions=on(raw, "s00", what="kill"))
    assert outcomes["clean:s00"].state is State.FAILED
    assert "died 2 times" in outcomes["clean:s00"].message
    assert outcomes["gather:star_A"].state is State.CAVEATS
    assert outcomes["gather:star_B"].state is State.OK
    assert not list((out / ".nightpipe" / "drafts").glob("*"))


def test_a_worker_killed_from_outside_is_no_loss(raw, out, pool, tmp_path):
    marker = tmp_path / "marker"
    killer = threading.Thread(target=_kill_when, args=(marker, pool))
    killer.start()
    outcomes = toys.run_night(raw, out, pool=pool, decisions=on(raw, "s00", what="wait", marker=str(marker)))
    killer.join()
    assert outcomes["clean:s00"].state is State.FAILED  # it waits for ever, and was killed both times
    assert outcomes["gather:star_B"].state is State.OK


def _kill_when(marker: Path, pool: Processes) -> None:
    for _ in range(2):
        _until(marker.exists)
        marker.unlink()
        busy = [worker for worker in pool._workers if worker.task is not None and worker.task.node == "clean:s00"]
        os.kill(busy[0].process.pid, signal.SIGKILL)


def _until(condition, seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from builders import toys
from nightpipe.engine.local import Processes
from nightpipe.engine.decisions import Decisions, make
from nightpipe.engine.lock import locked
from nightpipe.engine.night import scan
raw, out, marker = map(Path, sys.argv[1:4])
with locked(out / ".nightpipe"):
    decisions = []
    if {stuck}:
        exposure = scan([raw]).named("s11")
        wishes = {{"what": "wait", "marker": str(marker)}}
        decisions = [make(exposure, "Trouble." + name, value, "t", "me") for name, value in wishes.items()]
    pool = Processes(2)
    outcomes = toys.run_night(raw, out, pool=pool, decisions=Decisions(decisions))
    sys.stdout.write(" ".join(toys.ran(outcomes)))
    pool.close()
"""


def script(tmp_path, *, stuck: bool) -> Path:
    path = tmp_path / "unguarded.py"
    path.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1]), stuck=stuck))
    return path


def test_a_killed_run_leaves_no_lock_and_resumes(raw, out, tmp_path):
    marker = tmp_path / "marker"
    command = [sys.executable, str(script(tmp_path, stuck=True)), str(raw), str(out), str(marker)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE)
    _until(lambda: marker.exists() and _stored(out) >= 8)  # all but what hangs on s11
    with pytest.raises(LockedError, match=f"process {run.pid} on "), locked(out / ".nightpipe"):
        pass
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    command[1] = str(script(tmp_path, stuck=False))
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert set(again.stdout.split()) == {"clean:s11", "measure:s11", "gather:star_B"}


def _stored(out: Path) -> int:
    return len(list((out / ".nightpipe" / "store").glob("*/*/record.json")))


def test_workers_end_when_their_coordinator_is_gone(tmp_path):
    text = textwrap.dedent("""
        import os, sys, signal
        from nightpipe.engine.local import Processes
        pool = Processes(1)
        sys.stdout.write(str(pool._idle().process.pid))
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60)
    pid = int(run.stdout)
    _until(lambda: not Path(f"/proc/{pid}").exists())


def test_small_plans_run_in_line():
    assert workers_for(2, None) == 1
    assert workers_for(100, 3) == 3
    assert workers_for(2, 8) == 2
    assert workers_for(0, 4) == 1


def test_a_worker_has_the_environment_of_today_not_that_of_the_first_pool(monkeypatch):
    """A fork server keeps the environment it was started with; catalogues and data sets may be named since."""
    monkeypatch.setenv("NIGHTPIPE_GONE", "yes")
    told = [_environment_of(Processes(1))]
    monkeypatch.delenv("NIGHTPIPE_GONE")
    monkeypatch.setenv("NIGHTPIPE_CATALOGUES", "/elsewhere")
    told.append(_environment_of(Processes(1)))
    assert told == [("yes", None), (None, "/elsewhere")]


def test_a_worker_that_is_busy_alone_has_all_cores(monkeypatch):
    """A chain of calibrations, one at a time, used one core of however many there were."""
    monkeypatch.delenv("NIGHTPIPE_THREADS", raising=False)
    pool = Processes(2)
    ours, theirs = pool._context.Pipe()
    process = pool._context.Process(target=toys.threads, args=(theirs, pool._busy), daemon=True)
    process.start()
    told = []
    for busy in (1, 2, 1000):
        pool._busy.value = busy
        ours.send(busy)
        told.append(ours.recv())
    process.join()
    assert told == [local.cores(), max(1, local.cores() // 2), 1]


def test_the_pool_counts_its_busy_workers(raw, out, pool):
    seen = []
    toys.run_night(raw, out, pool=pool, watch=lambda _outcome: seen.append(pool._busy.value))
    assert max(seen) >= 1
    assert pool._busy.value == 0


def _environment_of(pool: Processes) -> tuple[str | None, str | None]:
    ours, theirs = pool._context.Pipe()
    process = pool._context.Process(target=toys.environment, args=(theirs, local._own()), daemon=True)
    process.start()
    told = ours.recv()
    process.join()
    return told
