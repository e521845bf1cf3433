from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from builders import frames, toys
from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import ConfigError, LockedError, StoreError
from nightpipe.base.plain import canonical, from_plain, to_plain
from nightpipe.engine import decisions
from nightpipe.engine.keys import node_key, raw_key
from nightpipe.engine.ledger import Ledger
from nightpipe.engine.local import InLine
from nightpipe.engine.lock import locked
from nightpipe.engine.plan import RawInput
from nightpipe.engine.store import Store
from nightpipe.model.exposure import Exposure, FrameType, Setup, Site


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def raw_input(**changes):
    return RawInput(frames.exposure(**changes), frames.detector())


def test_facts_survive_json():
    site = Site("lapalma", -17.9, 28.7, 2382)
    exposure = frames.exposure(site=site, setup=Setup(binning=(1, 2), window=(1, 2, 3, 4)), lamps=("He",), ra=1.0)
    raw = RawInput(exposure, frames.detector(amps=2))
    assert from_plain(RawInput, json.loads(json.dumps(to_plain(raw)))) == raw
    assert from_plain(Exposure, to_plain(exposure)).type is FrameType.SCIENCE
    assert from_plain(tuple[Caveat, ...], [{"code": "a", "text": "b"}]) == (Caveat("a", "b"),)


def test_arrays_are_no_facts():
    with pytest.raises(StoreError, match="ndarray"):
        to_plain({"a": np.zeros(3)})


def test_canonical_text_does_not_depend_on_order():
    assert canonical({"b": (1, 2), "a": 0.5}) == canonical({"a": 0.5, "b": [1, 2]}) == '{"a":0.5,"b":[1,2]}'


def test_the_key_of_a_raw_frame_is_its_content_and_meaning():
    one = raw_input()
    assert raw_key(one) == raw_key(replace(one, exposure=replace(one.exposure, path="/other/place.fits")))
    assert raw_key(one) != raw_key(raw_input(sha256="1" * 64))
    assert raw_key(one) != raw_key(raw_input(kind=FrameType.STANDARD))
    assert raw_key(one) != raw_key(replace(one, detector=replace(one.detector, saturation=1.0)))


def test_the_key_of_a_run_is_recipe_parameters_and_inputs():
    key = node_key(toys.clean, {"Subtract.offset": 1.0}, {"raw": ["a"]})
    assert key == node_key(toys.clean, {"Subtract.offset": 1.0}, {"raw": ["a"]})
    assert key != node_key(toys.clean, {"Subtract.offset": 2.0}, {"raw": ["a"]})
    assert key != node_key(toys.clean, {"Subtract.offset": 1.0}, {"raw": ["b"]})
    assert key != node_key(replace(toys.clean, version=2), {"Subtract.offset": 1.0}, {"raw": ["a"]})
    assert key != node_key(replace(toys.clean, data=("lines",)), {"Subtract.offset": 1.0}, {"raw": ["a"]})


def test_a_folder_of_the_store_is_whole_or_absent(out):
    store = Store(out)
    with pytest.raises(ZeroDivisionError), store.filling("ab12") as folder:
        _half_written(folder)
    assert store.record("ab12") is None
    assert not list((store.root / "drafts").iterdir())


def _half_written(folder):
    (folder / "half.fits").touch()
    raise ZeroDivisionError


def test_eviction_keeps_products_records_and_the_newest(raw, out):
    outcomes = toys.run_night(raw, out)
    store = Store(out)
    sizes = sum(path.stat().st_size for path in store._intermediates())
    freed = store.evict(budget=sizes / 2)
    assert sizes / 2 <= freed < sizes
    store.evict()
    assert list(store._intermediates()) == []
    for outcome in outcomes.values():
        assert store.record(outcome.key) is not None
        assert all(path.exists() for name in outcome.node.publish for path in store.files(outcome.key, name))


def test_a_lock_held_says_by_whom(out):
    held = pytest.raises(LockedError, match=f"process {os.getpid()} on {os.uname().nodename}")
    with locked(out / ".nightpipe"), held, locked(out / ".nightpipe"):
        pass
    with locked(out / ".nightpipe"):
        pass


def test_a_lock_of_a_dead_process_is_taken_over(out):
    (out / ".nightpipe").mkdir(parents=True)
    (out / ".nightpipe" / "lock").write_text(json.dumps({"pid": 1, "host": "gone", "started": "once"}))
    with locked(out / ".nightpipe"):
        assert json.loads((out / ".nightpipe" / "lock").read_text())["pid"] == os.getpid()


