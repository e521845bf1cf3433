from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits

from builders.templates import seen
from nightpipe.base.errors import UnreadableFileError
from nightpipe.io.anyspectrum import read_any
from nightpipe.maths.air import to_air
from nightpipe.maths.logflux import to_log

WAVE, FLUX, ERROR = seen("Ia", 0.05)


def saved(path, *columns, head=""):
    np.savetxt(path, np.array(columns).T, header=head)
    return path


def codes(found):
    return {caveat.code for caveat in found.caveats}


def test_two_and_three_columns(tmp_path):
    two = read_any(saved(tmp_path / "a.txt", WAVE, FLUX))
    assert not two.measured
    three = read_any(saved(tmp_path / "b.txt", WAVE, FLUX, ERROR, head="INSTRUME: SEDM"))
    assert three.measured
    assert np.allclose(three.var, ERROR**2)
    assert three.header["INSTRUME"] == "SEDM"
    assert codes(two) == codes(three) == set()


@pytest.mark.parametrize(("factor", "name"), [(1e-4, "micrometres"), (0.1, "nanometres")])
def test_other_units(tmp_path, factor, name):
    found = read_any(saved(tmp_path / "a.txt", WAVE * factor, FLUX))
    assert np.allclose(found.wave, WAVE)
    assert name in found.caveats[0].text


def test_descending_and_repeated(tmp_path):
    found = read_any(saved(tmp_path / "a.txt", WAVE[::-1], FLUX[::-1]))
    assert np.allclose(found.flux, FLUX)
    assert codes(found) == {"spectrum.descending"}
    again = read_any(saved(tmp_path / "b.txt", np.repeat(WAVE, 2), np.repeat(FLUX, 2)))
    assert np.allclose(again.wave, WAVE)


def test_more_units(tmp_path):
    for name, values, unit in (("a", WAVE * 1e-10, "metres"), ("b", np.log10(WAVE), "logarithms")):
        found = read_any(saved(tmp_path / f"{name}.txt", values, FLUX))
        assert np.allclose(found.wave, WAVE)
        assert unit in found.caveats[0].text
    with pytest.raises(UnreadableFileError, match="pixels"):
        read_any(saved(tmp_path / "c.txt", np.arange(len(FLUX)), FLUX))


def test_no_order(tmp_path):
    mixed = np.random.default_rng(1).permutation(len(WAVE))
    found = read_any(saved(tmp_path / "a.txt", WAVE[mixed], FLUX[mixed]))
    assert np.allclose(found.flux, FLUX)
    assert codes(found) == {"spectrum.order"}


def test_gaps_are_told(tmp_path):
    kept = (WAVE < 5000) | (WAVE > 5300)
    found = read_any(saved(tmp_path / "a.txt", WAVE[kept], FLUX[kept]))
    assert codes(found) == {"spectrum.gap"}
    assert "from 4996 to 5304" in found.caveats[0].text
    assert found.wave[~found.good].tolist() == [5000.0, 5300.0]  # so that the bins beside it do not widen
    assert np.allclose(found.flux[found.good], FLUX[kept])
    assert np.allclose(
        np.sqrt(read_any(saved(tmp_path / "d.txt", WAVE[kept], FLUX[kept], ERROR[kept])).var).max(), ERROR.max()
    )
    masked = to_log(WAVE, FLUX, None, kept)
    missing = to_log(found.wave, found.flux, None, found.good)
    assert missing.good.tolist() == masked.good.tolist()
    assert np.allclose(missing.flux, masked.flux)
    flux = np.where(kept, FLUX, 0.0)
    zeros = read_any(saved(tmp_path / "b.txt", WAVE, flux))
    assert codes(zeros) == {"spectrum.gap", "spectrum.empty"}
    assert zeros.good.tolist() == kept.tolist()
    few = read_any(saved(tmp_path / "c.txt", WAVE, np.where(np.abs(WAVE - 5000) < 6, 0.0, FLUX)))
    assert codes(few) == set()


def test_spikes_and_a_saturated_top(tmp_path):
    flux = FLUX.copy()
    flux[[40, 90]] += 20.0 * FLUX.max()
    found = read_any(saved(tmp_path / "a.txt", WAVE, flux))
    assert np.flatnonzero(~found.good).tolist() == [40, 90]
    assert codes(found) == {"spectrum.spikes"}
    top = read_any(saved(tmp_path / "b.txt", WAVE, np.minimum(FLUX, 0.6 * FLUX.max())))
    assert codes(top) == {"spectrum.saturated"}
    with pytest.raises(UnreadableFileError, match="zero flux"):
        read_any(saved(tmp_path / "c.txt", WAVE, np.zeros_like(FLUX)))


@pytest.mark.parametrize("other", [1.0 / ERROR**2, 3000.0 * FLUX])
def test_a_third_column_that_is_no_error(tmp_path, other):
    found = read_any(saved(tmp_path / "a.txt", WAVE, FLUX, other))
    assert codes(found) == {"spectrum.errors"}
    assert not found.measured
    noisy = read_any(saved(tmp_path / "b.txt", WAVE, *seen("Ia", 0.05, snr=0.1)[1:]))
    assert noisy.measured


