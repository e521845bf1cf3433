from __future__ import annotations

import pytest

from builders import toys


@pytest.fixture(autouse=True)
def toycam(tmp_path_factory, monkeypatch):
    """Make the toy instrument known."""
    from nightpipe.instruments import registry

    folder = tmp_path_factory.mktemp("instruments")
    (folder / "toycam.toml").write_text(toys.TOML)
    monkeypatch.setenv("NIGHTPIPE_INSTRUMENTS", str(folder))
    registry.all_instruments.cache_clear()
    yield
    registry.all_instruments.cache_clear()


@pytest.fixture
def raw(tmp_path):
    return toys.write_night(tmp_path / "raw")
