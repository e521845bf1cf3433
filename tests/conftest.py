"""Fixtures and helpers that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# the same examples in every run: a change is judged by what it changed, not by the day's dice
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared_data():
    """Return a function that gives a folder of real frames, or skips the test where it is absent."""
    root = Path(os.environ.get("NIGHTPIPE_SHARED", Path(__file__).parents[2] / "shared")) / "data"

    def folder(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"real frames are absent: {name} under {root} (set NIGHTPIPE_SHARED)")
        return root / name

    return folder