def test_semicolons_and_compressed_files(tmp_path):
    lines = [f"{w:.2f};{f:.4e}" for w, f in zip(WAVE, FLUX, strict=True)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    assert np.allclose(read_any(tmp_path / "a.txt").wave, WAVE)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress((tmp_path / "a.txt").read_bytes()))
    with pytest.raises(UnreadableFileError, match="gunzip"):
        read_any(tmp_path / "a.txt.gz")


def test_vacuum_becomes_air(tmp_path):
    found = read_any(saved(tmp_path / "a.txt", WAVE, FLUX, head="WAVELENGTH: vacuum, topocentric"))
    assert np.allclose(found.wave, to_air(WAVE))


def test_not_finite(tmp_path):
    flux = FLUX.copy()
    flux[[3, 50]] = np.nan, np.inf
    found = read_any(saved(tmp_path / "a.txt", WAVE, flux))
    assert (~found.good).sum() == 2
    assert np.isfinite(found.flux).all()
    assert codes(found) == {"spectrum.not_finite"}
    wave = WAVE.copy()
    wave[[3, 50]] = np.nan, np.inf
    found = read_any(saved(tmp_path / "b.txt", wave, FLUX))
    assert len(found.wave) == len(WAVE) - 2
    assert codes(found) == {"spectrum.not_finite"}


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_bad_errors(tmp_path, bad):
    error = ERROR.copy()
    error[:10] = bad
    found = read_any(saved(tmp_path / "a.txt", WAVE, FLUX, error))
    assert (~found.good).sum() == 10
    assert codes(found) == {"spectrum.errors"}
    none = read_any(saved(tmp_path / "b.txt", WAVE, FLUX, np.full_like(ERROR, bad)))
    assert not none.measured
    assert none.good.all()


def test_a_column_of_variances(tmp_path):
    found = read_any(saved(tmp_path / "a.txt", WAVE, FLUX, ERROR**2))
    assert np.allclose(found.var, ERROR**2)
    assert codes(found) == {"spectrum.variance"}


def test_ten_points_nothing_words_and_absence(tmp_path):
    with pytest.raises(UnreadableFileError, match="10 points"):
        read_any(saved(tmp_path / "a.txt", WAVE[:10], FLUX[:10]))
    (tmp_path / "b.txt").write_text("# nothing\n")
    with pytest.raises(UnreadableFileError, match="two columns"):
        read_any(tmp_path / "b.txt")
    (tmp_path / "c.txt").write_text("wave flux\n" + "4000 1\n" * 50 + "5000 many\n")
    with pytest.raises(UnreadableFileError, match="many"):
        read_any(tmp_path / "c.txt")
    with pytest.raises(UnreadableFileError, match="no such file"):
        read_any(tmp_path / "none.txt")


def test_commas_and_names(tmp_path):
    lines = ["wavelength,flux,err"] + [f"{w:.2f},{f:.4e},{e:.4e}" for w, f, e in zip(WAVE, FLUX, ERROR, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert np.allclose(read_any(tmp_path / "a.csv").wave, WAVE)


def test_decimal_commas(tmp_path):
    lines = [f"{w:.2f} {f:.4e} {e:.4e}".replace(".", ",") for w, f, e in zip(WAVE, FLUX, ERROR, strict=True)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    found = read_any(tmp_path / "a.txt")
    assert np.allclose(found.wave, WAVE)
    assert np.allclose(found.flux, FLUX, rtol=1e-3)
    assert np.allclose(np.sqrt(found.var), ERROR, rtol=1e-3)


def test_fits_image_and_table(tmp_path):
    head = fits.Header({"CRVAL1": WAVE[0], "CDELT1": 4.0, "CRPIX1": 1.0})
    fits.PrimaryHDU(FLUX, head).writeto(tmp_path / "a.fits")
    found = read_any(tmp_path / "a.fits")
    assert np.allclose(found.wave, WAVE)
    bands = np.array([FLUX, FLUX, FLUX, ERROR])[:, None, :]
    fits.PrimaryHDU(bands, head).writeto(tmp_path / "b.fits")
    assert np.allclose(read_any(tmp_path / "b.fits").var, ERROR**2)
    columns = [fits.Column(n, "D", array=a) for n, a in (("WAVE", WAVE / 10), ("FLUX", FLUX), ("ERR", ERROR))]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(tmp_path / "c.fits")
    found = read_any(tmp_path / "c.fits")
    assert np.allclose(found.wave, WAVE)
    assert found.measured
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(tmp_path / "d.fits")
    with pytest.raises(UnreadableFileError, match="CRVAL1"):
        read_any(tmp_path / "d.fits")
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "e.fits").write_bytes(content[:4000])
    with pytest.raises(UnreadableFileError):
        read_any(tmp_path / "e.fits")
