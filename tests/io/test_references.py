"""Standards, extinction and line lists of the package."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io.references import (
    extinction,
    find_standard,
    line_list,
    match_standard,
    published_extinction,
    sites,
    sky_lines,
    standards,
)
from nightpipe.io.standards import entries
from nightpipe.io.tables import facts, folder
from nightpipe.maths.features import STRONG_TELLURIC, in_bands
from nightpipe.model.exposure import Site


@pytest.mark.parametrize(
    ("written", "star"),
    [
        ("BD+28d4211", "BD+28 4211"),
        ("BD_28D4211", "BD+28 4211"),
        ("feige66", "Feige 66"),
        ("Feige-110 std", "Feige 110"),
        ("SP0946+139", "HD 84937"),
        ("SP0947+138", "HD 84937"),
        ("SP2317-054", "Feige 110"),
        ("HILT102", "Hiltner 102"),
        ("GD71_slit2", "GD 71"),
        ("g191b2b", "G191-B2B"),
        ("HZ 44", "HZ 44"),
        ("wolf 1346", "Wolf 1346"),
        ("EG 274", "EG 274"),
    ],
)
def test_names_as_observers_write_them(written, star):
    found = find_standard(written)
    assert found is not None
    assert found.name == star


TCS = {
    "SP0305+261": "HD 19445",
    "SP0644+375": "He 3",
    "SP0946+139": "HD 84937",
    "SP1036+433": "Feige 34",
    "SP1045+378": "HD 93521",
    "SP1446+259": "BD+26 2606",
    "SP1550+330": "BD+33 2642",
    "SP2032+248": "Wolf 1346",
    "SP2209+178": "BD+17 4708",
    "SP2317-054": "Feige 110",
    "SP0642+021": "Hiltner 600",
    "SP0501+527": "G191-B2B",
    "SP2148+286": "BD+28 4211",
}


@pytest.mark.parametrize("name", TCS)
def test_every_name_of_the_telescope_on_la_palma(name):
    found = find_standard(name)
    assert found is not None
    assert found.name == TCS[name]


def test_strangers_are_not_recognised():
    for name in ("GQ125005+280041", "M51", "SN2020abc", "SP1234", "", "feige"):
        assert find_standard(name) is None
    assert find_standard("sky", 10.0, 10.0) is None


def test_pointing_decides_against_a_stale_name():
    found = match_standard("Feige 34", 147.24, 13.74)
    assert found is not None
    assert found.standard.name == "HD 84937"
    assert [caveat.code for caveat in found.caveats] == ["standard.name"]


def test_name_with_coordinates_of_another_equinox_keeps_the_star_and_says_so():
    found = match_standard("SP0946+139", 146.55, 13.98)
    assert found is not None
    assert found.by == "name"
    assert found.separation == pytest.approx(42.4, abs=1.0)
    assert found.caveats[0].code == "standard.position"


def test_proper_motion_moves_a_fast_star():
    star = find_standard("LTT 3218")
    assert star is not None
    entry = next(entry for entry in entries() if entry.name == star.name)
    later = star.dec + star.pm[1] * 40.0 / 3.6e6
    east = star.ra + star.pm[0] * 40.0 / 3.6e6 / np.cos(np.radians(star.dec))
    assert entry.separation(east, later, 51544.5 + 40 * 365.25) < 0.01
    assert entry.separation(east, later) == pytest.approx(np.hypot(1.054, 1.354) * 40 / 60, rel=0.01)


def test_every_standard_is_sound_and_cites_its_source():
    library = standards()
    assert len(library) > 100
    for star in library:
        assert np.all(np.diff(star.wave) > 0), star.name
        assert np.all(np.isfinite(star.flux)), star.name
        assert np.all(star.flux > 0), star.name
        assert np.all(star.width > 0), star.name
        assert len(star.source) > 10, star.name
        assert 0 <= star.ra < 360, star.name
    names = [entry.names for entry in entries()]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert not first & second


def test_catalogue_names_agree_with_positions():
    """SPhhmm+ddd is the position for 1950: precession of fifty years is 0.64 degree at most in each star."""
    for entry in entries():
        alias = next(name for name in facts(entry.path)["aliases"].split(";") if name.strip().startswith("SP"))
        hours = int(alias.strip()[2:4]) + int(alias.strip()[4:6]) / 60
        degrees = int(alias.strip()[6:]) / 10
        assert abs((entry.ra - hours * 15 + 180) % 360 - 180) * np.cos(np.radians(entry.dec)) < 1.0, entry.name
        assert abs(entry.dec - degrees) < 0.45, entry.name


def test_a_few_arcminutes_of_pointing_error_are_no_caveat_for_a_star_known_by_name():
    found = match_standard("Feige 66", 189.404, 25.066)
    assert found is not None
    assert found.by == "name"
    assert found.separation == pytest.approx(3.0, abs=0.2)
    assert found.caveats == ()


def test_the_library_is_small():
    assert sum(path.stat().st_size for path in folder("standards").glob("*")) < 4_000_000


@pytest.mark.real
@pytest.mark.parametrize(
    ("star", "file"),
    [
        ("BD+28 4211", "bd_28d4211_stis_005"),
        ("Feige 66", "feige66_002"),
        ("GD 71", "gd71_stiswfcnic_004"),
        ("BD+17 4708", "bd_17d4708_stisnic_007"),
    ],
)
def test_tables_are_the_means_of_the_originals(shared_data, star, file):
    from astropy.io import fits

    table = fits.getdata(shared_data("standards") / "calspec" / f"{file}.fits.gz", 1)
    wave, flux = np.asarray(table["WAVELENGTH"], float), np.asarray(table["FLUX"], float)
    ours = find_standard(star)
    assert ours is not None
    for low, high in ((3500, 4000), (5000, 5300), (6000, 7000), (8000, 9000)):
        fine = np.arange(low, high, 0.1)
        inside = (ours.wave > low) & (ours.wave < high)
        assert np.mean(ours.flux[inside]) == pytest.approx(np.mean(np.interp(fine, wave, flux)), rel=0.004)


@pytest.mark.real
def test_two_independent_tables_of_one_star_agree(shared_data):
    """Oke & Gunn's bands of BD+26 2606 against CALSPEC: frame (air or vacuum), zero point and bands are right."""
    from nightpipe.maths.air import to_vacuum

    lines = (shared_data("standards") / "ing" / "mSP1446p259.dat").read_text(errors="replace").splitlines()
    rows = np.array([[float(word) for word in line.split()[:2]] for line in lines if line.strip()[:1].isdigit()])
    wave = to_vacuum(rows[:, 0])
    flux = 10 ** (-0.4 * (rows[:, 1] + 48.60)) * 2.99792458e18 / wave**2
    ours = find_standard("BD+26 2606")
    assert ours is not None
    inside = (wave > 4000) & (wave < 10000)
    bands = [np.mean(ours.flux[np.abs(ours.wave - centre) <= 20.0]) for centre in wave[inside]]
    ratio = np.array(bands) / flux[inside]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02)
    assert np.std(ratio) < 0.03


