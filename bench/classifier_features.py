"""Correlate the training spectra, degraded copies of them, and made ones with the bank; keep what was found.

usage: python bench/classifier_features.py TRAINING_FOLDER TRUTH.csv BANK COLLECTIONS OUT [most [part/parts]]

TRAINING_FOLDER holds spectra.npz (flux on 2,048 bins, edges) and meta.csv; TRUTH.csv names the objects (obj) that are
kept for tests; COLLECTIONS holds the wheels of classifier_collections.py. A template never meets its own object, nor a
star itself. First come published spectra of those collections, what is no supernova, and single arms, then the rest in
random order, so that the first `most` of them are a fair sample. Files that are there are kept; several processes can
each do a part (0/2 and 1/2).
"""

from __future__ import annotations

import csv
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from classifier_collections import dusty, galaxies, populations, superluminous
from classifier_others import MAKERS, other
from classifier_scenes import Scene, plain

from nightpipe.base.errors import NightpipeError
from nightpipe.io.banks import SAGE, not_themselves, read_bank
from nightpipe.io.banks import galaxies as own_galaxies
from nightpipe.maths.logflux import Flat, flatten
from nightpipe.maths.matching import by_group, correlate_all, prepare
from nightpipe.maths.profiles import profiles
from nightpipe.model.templates import KINDS, joined, kind_of

HIGHEST = 512
RAW = {"Ib-Ca-rich": "Ca-rich"}
COPIES = {
    "Ibn": 4,
    "SLSN-I": 2,
    "SLSN-II": 8,
    "Ia-pec": 3,
    "Ia-91T": 2,
    "Ia-91bg": 8,
    "Ic-BL": 3,
    "Ib": 2,
    "Ca-rich": 8,
}
SHARES = {"Ia": 0.5, "II": 0.6, "Ib/c": 0.5}
"""Degraded copies of a training spectrum: so many, or with such a chance one."""
MADE = {"TDE": (99, 8), "Ibn": (99, 6), "SLSN-I": (99, 2), "SLSN-II": (99, 10), "Ca-rich": (99, 6), "LBV": (99, 8)}
MADE |= {"AGN": (99, 40), "Star": (99, 20), "other": (99, 6), "Ia-pec": (4, 1), "Ia-91bg": (4, 1), "Ia-91T": (2, 1)}
MADE |= {"Ic-BL": (3, 1), "IIn": (99, 2), "Galaxy": (99, 55), "Ia": (2, 1), "II": (6, 1), "Ib": (5, 1), "Ic": (5, 1)}
MADE |= {"IIb": (6, 1)}
"""Of each object of the bank so many spectra at most, and so many copies of each."""
MORE = {"Ib": (4, 1), "Ic": (5, 1), "Ic-BL": (5, 1), "IIb": (5, 1), "Ia-pec": (3, 1), "Ia-91T": (2, 1)}
MORE |= {"Ia-91bg": (2, 1), "SLSN-I": (3, 1), "Ibn": (5, 2), "TDE": (6, 2), "SLSN-II": (3, 6), "LBV": (4, 4)}
MORE |= {"II": (3, 1), "IIn": (3, 1), "Galaxy": (1, 20), "Ia": (1, 1), "AGN": (1, 8)}
"""The like, further out."""
DEGRADED = 10_500
"""So many jobs come before those of `MORE`: all others but most degraded copies."""
BY_ROW = {"Star"}
"""Kinds whose templates are left out one by one: all M stars of the bank are one object of eleven subtypes. Were it
left out as a whole, no spectrum to train on would have seen what a star finds in the bank."""
ARMS = 1200
"""Spectra of one arm of a spectrograph only."""
SERIES = {"other": "other_", "arm": "arm_", "collected": "collected_", "again": "again_"}
"""What has files of its own."""
AGAIN = {"Galaxy": 4, "SLSN-I": 2}
"""Copies of a collected spectrum: galaxies at other redshifts, others degraded."""
STARS = 5
BATCH = 250
PHASES = np.array([-4.0, 8.0, 25.0, 60.0])
POOL = 2


def kind_in(about: dict[str, Any]) -> str:
    return "Ib/c" if about["type"] == "Ib/c" else kind_of(RAW.get(about["type"], about["type"]))


