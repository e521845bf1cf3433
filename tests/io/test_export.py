"""Products: written whole, read back equal, readable by others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from builders import field
from builders.object import exposures
from builders.waves import solution
from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import StoreError, UnreadableFileError
from nightpipe.io import codec, export
from nightpipe.io.cards import OWN
from nightpipe.io.interop import fits_unit
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame
from nightpipe.steps.spectra.coadd import Coadd

HEADER = {
    "OBJECT": "qso",
    "NAXIS1": 2148,
    "CRVAL1": 1.0,
    "CD1_1": 0.2,
    "BZERO": 32768,
    "DATASEC": "[1:10]",
    "RA": 188.2,
    "GAIN": 0.16,
    "OBSERVER": "J\u00f8rgen",
    "HIERARCH ESO X": "kept",
    "ALGRNM": "Grism_#4",
    "LONG": "x" * 150,
    "NOTANUMB": float("nan"),
    "SHOUT": True,
}


@pytest.fixture
def spectra():
    first = (
        Coadd(resample=True)
        .run(exposures(2))
        .but(header=HEADER, caveats=(Caveat("flat.missing", "No flat field was found."),))
    )
    first = first.but(meta=first.meta | dict.fromkeys(OWN, 1.234567890123456))
    mask = first.mask.copy()
    mask[[0, 5]] |= np.uint32(Flag.COSMIC)
    mask[10] |= np.uint32(Flag.NO_FLUX)
    second = exposures(1, seed=9, name="neighbour")[0].but(boxcar=None, boxcar_var=None)
    return first.but(mask=mask), second


def test_spectra_come_back_equal(tmp_path, spectra):
    export.write_spectra(tmp_path / "a.fits", spectra, record='{"steps": []}', reducer="me")
    for ours, back in zip(spectra, export.read_spectra(tmp_path / "a.fits"), strict=True):
        for name in ("wave", "flux", "mask", "sky", "fwhm", "boxcar", "correlation"):
            one, other = getattr(ours, name), getattr(back, name)
            assert (one is None and other is None) or np.array_equal(one, other), name
        assert np.allclose(ours.var, back.var, rtol=1e-14)
        assert back.mask.dtype == np.uint32
        assert back.meta == ours.meta
        assert back.exposure == ours.exposure
        assert back.caveats == ours.caveats
        assert (back.name, back.unit) == (ours.name, ours.unit)


def test_file_is_a_fits_file_that_others_can_read(tmp_path, spectra):
    from astropy.io import fits
    from astropy.table import Table

    export.write_spectra(tmp_path / "a.fits", spectra, record='{"steps": []}', reducer="me")
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "OBJ1", "OBJ2", "FACTS", "RECORD"]
        assert all("CHECKSUM" in hdu.header for hdu in hdus)
        table = hdus["OBJ1"]
        assert table.columns.names == ["WAVE", "FLUX", "ERR", "MASK", "SKY", "FWHM", "BOXCAR", "BOXERR", "CORR"]
        assert table.columns["FLUX"].unit == "erg s-1 cm-2 Angstrom-1"
        head = table.header
        assert (head["ALGRNM"], head["GAIN"], head["ESO X"], head["SHOUT"]) == ("Grism_#4", 0.16, "kept", True)
        assert head["OBSERVER"] == "J?rgen"
        assert head["LONG"] == "x" * 150
        assert not {"CRVAL1", "CD1_1", "DATASEC", "NOTANUMB"} & set(head)
        assert head["CAVEAT1"] == "flat.missing: No flat field was found."
        assert (head["SPECSYS"], head["SNR"], head["FLUXCAL"]) == ("TOPOCENT", 1.234567890123456, "ABSOLUTE")
        assert head["MBIT3"] == "COSMIC"
        assert hdus[0].header["REDUCER"] == "me"
        assert hdus[0].header["NOBJ"] == 2
    assert Table.read(tmp_path / "a.fits", hdu=1)["WAVE"].unit == "Angstrom"
    assert json.loads(codec.load_record(tmp_path / "a.fits")) == {"steps": []}


def test_a_class_is_put_into_the_header_of_its_object_alone(tmp_path, spectra):
    from astropy.io import fits

    path = tmp_path / "a.fits"
    export.write_spectra(path, spectra, record='{"steps": []}', reducer="me")
    for kind in ("II", "Ia"):
        export.write_cards(path, spectra[1].name, {"SNIDTYPE": kind, "SNIDRLAP": 8.25})
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert "SNIDTYPE" not in hdus["OBJ1"].header
        head = hdus["OBJ2"].header
        assert (head["SNIDTYPE"], head.count("SNIDTYPE"), head["SNIDRLAP"]) == ("Ia", 1, 8.25)
        assert hdus[0].header["REDUCER"] == "me"
    export.write_cards(path, spectra[1].name, {"SNIDTYPE": "NONE"}, ("SNID",))
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus["OBJ2"].header["SNIDTYPE"] == "NONE"
        assert "SNIDRLAP" not in hdus["OBJ2"].header
    for ours, back in zip(spectra, export.read_spectra(path), strict=True):
        assert np.array_equal(ours.flux, back.flux)
    assert json.loads(codec.load_record(path)) == {"steps": []}


def test_no_objects_is_a_file_too(tmp_path):
    export.write_spectra(tmp_path / "none.fits", ())
    assert export.read_spectra(tmp_path / "none.fits") == ()


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "x.fits").write_text("not fits")
    with pytest.raises(UnreadableFileError):
        export.read_spectra(tmp_path / "x.fits")


def test_unwritable_folder_is_named(tmp_path, spectra):
    with pytest.raises(StoreError):
        export.write_spectra(tmp_path / "absent" / "a.fits", spectra)


def test_text_has_the_error_and_the_key_facts(tmp_path, spectra):
    spectrum = spectra[0]
    export.write_ascii(tmp_path / "a.txt", spectrum)
    lines = (tmp_path / "a.txt").read_text().splitlines()
    head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    assert all(line.startswith("# ") for line in lines[: len(lines) - len(spectrum.wave) + 3])
    assert head["TARGET"] == "qso"
    assert float(head["EXPTIME"]) == 1800.0
    assert head["WAVELENGTH"] == "vacuum, topocentric"
    assert head["CAVEAT"].startswith("flat.missing")
    wave, flux, error = np.loadtxt(tmp_path / "a.txt", unpack=True)
    keep = np.ones(len(spectrum.wave), dtype=bool)
    keep[[0, 5, 10]] = False
    assert np.allclose(wave, spectrum.wave[keep], atol=1e-4)
    assert np.allclose(flux, spectrum.flux[keep], rtol=1e-5)
    assert np.allclose(error, np.sqrt(spectrum.var[keep]), rtol=1e-5)


def test_uncalibrated_text_keeps_its_bins(tmp_path, spectra):
    counts = spectra[1].but(unit="electron/s/Angstrom", mask=np.full(700, np.uint32(Flag.NO_FLUX)))
    export.write_ascii(tmp_path / "a.txt", counts)
    assert len(np.loadtxt(tmp_path / "a.txt")) == 700


def frame():
    rng = np.random.default_rng(1)
    data = rng.normal(10.0, 1.0, (20, 30)).astype(np.float32)
    mask = np.zeros((20, 30), dtype=np.uint32)
    mask[3, 4] = np.uint32(Flag.COSMIC)
    exposure = exposures(1)[0].exposure
    return Frame(
        data, np.ones((20, 30), np.float32), mask, "1e-17 erg/s/cm2/Angstrom", exposure=exposure, header=HEADER
    )


def test_image_keeps_variance_mask_and_wavelength(tmp_path):
    from astropy.io import fits

    export.write_image(tmp_path / "i.fits", frame(), solution((20, 30)), record="{}")
    with fits.open(tmp_path / "i.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SCI", "VAR", "MASK", "WAVE", "RECORD"]
        assert np.array_equal(hdus["SCI"].data, frame().data)
        assert hdus["MASK"].data[3, 4] == int(Flag.COSMIC)
        assert hdus["SCI"].header["BUNIT"] == "10**(-17) erg s-1 cm-2 Angstrom-1"
        assert np.allclose(hdus["WAVE"].data, solution((20, 30)).map())


def test_units_as_the_standard_writes_them():
    assert fits_unit("erg/s/cm2/Angstrom") == "erg s-1 cm-2 Angstrom-1"
    assert fits_unit("electron/s/Angstrom") == "electron s-1 Angstrom-1"
    assert fits_unit("1e-17 erg/s/cm2/Angstrom") == "10**(-17) erg s-1 cm-2 Angstrom-1"
    assert fits_unit("electron") == "electron"
    assert fits_unit("electron", power=2) == "electron2"
    assert fits_unit("1e-17 erg/s/cm2/Angstrom", power=2) == "10**(-34) erg2 s-2 cm-4 Angstrom-2"
    assert fits_unit("") == ""


def test_astropy_containers_agree(spectra):
    table = export.to_table(spectra[0])
    assert table["flux"].unit.to_string() == "erg / (Angstrom s cm2)"
    assert np.array_equal(table["wave"].value, spectra[0].wave)
    image = export.to_ccddata(frame())
    assert np.array_equal(image.data, frame().data)
    assert image.mask[3, 4]
    assert not image.mask[0, 0]
    assert image.uncertainty.array[0, 0] == 1.0
    flat = export.to_ccddata(replace(frame(), unit=""))
    assert flat.unit.to_string() == ""


@pytest.mark.peer
def test_specutils_agrees(spectra):
    pytest.importorskip("specutils")
    peer = export.to_specutils(spectra[0])
    assert np.allclose(peer.flux.value, spectra[0].flux)
    assert np.allclose(peer.spectral_axis.value, spectra[0].wave)
    assert peer.spectral_axis.unit.to_string() == "Angstrom"
    assert np.array_equal(~peer.mask, spectra[0].good)
    assert np.allclose(peer.uncertainty.array, spectra[0].err)


def test_a_graded_spectrum_has_its_quality_in_table_and_text(tmp_path):
    from astropy.io import fits

    meta = {"quality": 2, "reasons": 1 | 1 << 13, "placed": "header", "extraction": "psf", "chosen": "it fits"}
    spectrum = field.spectrum().but(meta=meta | {"verdict": "only the host"})
    export.write_spectra(tmp_path / "a.fits", (spectrum,))
    export.write_ascii(tmp_path / "a.txt", spectrum)
    head, text = fits.getheader(tmp_path / "a.fits", "OBJ1"), (tmp_path / "a.txt").read_text()
    wanted = {"QUALITY": 2, "QREASON": 8193, "QWHY": "faint,pointing", "VERDICT": "only the host", "PLACED": "header"}
    assert {card: head[card] for card in wanted} == wanted
    assert "# QUALITY: 2\n" in text
    assert "# QWHY: faint,pointing\n" in text