@pytest.mark.parametrize("site", sites())
def test_physical_model_follows_the_published_curve(site):
    model = extinction(site)
    assert model is not None
    wave, magnitude = published_extinction(site)
    residual = np.interp(wave, model.wave, model.magnitude) - magnitude
    clear = (wave > 3400) & ~in_bands(wave, STRONG_TELLURIC)
    assert np.sqrt(np.mean(residual[clear] ** 2)) < 0.01
    assert np.max(np.abs(residual[clear])) < 0.025
    assert 150 < model.terms["ozone_dobson"] < 350
    assert len(model.source) > 10


def test_ozone_of_mauna_kea_is_what_its_authors_found():
    """Buton et al. 2013 (A&A 549, A8) give 257 Dobson units for the mean of their site."""
    model = extinction("Mauna Kea")
    assert model is not None
    assert model.terms["ozone_dobson"] == pytest.approx(257, abs=5)


def test_sites_by_position_by_alias_and_unknown_ones():
    near = extinction(Site("some telescope", -17.88, 28.757, 2382.0))
    assert near is not None
    assert near.site == "La Palma"
    palomar = extinction("P200")
    assert palomar is not None
    assert palomar.site == "Palomar"
    assert extinction("atlantis") is None
    generic = extinction(Site("Atlantis", -30.0, 30.0, 3000.0))
    assert generic is not None
    assert generic.terms["generic"] == 1.0
    assert near.terms.get("generic") is None


def test_lines_of_mixed_lamps():
    mixed = line_list(("HeNe",))
    assert mixed.wave.tolist() == line_list(("He", "Ne")).wave.tolist()
    assert np.all(np.diff(mixed.wave) >= 0)
    assert {species[:2] for species in mixed.species} == {"He", "Ne"}
    assert np.min(np.abs(mixed.wave - 5877.25)) < 0.1
    assert len(line_list(("Hg-Cd",)).wave) > 10
    assert np.min(np.abs(sky_lines().wave - 5578.89)) < 0.05


@pytest.mark.parametrize("lamps", [(), ("Plutonium",), ("PuNe",)])
def test_lamps_without_a_list_say_what_is_known(lamps):
    with pytest.raises(ReferenceMissingError):
        line_list(lamps)
