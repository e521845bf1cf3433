"""Kernels made ready: compiled in several processes, found in the cache afterwards."""

from __future__ import annotations

import pytest

from nightpipe import kernels
from nightpipe.api import warming
from nightpipe.kernels import build


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A cache of machine code that holds nothing, and two small modules to fill it."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kernels, "MODULES", ("hexlight", "evidence", "psf"))
    build.cache_folder.cache_clear()
    yield tmp_path
    build.cache_folder.cache_clear()


def test_processes_leave_their_machine_code_in_the_cache(bare):
    asked = ("hexlight", "evidence")
    assert warming.cold() == ("hexlight", "evidence", "psf")
    assert warming.warmed(2, asked) > 0
    compiled = {path.name.partition(".")[0] for path in bare.rglob("*.nbi")}
    assert compiled == {"hexlight", "evidence"}
    assert warming.cold(asked) == ()
    assert warming.cold() == ("psf",)


def test_a_module_whose_loops_lie_in_other_files_is_made_ready_once(bare, monkeypatch):
    """Its machine code bears the names `clip`, `medians` and `networks`: each run announced a compilation."""
    monkeypatch.setattr(kernels, "MODULES", ("combine",))
    assert warming.cold() == ("combine",)
    warming.warmed(1)
    assert warming.cold() == ()


def test_what_a_dead_process_left_is_compiled_here(bare, monkeypatch):
    def dies(_count, _modules):
        raise warming.BrokenProcessPool("killed")

    done = []
    monkeypatch.setattr(warming, "_compiled_apart", dies)
    monkeypatch.setattr(kernels, "ready", lambda name: done.append(name) or 0.0)
    warming.warmed(2)
    assert done == ["hexlight", "evidence", "psf"]
