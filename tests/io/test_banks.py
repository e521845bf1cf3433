from __future__ import annotations

import csv
from dataclasses import replace

import h5py
import numpy as np
import pytest

from builders.templates import seen, small_bank
from nightpipe.base.errors import NightpipeError, ReferenceMissingError, UnreadableFileError
from nightpipe.io.banks import (
    NOT_THEMSELVES,
    OWN,
    SAGE,
    from_lnw,
    from_sage,
    from_table,
    galaxies,
    import_bank,
    installed,
    load_banks,
    not_themselves,
    read_bank,
    write_bank,
)
from nightpipe.io.tables import folder
from nightpipe.maths.logflux import BINS, FIRST, LAST, grid_wave
from nightpipe.model.templates import joined, kind_of
from nightpipe.steps.post.evidence import BESIDE, CALIBRATED

BREAK = ((3850, 3950), (4000, 4100))
"""Ranges at both sides of the break at 4000 Angstrom."""


@pytest.mark.parametrize("level", [False, True])
def test_round_trip(tmp_path, level):
    bank = small_bank(level=level)
    write_bank(tmp_path / "a.npb", bank)
    found = read_bank(tmp_path / "a.npb")
    assert isinstance(found.flat, np.memmap)
    assert np.allclose(found.flat, bank.flat, atol=2e-3)
    assert found.objects == bank.objects
    assert found.kinds == bank.kinds
    assert found.has_flux.all() == level
    assert np.array_equal(found.starts, bank.starts)


def test_absent_truncated_and_foreign_files_say_what_to_do(tmp_path):
    with pytest.raises(ReferenceMissingError, match="nightpipe data get templates"):
        read_bank(tmp_path / "none.npb")
    path = tmp_path / "a.npb"
    write_bank(path, small_bank())
    whole = path.read_bytes()
    for content in (whole[:-10], whole[:500], whole[:30], b"not a bank at all", b""):
        path.write_bytes(content)
        with pytest.raises(UnreadableFileError, match="nightpipe data get templates"):
            read_bank(path)


def test_no_bank_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path))
    assert installed() == ()
    with pytest.raises(ReferenceMissingError, match="nightpipe data get templates"):
        load_banks()


def test_sage(tmp_path):
    bank = small_bank(1)
    with h5py.File(tmp_path / "templates_Ia.hdf5", "w") as file:
        group = file.create_group("templates/sn1999xx")
        group.attrs.update({"type": "Ia", "subtype": "Ia-91T"})
        for number, age in enumerate((-3.0, 999999.0)):
            epoch = group.create_group(f"epochs/epoch_{number}")
            epoch.attrs["age"] = age
            epoch["flux"] = bank.flat[0].astype(float)
    found = from_sage(tmp_path)
    assert found.objects == ("sn1999xx",) * 2
    assert found.kinds == ("Ia-91T",) * 2
    assert found.phases[0] == -3.0
    assert np.isnan(found.phases[1])
    (tmp_path / "templates_II.hdf5").write_bytes(b"truncated")
    with pytest.raises(UnreadableFileError, match="SNID-SAGE"):
        from_sage(tmp_path)


def test_templates_that_show_something_else_are_told():
    bank = small_bank()
    names = ("sn2006T", "sn2006T", "OGLE2012sn04", "OGLE2012sn04", "at2018fyk", "at2018fyk", "sn1999xx", "sn2018ec")
    names = (*names, "sn2006T", *bank.objects[len(names) + 1 :])
    phases = np.array([106.5, 297.8, 48.0, 77.0, 68.0, 99.0, 297.8, np.nan, 297.8] + [0.0] * (len(bank) - 9))
    sources = tuple("another bank" if row == 8 else SAGE for row in range(len(bank)))
    found = not_themselves(replace(bank, objects=names, phases=phases, sources=sources))
    assert np.flatnonzero(found).tolist() == [1, 3, 5]


def test_each_says_what_it_shows_instead():
    with (folder("classifier") / NOT_THEMSELVES).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == sorted(rows, key=lambda row: (row["object"].lower(), float(row["first"])))
    for row in rows:
        assert float(row["first"]) <= float(row["last"])
        assert len(row["shows"]) > 10