def test_decisions_are_appended_and_the_last_wins(out):
    exposure = frames.exposure(name="s00")
    path = decisions.append(out, [decisions.make(exposure, "Subtract.offset", 4, 'so "bright"', "Ann")])
    first = path.read_text()
    decisions.append(out, [decisions.make(exposure, "Subtract.offset", 5, "brighter", "Bob")])
    assert path.read_text().startswith(first)
    read = decisions.read(out)
    assert read.value(exposure, "Subtract.offset") == 5
    assert len(read.standing) == 1
    decisions.append(out, [decisions.make(exposure, "Subtract.offset", 0, "no", "Bob", withdrawn=True)])
    assert decisions.read(out).standing == ()


def test_an_edited_decisions_file_that_broke_says_where(out):
    out.mkdir()
    (out / "decisions.toml").write_text("[[decision]]\nexposure = 3")
    with pytest.raises(ConfigError, match=r"decisions\.toml"):
        decisions.read(out)


def noted(raw, out):
    outcomes = toys.run_night(raw, out)
    ledger = Ledger(out)
    run = ledger.begin("test")
    for outcome in outcomes.values():
        ledger.task(run, outcome.record, reused=outcome.reused)
    ledger.product("a/b.fits", outcomes["gather:star_A"].record, "sum", "0" * 64)
    ledger.end(run, "ok")
    return ledger, outcomes


def contents(ledger):
    return [
        sorted((row["node"], row["name"], row["value"]) for row in ledger.rows("metrics")),
        sorted((row["path"], row["key"], row["output"], row["target"]) for row in ledger.rows("products")),
    ]


def test_the_ledger_is_rebuilt_from_records_and_products(raw, out):
    ledger, outcomes = noted(raw, out)
    before = contents(ledger)
    ledger.close()
    (out / ".nightpipe" / "ledger.sqlite").unlink()
    fresh = Ledger(out)
    assert fresh.fresh
    assert fresh.rows("metrics") == []
    product = ("a/b.fits", outcomes["gather:star_A"].record, "sum", "0" * 64)
    fresh.rebuild(Store(out).records(), [product])
    assert contents(fresh) == before
    fresh.close()


def test_a_ledger_of_another_schema_is_dropped(raw, out, monkeypatch):
    noted(raw, out)[0].close()
    monkeypatch.setattr("nightpipe.engine.ledger.SCHEMA", 99)
    ledger = Ledger(out)
    assert ledger.fresh
    assert ledger.rows("runs") == []
    ledger.close()


def test_checksums_are_remembered_until_the_file_changes(raw, out, monkeypatch):
    ledger = Ledger(out)
    first = ledger.checksum(str(raw / "s00.fits"))
    with monkeypatch.context() as patch:
        patch.setattr("nightpipe.engine.ledger.checksum", lambda _path: "computed again")
        assert ledger.checksum(str(raw / "s00.fits")) == first
    toys.write_frame(raw, "s00", "science", level=7)
    assert ledger.checksum(str(raw / "s00.fits")) != first
    ledger.close()


def test_decisions_are_mirrored(out):
    ledger = Ledger(out)
    ledger.decisions([decisions.make("x", "Subtract.offset", 4, "why", "who")])
    assert ledger.rows("decisions")[0]["value"] == "4"
    ledger.close()


def test_a_read_only_output_is_a_clear_error(out):
    out.parent.mkdir(exist_ok=True)
    out.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="try: choose another --out"):
        locked(out / ".nightpipe").__enter__()
    with pytest.raises(StoreError):
        Ledger(out)


@pytest.mark.faults
def test_a_really_full_disk_loses_nothing(raw, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("a small tmpfs cannot be mounted here: " + mount.stderr.decode().strip())
    try:
        with pytest.raises(StoreError, match=r"(?i)no space left.*try: free some"):
            toys.run_night(raw, disk, pool=InLine())
        kept = [record["node"] for record in Store(disk).records()]
        assert kept
        assert not list((disk / ".nightpipe" / "drafts").glob("*/*"))
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        assert set(toys.ran(toys.run_night(raw, disk))).isdisjoint(kept)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.faults
def test_a_read_only_disk_is_a_clear_error(raw, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("a read-only tmpfs cannot be mounted here: " + mount.stderr.decode().strip())
    try:
        with pytest.raises(StoreError, match=r"Read-only file system.*try: choose another --out"):
            locked(disk / ".nightpipe").__enter__()
        with pytest.raises(StoreError, match=r"(?i)read-only file system"):
            toys.run_night(raw, disk)
        with pytest.raises(StoreError, match="Read-only file system"):
            decisions.append(disk, [decisions.make("x", "Subtract.offset", 4, "why", "who")])
    finally:
        subprocess.run(["umount", str(disk)], check=True)
