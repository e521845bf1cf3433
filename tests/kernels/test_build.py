from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from nightpipe import kernels
from nightpipe.kernels import build, threads

SOURCES = Path(kernels.__file__).parents[2]


def python(code, **environment):
    full = {**os.environ, "PYTHONPATH": str(SOURCES), **environment}
    return subprocess.run([sys.executable, "-c", code], env=full, capture_output=True, text=True, check=True).stdout


def test_importing_the_package_leaves_numba_alone():
    assert python("import sys, nightpipe.kernels, nightpipe.kernels.build; print('numba' in sys.modules)") == "False\n"


def test_machine_code_lies_in_the_folder_of_this_source(tmp_path):
    code = (
        "from nightpipe.kernels.networks import sort_columns; from nightpipe.kernels.build import cache_folder;"
        "import numpy, numba; sort_columns(numpy.zeros((2, 3), 'f4'), numpy.array([[0, 1]]));"
        "print(cache_folder()); print(sum(1 for _ in cache_folder().rglob('*.nbi'))); print(numba.config.CACHE_DIR)"
    )
    folder, files, left = python(code, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert Path(folder).parent == tmp_path
    assert int(files) == 1
    assert left == str(tmp_path)
    assert Path(folder).name == python(code, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()[0].rsplit("/", 1)[-1]


def test_folder_follows_the_user_and_falls_back_where_nothing_can_be_written(tmp_path):
    code = "from nightpipe.kernels.build import cache_folder; print(cache_folder())"
    default = python(code, NUMBA_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path)).strip()
    assert default.startswith(str(tmp_path / "nightpipe" / "kernels"))
    (tmp_path / "file").touch()
    other = python(code, NUMBA_CACHE_DIR=str(tmp_path / "file"), TMPDIR=str(tmp_path)).strip()
    assert Path(other).is_dir()


def test_name_changes_with_source_and_processor(tmp_path, monkeypatch):
    before = build._digest()
    monkeypatch.setattr(build, "_processor", lambda: "another")
    assert build._digest() != before
    monkeypatch.undo()
    monkeypatch.setattr(build, "__file__", str(tmp_path / "build.py"))
    assert build._digest() != before


def test_warm_names_every_module_with_kernels():
    with_kernels = {p.stem for p in Path(kernels.__file__).parent.glob("*.py") if "def rehearse" in p.read_text()}
    assert with_kernels == set(kernels.MODULES)
    seconds = kernels.warm()
    assert set(seconds) == with_kernels
    assert all(value >= 0 for value in seconds.values())


def test_strips_cover_all_rows_once():
    assert threads.strips(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert threads.strips(0, 4) == []


@pytest.mark.parametrize("count", ["1", "3"])
def test_each_strip_does_all_work_and_passes_errors_on(count, monkeypatch):
    monkeypatch.setenv("NIGHTPIPE_THREADS", count)
    done = []
    threads.each_strip(lambda a, b: done.append((a, b)), 10, 3)
    assert sorted(done) == threads.strips(10, 3)
    with pytest.raises(ZeroDivisionError):
        threads.each_strip(lambda a, _: 1 // (a - 6), 10, 3)


def test_no_threads_within_threads(monkeypatch):
    monkeypatch.setenv("NIGHTPIPE_THREADS", "2")
    names = set()

    def inner(_a, _b):
        names.add(threading.current_thread().name)

    threads.each_strip(lambda _a, _b: threads.each_strip(inner, 8, 1), 4, 1)
    assert 1 <= len(names) <= 2


def test_the_cores_are_shared_among_the_processes_that_are_busy(monkeypatch):
    monkeypatch.delenv("NIGHTPIPE_THREADS", raising=False)
    monkeypatch.setattr(threads, "_shared", [])
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    busy = SimpleNamespace(value=1)
    threads.share(busy)
    assert threads.threads() == 8
    for busy.value, each in ((2, 4), (3, 2), (20, 1), (0, 8)):
        assert threads.threads() == each
    monkeypatch.setenv("NIGHTPIPE_THREADS", "5")
    assert threads.threads() == 5


def test_thread_count(monkeypatch):
    monkeypatch.setenv("NIGHTPIPE_THREADS", "5")
    assert threads.threads() == 5
    for nonsense in ("", "0", "many"):
        monkeypatch.setenv("NIGHTPIPE_THREADS", nonsense)
        assert threads.threads() >= 1
