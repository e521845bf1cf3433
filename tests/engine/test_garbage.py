"""The garbage collector is as it was after imports and after a night."""

from __future__ import annotations

import gc

import pytest

from nightpipe.base.garbage import imported, set_aside


def test_imports_leave_the_collector_as_it_was():
    assert imported("json", "csv").__name__ == "json"
    assert gc.isenabled()
    with pytest.raises(ImportError):
        imported("nightpipe.nowhere")
    assert gc.isenabled()


def test_what_was_set_aside_is_collected_afterwards():
    before = gc.get_freeze_count()
    with set_aside():
        assert gc.get_freeze_count() > 1000
        with set_aside():
            pass
        assert gc.get_freeze_count() > 1000  # the inner one was not to end the outer one's
    assert gc.get_freeze_count() == before == 0
