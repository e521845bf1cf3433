"""Nights of images with something wrong in them: what comes of each, and in which words it is told.

The table is the list of what must not break a night; each row is reduced from raw frames by the same call. Huge fields
(two degrees) and the pole from everywhere are with the plate solutions, in ``steps/imaging/test_solve.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from nightpipe.api.reduce import Request, reduce_with
from nightpipe.io.catalogues.store import import_tables
from nightpipe.recipes.book import BOOK
from nightpipe.simulate.night import write_night

pytestmark = pytest.mark.night
SCENE = {"filters": "r'", "exposures": 3, "window": 320, "calibrations": False, "trails": False, "host": 0,
         "latitude": 10, "pointing_error": 3.0}  # fmt: skip
AUTUMN = "2022-10-10T23:00:00"


def images(raw: Path) -> list[Path]:
    return sorted(raw.glob("light_*.fits"))


def edited(**cards) -> Callable[[Path], None]:
    """Return what writes other cards into the headers of all images."""

    def edit(raw: Path) -> None:
        for path in images(raw):
            with fits.open(path, mode="update") as hdus:
                hdus[0].header.update(cards)

    return edit


def another_of_the_same_name(raw: Path) -> None:
    more = SCENE | {"ra": 190.0, "dec": 20.0, "start": "2022-04-02T23:30:00"}
    shutil.rmtree(write_night("generic", raw / "later", seed=8, **more))


def flats_at(level: int) -> Callable[[Path], None]:
    """Return what brings all flats to one level [adu]."""

    def edit(raw: Path) -> None:
        for path in raw.glob("flat_*.fits"):
            with fits.open(path, mode="update") as hdus:
                hdus[0].data = np.clip(hdus[0].data.astype(float) * level / np.median(hdus[0].data), 0, 65535)
                hdus[0].data = hdus[0].data.astype(np.uint16)

    return edit


def no_star(folder: Path) -> None:
    Table({"ra": [187.3], "dec": [14.2], "r": [29.0]}).write(folder / "none.csv")


def elsewhere(folder: Path, truth: Path) -> Path:
    """Return a catalogue of another part of the sky."""
    table = Table.read(truth / "refcat.fits", hdu=1)
    table["dec"] = table["dec"] - 40.0
    table.write(folder / "elsewhere.fits")
    return folder / "elsewhere.fits"


@dataclass(frozen=True)
class Bad:
    """What is wrong, and what must be told: a part of caveats' texts; `stacks` frames in each stack, None: whatever."""

    options: dict = field(default_factory=dict)
    spoil: Callable[[Path], None] | None = None
    told: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    stacks: tuple[int, ...] | None = (3,)
    solved: bool = True
    catalogue: str = "own"


NIGHTS = {
    "no stars": Bad(
        {"catalogue": "none.csv", "galaxies": False, "transient": "none", "cosmics": False},
        told=("psf.none", "catalogue.missing"), stacks=None, solved=False, catalogue="",
    ),
    "all saturated": Bad({"faults": "all-saturated", "window": 200},
                         told=("detect.saturated: all sources are saturated",), stacks=None, solved=False),
    "trailed": Bad({"faults": "trailed"}, told=("stars are trailed",), stacks=None),
    "wrong filter name": Bad(spoil=edited(FILTER="blue-ish 7"), told=("zeropoint.none", "blue-ish 7")),
    "twilight too bright": Bad({"calibrations": True, "size": "tiny"}, flats_at(57000),
                               told=("flat.refused", "too bright", "flat.none")),
    "bias jump": Bad({"calibrations": True, "size": "tiny", "faults": "bias-jump"},
                     untold=("pedestal", "detect.noise")),
    "a frame of another field": Bad({"faults": "other-field"}, told=("left out",), stacks=(2,)),
    "two targets of one name": Bad(spoil=another_of_the_same_name, stacks=(3, 3), solved=False),
    "catalogue without overlap": Bad(told=("catalogue.missing", "nightpipe catalogue import"), catalogue="elsewhere",
                                     solved=False),
    "coordinates in degrees": Bad(spoil=edited(RA=187.3, DEC=14.2)),
    "coordinates in decimal hours": Bad(spoil=edited(RA=187.3 / 15, DEC=14.2), told=("catalogue.missing",),
                                        solved=False),
    "coordinates missing": Bad({"faults": "no-coordinates"}, told=("catalogue.no_pointing",), solved=False),
    "a tiny field": Bad({"window": 128, "latitude": 5}, stacks=None, solved=False),
    "across right ascension zero": Bad({"ra": 0.005, "dec": 12.0, "start": AUTUMN}),
    "at the pole": Bad({"ra": 40.0, "dec": 89.97, "start": AUTUMN}),
}  # fmt: skip


@pytest.mark.parametrize("name", NIGHTS)
def test_a_bad_night_is_reduced_as_far_as_it_goes_and_told(name, tmp_path, monkeypatch):
    bad = NIGHTS[name]
    options = SCENE | bad.options
    if options.get("catalogue"):
        no_star(tmp_path)
        options["catalogue"] = str(tmp_path / options["catalogue"])
    truth = write_night("generic", tmp_path / "raw", seed=6, **options)
    if bad.spoil is not None:
        bad.spoil(tmp_path / "raw")
    monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path / "data"))
    if bad.catalogue:
        table = truth / "refcat.fits" if bad.catalogue == "own" else elsewhere(tmp_path, truth)
        import_tables([table], "refcat2")
    wish = Request(tmp_path / "out", workers=1, who="test", figures=False, instrument="generic")
    reduction = reduce_with(BOOK, [tmp_path / "raw"], wish)
    told = "\n".join(f"{one.code}: {one.text}" for run in reduction.outcomes.values() for one in run.caveats)
    told += "\n" + "\n".join(target.reason for target in reduction.targets)
    print(name, reduction.status.word, sorted({line.partition(":")[0] for line in told.splitlines()}))
    print([(t.label, t.state.value, t.reason[:200], t.metrics.get("frames_used"), t.metrics.get("astrometry_rms"),
            t.metrics.get("zero_point")) for t in reduction.targets])  # fmt: skip
    assert [part for part in bad.told if part not in told] == []
    assert [part for part in bad.untold if part in told] == []
    for outcome in reduction.outcomes.values():
        assert "report this" not in outcome.message, outcome.message  # nothing broke: what failed says what it lacked
    if bad.stacks is not None:
        assert [len(target.stack.model.frames) for target in reduction.targets] == list(bad.stacks)
    if bad.solved:
        assert all(target.metrics["astrometry_rms"] < 0.5 for target in reduction.targets)