def jobs(scene: Scene) -> list[tuple[str, int, int]]:
    rng = np.random.default_rng(20261126)
    found = [("train", number, 0) for number in range(len(scene.meta))]
    for number, about in enumerate(scene.meta):
        kind = kind_in(about)
        copies = COPIES.get(kind, int(rng.random() < SHARES.get(kind, 1.0)))
        found += [("degraded", number, copy) for copy in range(copies)]
    objects = [(first, last) for first, last in pairwise([*scene.bank.starts, len(scene.bank)])]
    objects = [(first, last) for first, last in objects if scene.bank.sources[first] == SAGE]
    strange = np.flatnonzero(not_themselves(scene.bank))
    for first, last in objects:
        most, copies = MADE[str(scene.kinds[first])]
        rows = rng.permutation(np.setdiff1d(np.arange(first, last), strange))[:most]
        found += [("bank", int(row), copy) for row in rows for copy in range(copies)]
    more = []
    for first, last in objects:
        most, copies = MORE.get(str(scene.kinds[first]), (0, 0))
        rows = np.random.default_rng([first, 4]).permutation(np.setdiff1d(np.arange(first, last), strange))[:most]
        more += [("more", int(row), copy) for row in rows for copy in range(copies)]
    more = [more[k] for k in np.random.default_rng(6).permutation(len(more))]
    found += [("star", number, copy) for number in range(len(scene.stars)) for copy in range(STARS)]
    first = [found[k] for k in rng.permutation(len(found)) if found[k][0] != "degraded"]
    first += [found[k] for k in rng.permutation(len(found)) if found[k][0] == "degraded"]
    return first[:DEGRADED] + more + first[DEGRADED:]


def phased(bank: Any) -> tuple[Any, Any]:
    """Return rows in the order of object and phase, and where each group of an object's like phases begins."""
    of_object = np.searchsorted(bank.starts, np.arange(len(bank)), side="right")
    phase = np.where(np.isfinite(bank.phases), np.searchsorted(PHASES, bank.phases), len(PHASES) + 1)
    code = of_object * 10 + phase
    order = np.argsort(code, kind="stable")
    return order, np.flatnonzero(np.diff(code[order], prepend=-1))


def _file(out: Path, what: str, count: int) -> Path:
    """Return the file of a batch; the last of a run may be short, so it must be removed before a longer one."""
    return out / f"features_{SERIES.get(what, '')}{count // BATCH:03d}.npz"


def main() -> None:
    folder, truth, bank_file, collections, out = (Path(word) for word in sys.argv[1:6])
    most = int(sys.argv[6]) if len(sys.argv) > 6 else None
    part, parts = (int(word) for word in sys.argv[7].split("/")) if len(sys.argv) > 7 else (0, 1)
    with truth.open() as stream:
        tests = {plain(row["obj"]) for row in csv.DictReader(stream)}
    out.mkdir(parents=True, exist_ok=True)
    bank = joined((read_bank(bank_file), own_galaxies()))
    beside = list(galaxies(collections))
    hosts = np.array([found.parts for _, found in beside]) @ dusty(populations(collections))
    found = [*(one for one, _ in beside), *superluminous(collections)]
    scene = Scene(folder, bank, hosts, [one for one in found if one.name not in tests])
    order, groups = phased(bank)
    place = np.argsort(order)
    strange = not_themselves(bank)
    flats = np.where(strange[:, None], np.float32(0.0), np.asarray(bank.flat, np.float32))
    transforms = prepare(flats[order], bank.spans[order])
    kinds = np.array([KINDS.index(scene.kinds[row]) for row in bank.starts])
    starts = np.searchsorted(groups, bank.starts)
    group_names = np.array([plain(bank.objects[row]) for row in order[groups]])
    listed = jobs(scene)[:most]
    others = [("other", number, 0) for number in range(sum(MAKERS.values()))]
    others = [others[k] for k in np.random.default_rng(8).permutation(len(others))]
    arms = [("arm", number, 0) for number in range(ARMS)]
    collected = [("collected", number, 0) for number in range(len(scene.collected))]
    again = [("again", number, copy) for number, one in enumerate(scene.collected) for copy in range(AGAIN[one.kind])]
    series = (collected, again, others, arms, listed)
    print(sum(len(todo) for todo in series), "spectra,", len(groups), "groups", flush=True)
    start = time.process_time()
    for todo in series:
        for first in range(0, len(todo), BATCH):
            batch, kept = todo[first : first + BATCH], []
            file = _file(out, batch[0][0] if todo is not listed else "", first)
            if file.is_file() or first // BATCH % parts != part:
                continue
            for what, number, copy in batch:
                scene.rng = np.random.default_rng([number, copy, len(what), 3])
                flux, good, z, kind, own, hidden = spectrum(scene, what, number)
                flat = flattened(scene, flux, good)
                if flat is None:
                    continue
                rows = correlate_all(flat, transforms, HIGHEST)
                if hidden >= 0:
                    rows[place[hidden]] = 0.0
                fine = by_group(rows, groups)
                fine[np.isin(group_names, own)] = 0.0
                found = by_group(fine, starts)
                lags = fine.shape[1] // POOL * POOL
                pooled = fine[:, :lags].reshape(len(groups), -1, POOL).max(axis=2)
                kept.append(
                    {
                        "what": what,
                        "number": number,
                        "name": own[0],
                        "kind": kind,
                        "z": z,
                        "profile": profiles(found, kinds, len(KINDS)).astype(np.float16),
                        "flat": np.array([flat.value, flat.error, flat.good, flat.level]).astype(np.float32),
                        "groups": np.clip(np.round(8.0 * np.sqrt(pooled)), 0, 255).astype(np.uint8),
                    }
                )
            np.savez(file, **{name: np.array([one[name] for one in kept]) for name in kept[0]})
            print(file.name, len(kept), round(time.process_time() - start), "s", flush=True)