def lnw(path, flat, level, *, flag=0):
    """Write a template of one epoch as SNID 5.0 does: knots at log10 of their bins, a flag before the ages."""
    knots = np.arange(50, BINS, 78)
    mean = float(np.mean(level[knots]))
    lines = [f"  1 {BINS} {FIRST:.2f} {LAST:.2f} {len(knots)} sn1998zz 1.10 Ia-norm 1 2", f" {len(knots)} {mean:.6f}"]
    lines += [f" {n} {np.log10(knot + 0.5):.4f} {level[knot] - mean:.6f}" for n, knot in enumerate(knots, 1)]
    lines += [f"  {flag}  -2.5"]
    lines += [f" {wave:.3f} {value:.6f}" for wave, value in zip(grid_wave(), flat, strict=True)]
    path.write_text("\n".join(lines) + "\n")


def test_lnw(tmp_path):
    bank = small_bank(1, level=True)
    level = -0.3 + 0.2 * np.linspace(-1, 1, BINS) ** 2
    lnw(tmp_path / "sn1998zz.lnw", bank.flat[0], level)
    found = from_lnw(tmp_path)
    assert found.objects == ("sn1998zz",)
    assert found.subtypes == ("Ia-norm",)
    assert found.phases[0] == -2.5
    assert np.allclose(found.flat[0][1:-1], bank.flat[0][1:-1], atol=1e-4)
    inner = slice(60, 980)
    assert np.allclose(found.level[0][inner], level[inner], atol=0.01)
    assert found.types == ("Ia",)
    lnw(tmp_path / "sn1998zz.lnw", bank.flat[0], level, flag=1)  # an age from discovery is no phase
    assert np.isnan(from_lnw(tmp_path).phases[0])
    (tmp_path / "bad.lnw").write_text("1 2\n")
    with pytest.raises(UnreadableFileError, match=r"bad\.lnw"):
        from_lnw(tmp_path)


def test_the_classifier_knows_the_banks_that_it_was_calibrated_with():
    assert SAGE.startswith(CALIBRATED)
    assert set(galaxies().sources) == {OWN}
    assert OWN.startswith(BESIDE)


def test_galaxies_of_the_package_show_the_lines_of_galaxies():
    """Calcium H and K and the break in the old, the lines of gas in the young, all at rest in air."""
    found, wave = galaxies(), grid_wave()
    flat = np.asarray(found.flat, dtype=float)
    assert set(found.kinds) == {"Galaxy"}
    assert found.has_flux.all()

    def about(row, low, high):
        return row[(wave > low) & (wave < high)]

    for row in flat[:2]:
        assert about(row, 3920, 3950).min() < -0.15
        assert about(row, 3955, 3985).min() < -0.15
        assert about(row, 6540, 6585).max() < 0.25
    for row in flat[-2:]:
        for line in (3728, 5007, 6563):
            near = about(row, line - 40, line + 40)
            assert near.max() > 0.3
            assert wave[(wave > line - 40) & (wave < line + 40)][near.argmax()] == pytest.approx(line, abs=6)
    blue, red = (np.median(10.0 ** np.asarray(found.level)[:, (wave > a) & (wave < b)], 1) for a, b in BREAK)
    assert np.corrcoef(red / blue, np.arange(len(found)))[0, 1] < -0.7


def test_table_of_flux_spectra(tmp_path, monkeypatch):
    rows = []
    for kind, z in (("Ia", 0.03), ("II", 0.01)):
        np.savetxt(tmp_path / f"{kind}.txt", np.array(seen(kind, z)).T)
        rows.append({"file": f"{kind}.txt", "object": f"sn{kind}", "type": kind, "subtype": kind, "z": z, "phase": "3"})
    with (tmp_path / "bank.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = from_table(tmp_path)
    assert found.has_flux.all()
    assert found.kinds == ("II", "Ia")
    monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path / "cache"))
    path = import_bank(tmp_path, "mine")
    assert installed() == (path,)
    both = joined((*load_banks(), small_bank()))
    assert len(both) == 14
    assert both.has_flux.sum() == 2


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(NightpipeError, match="lnw"):
        import_bank(tmp_path)


@pytest.mark.parametrize(
    ("name", "type_", "kind"),
    [("Ia-norm", "Ia", "Ia"), ("IIP", "II", "II"), ("Ic-broad", "Ic", "Ic-BL"), ("Gal-Sb", "Galaxy", "Galaxy"),
     ("", "SLSN-I", "SLSN-I"), ("Ia-xyz", "Ia", "Ia-pec"), ("17gfo", "KN", "other"), ("QSO", "AGN", "AGN")],
)  # fmt: skip
def test_names_of_kinds(name, type_, kind):
    assert kind_of(name, type_) == kind
