"""What the classifier is trained on: made spectra have their lines where they should, and no star meets itself."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from builders.benches import BENCH, benchmark
from builders.templates import shape, small_bank
from nightpipe.io.banks import SAGE
from nightpipe.maths.logflux import BINS, LogSpectrum, grid_wave
from nightpipe.model.templates import KINDS

WAVE = grid_wave()


@pytest.fixture
def features(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return benchmark("classifier_features")


@pytest.fixture
def scene(features, tmp_path):
    """A scene of twelve training spectra of Ia and a bank whose last four objects are stars and galaxies."""
    rng = np.random.default_rng(1)
    flux = np.array([shape("Ia", rng) + 0.02 * rng.normal(size=BINS) for _ in range(12)])
    np.savez(tmp_path / "spectra.npz", flux=np.repeat(flux, 2, axis=1))
    with (tmp_path / "meta.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, ("obj", "type", "z"))
        table.writeheader()
        table.writerows({"obj": f"SN{n}", "type": "Ia", "z": 0.02} for n in range(12))
    bank = small_bank()
    star = slice(4, 8)
    types = [*bank.types[:4], *("Star",) * 4, *bank.types[8:]]
    subtypes = [*bank.subtypes[:4], *("M-star",) * 4, *bank.subtypes[8:]]
    objects = [*bank.objects[:4], *("mstar",) * 4, *bank.objects[8:]]
    assert len(bank.objects[star]) == 4
    bank = replace(bank, types=tuple(types), subtypes=tuple(subtypes), objects=tuple(objects), sources=(SAGE,) * 12)
    return features.Scene(tmp_path, bank, np.array([shape("Galaxy", rng)]))


def made(features, scene, name, seeds=40):
    """Return so many raw spectra of a maker."""
    for maker in features.MAKERS:
        if maker.__name__ == name:
            for seed in range(seeds):
                scene.rng = np.random.default_rng(seed)
                yield maker(scene)


def contrast(one, line, half, away):
    """Return the light about a line over that at its sides."""
    at, sides = np.abs(WAVE - line) < half, np.abs(np.abs(WAVE - line) - away) < 0.4 * away
    return float(np.nanmean(one.flux[at]) / np.nanmean(one.flux[sides]))


def test_quasars_shine_in_their_lines_at_all_redshifts(features, scene):
    quasars = list(made(features, scene, "quasar"))
    assert min(one.z for one in quasars) < 0.5
    assert max(one.z for one in quasars) > 3.0
    for one in quasars:
        assert np.isfinite(one.flux).all()
        assert (one.flux > 0).all()
        assert one.kind == "AGN"
        if 1.3 < one.z < 2.6:
            assert contrast(one, 1905.9 * (1 + one.z), 15 * (1 + one.z), 110 * (1 + one.z)) > 1.02
        if one.z < 0.4:
            assert contrast(one, 6564.6 * (1 + one.z), 30, 300) > 1.3
        if one.z > 2.8:  # the forest, and Ly alpha itself
            assert contrast(one, 1215.7 * (1 + one.z), 20, 250) > 1.2
            assert np.std(np.diff(np.log(one.flux[1100 * (1 + one.z) > WAVE]))) > 0.03


def test_white_dwarfs_absorb_hydrogen_or_helium_at_rest(features, scene):
    seen = [
        (contrast(one, 4861.3, 10, 150), contrast(one, 4471.5, 8, 60)) for one in made(features, scene, "white_dwarf")
    ]
    hydrogen = [balmer < helium for balmer, helium in seen]
    assert all(min(pair) < 0.97 for pair in seen)
    assert 0.3 < np.mean(hydrogen) < 0.9


def test_variables_shine_or_absorb_in_hydrogen(features, scene):
    seen = np.array([contrast(one, 4861.3, 12, 150) for one in made(features, scene, "variable", 60)])
    assert np.mean(seen > 1.05) > 0.4
    assert np.mean(seen < 0.99) > 0.1


def test_what_shows_no_redshift_has_none_among_those_looked_for(features, scene):
    for one in made(features, scene, "featureless"):
        assert one.z == 0.0 if one.kind == "Star" else one.z > 1.0


def test_a_star_does_not_meet_itself_but_its_like(features, scene):
    rows = np.flatnonzero(scene.kinds == "Star")
    for one in made(features, scene, "cool_star", 5):
        assert one.row in rows
    scene.rng = np.random.default_rng(0)
    *_, z, kind, own, hidden = features.spectrum(scene, "bank", int(rows[1]))
    assert (kind, hidden) == ("Star", rows[1])
    assert abs(z) < 0.002
    assert own == (f"mstar {rows[1]}",)  # an object of its own: the others of that name stay in the bank
    *_, own, hidden = features.spectrum(scene, "bank", 0)
    assert (own, hidden) == (("ia0",), -1)


def test_an_arm_ends_between_blue_and_red(features, scene):
    for number in range(5):
        scene.rng = np.random.default_rng(number)
        _, good, z, kind, own, _ = features.spectrum(scene, "arm", number)
        assert (z, kind) == (0.02, "Ia")
        assert own[0].isdigit()
        seen = WAVE[good]
        assert seen[-1] < 6000 or seen[0] > 5300


def test_others_get_ranges_and_noise_of_published_spectra(features, scene):
    names = set()
    for number in (0, 499, 500, 760, 970, 1200):
        scene.rng = np.random.default_rng(number)
        flux, good, _, kind, own, _ = features.spectrum(scene, "other", number)
        assert np.isfinite(flux[good]).all()
        assert good.sum() > 150
        assert kind in ("AGN", "Star")
        names.add(own[0].split()[0])
    assert names == {"quasar", "variable", "cool_star", "white_dwarf", "featureless"}


def test_a_galaxy_shows_its_lines_at_the_redshift_that_it_is_moved_to(scene):
    flux, good, off = 5.0 * shape("Galaxy"), np.ones(BINS, dtype=bool), []
    for seed in range(10):
        scene.rng = np.random.default_rng(seed)
        moved, there, z = scene.elsewhere(flux, good, 0.0)
        line = np.abs(WAVE - 5007.0 * (1.0 + z)) < 60.0
        if there[line].all():
            off.append(WAVE[line][np.argmax(moved[line])] - 5007.0 * (1.0 + z))
    assert len(off) >= 5
    assert abs(np.median(off)) < 4.0  # half a bin
    assert np.abs(off).max() < 21.0  # noise and smoothing move a peak by up to three


def test_the_fit_of_populations_tells_a_galaxys_redshift(features):
    """Two populations with their lines, noise, and a slope that neither has."""
    collections = benchmark("classifier_collections")
    rng = np.random.default_rng(3)
    parts = np.array([shape("Galaxy", rng) * (WAVE / 5500.0) ** power for power in (1.0, -1.0)])
    for z in (0.03, 0.21):
        lag = np.log1p(z) / np.log(WAVE[1] / WAVE[0])
        seen = np.interp(np.arange(BINS) - lag, np.arange(BINS), 0.7 * parts[0] + 0.3 * parts[1])
        flux = seen + 0.3 * (WAVE / 6000.0 - 1.0) + 0.05 * rng.normal(size=BINS)
        good = (WAVE > 3900.0) & (WAVE < 9000.0)
        found = collections.fitted(LogSpectrum(flux, np.full(BINS, 0.0025), good), parts)
        assert found.z == pytest.approx(z, abs=0.0006)
        assert found.better > collections.CERTAIN
        assert found.chi2 < 1.5
        assert found.parts[0] > found.parts[1]


def test_noise_has_no_certain_redshift(features):
    collections = benchmark("classifier_collections")
    rng = np.random.default_rng(4)
    flux = 1.0 + 0.2 * rng.normal(size=BINS)
    spectrum = LogSpectrum(flux, np.full(BINS, 0.04), np.ones(BINS, dtype=bool))
    assert collections.fitted(spectrum, np.array([shape("Galaxy")])).better < collections.CERTAIN


def test_spectra_in_text_of_any_head_and_order(features):
    collections = benchmark("classifier_collections")
    found = collections.table("# wave flux\nlambda, f\n5000, 2.0\n4000 1.0 0.1\n4500 nan\n4000 1.5\n")
    assert found.tolist() == [[4000.0, 1.5], [5000.0, 2.0]]


def test_a_label_without_a_subtype_speaks_for_the_common_one_if_no_bank_knows_better(features):
    train = benchmark("classifier_train")
    plain, known = train.allowed("Ia", None), train.allowed("Ia", "Ia-91bg")
    assert KINDS[int(np.argmax(plain))] == "Ia"
    assert 0 < plain[KINDS.index("Ia-91T")] < 0.2
    assert known.tolist() == [float(kind == "Ia-91bg") for kind in KINDS]
    assert train.allowed("IIn", "II").tolist() == [float(kind == "IIn") for kind in KINDS]