def spectrum(scene: Scene, what: str, number: int) -> tuple[Any, Any, float, str, tuple[str, ...], int]:
    """Return a job's flux and good bins, redshift, kind, the names of its objects, and a row to leave out or -1."""
    if what == "arm":
        return one_arm(scene, number)
    if what in ("collected", "again"):
        one = scene.collected[number]
        flux, good, z = one.flux, one.good, one.z
        if what == "again" and one.kind == "Galaxy":
            flux, good, z = scene.elsewhere(flux, good, z)
        elif what == "again":
            flux, good = scene.degraded(flux, good, z)
        return flux, good, z, one.kind, (one.name,), -1
    if what == "other":
        flux, good, made, name = other(scene, number)
        return flux, good, made.z, made.kind, (name,), made.row
    if what in ("bank", "more"):
        kind = str(scene.kinds[number])
        flux, good, z, own = scene.template(number, what == "more")
        alone = kind in BY_ROW
        return flux, good, z, kind, (f"{own[0]} {number}",) if alone else own, number if alone else -1
    if what == "star":
        flux, good, z, own = scene.star(number)
        return flux, good, z, "Star", own, -1
    about = scene.meta[number]
    flux, good, z = scene.flux[number].astype(float), scene.good[number], float(about["z"])
    if what == "degraded":
        flux, good = scene.degraded(flux, good, z)
    return flux, good, z, kind_in(about), (plain(about["obj"]),), -1


def one_arm(scene: Scene, number: int) -> tuple[Any, Any, float, str, tuple[str, ...], int]:
    """Return what the blue or the red arm of a spectrograph sees: of ten five published, the others of any kind."""
    rng, place = scene.rng, number % 10
    if place < 5:
        seen = spectrum(scene, "train", int(rng.integers(len(scene.meta))))
    elif place < 7:
        seen = spectrum(scene, "bank", int(rng.choice(scene.galaxies)))
    elif place < 9:
        seen = spectrum(scene, "other", int(rng.integers(sum(MAKERS.values()))))
    else:
        seen = spectrum(scene, "bank", int(rng.integers(len(scene.bank))))
    blue, red = scene.wave < rng.uniform(5200, 6000), scene.wave > rng.uniform(5300, 6300)
    arms = [seen[1] & arm for arm in (blue, red) if (seen[1] & arm).sum() >= 200]
    return (seen[0], arms[int(rng.integers(len(arms)))] if arms else seen[1], *seen[2:])


def flattened(scene: Scene, flux: Any, good: Any) -> Flat | None:
    """Return a spectrum flattened, nothing where there is too little of it."""
    if good.sum() < 150:
        return None
    try:
        return flatten(scene.measured(flux, good))
    except NightpipeError:
        return None


if __name__ == "__main__":
    main()
