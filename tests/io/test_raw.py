"""Raw files: headers without pixels, exact pixels, and clear words about broken files."""

from __future__ import annotations

import gzip
import hashlib
import shutil

import numpy as np
import pytest
from astropy.io import fits

from builders.headers import ALFOSC, KAST, written
from builders.real import load
from nightpipe.base.errors import UnreadableFileError
from nightpipe.io.raw import checksum, is_fits_name, read_headers, read_image


@pytest.fixture(name="frame")
def _frame(tmp_path):
    rng = np.random.default_rng(1)
    data = rng.integers(11000, 900_000, (1051, 400), dtype=np.uint32)
    return written(tmp_path / "a.fits", ALFOSC, data), data


def zipped(path):
    target = path.with_name(path.name + ".gz")
    with path.open("rb") as source, gzip.open(target, "wb") as sink:
        shutil.copyfileobj(source, sink)
    return target


def test_headers_of_all_hdus_as_plain_scalars(frame):
    headers = read_headers(frame[0])
    assert len(headers) == 2
    assert headers[0]["INSTRUME"] == "ALFOSC_FASU"
    assert headers[1]["NAXIS1"] == 400
    assert {type(value) for header in headers for value in header.values()} <= {str, int, float, bool}
    assert headers == read_headers(zipped(frame[0]))


def test_unsigned_pixels_are_exact(frame):
    raw = load(frame[0])
    assert raw.data.dtype == np.float32
    assert raw.data.flags.c_contiguous
    np.testing.assert_array_equal(raw.data, frame[1].astype(np.float64))
    np.testing.assert_array_equal(load(zipped(frame[0])).data, raw.data)
    assert raw.header["GAIN"] == 0.16
    assert raw.header["OBJECT"] == "GQ125005+280041"
    assert "BZERO" not in raw.header


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_every_kind_of_pixel(tmp_path, dtype):
    data = np.arange(12, dtype=dtype).reshape(3, 4)
    fits.PrimaryHDU(data).writeto(tmp_path / "x.fits")
    np.testing.assert_array_equal(read_image(tmp_path / "x.fits"), data.astype(np.float32))


def test_scaled_and_blank_pixels(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[1, 2], [3, -7]], np.int16))
    hdu.header["BLANK"] = -7
    hdu.writeto(tmp_path / "x.fits")
    content = (tmp_path / "x.fits").read_bytes()
    scaled = "BSCALE  = 0.5".ljust(80) + "BZERO   = 100".ljust(80) + "END".ljust(80)
    (tmp_path / "x.fits").write_bytes(content.replace(b"END".ljust(80) + b" " * 160, scaled.encode(), 1))
    np.testing.assert_array_equal(read_image(tmp_path / "x.fits"), [[100.5, 101.0], [101.5, np.nan]])


def test_a_counter_below_zero_wraps_back(tmp_path):
    data = np.array([[2**32 - 17274, 3096], [11600, 700_000]], np.uint32)
    fits.PrimaryHDU(data).writeto(tmp_path / "x.fits")
    np.testing.assert_array_equal(read_image(tmp_path / "x.fits"), [[-17274, 3096], [11600, 700_000]])


def test_compressed_fits(tmp_path):
    data = np.arange(20_000, dtype=np.uint16).reshape(100, 200)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data)]).writeto(tmp_path / "x.fits.fz")
    assert read_headers(tmp_path / "x.fits.fz")[1]["NAXIS1"] == 200
    np.testing.assert_array_equal(read_image(tmp_path / "x.fits.fz"), data)


def test_of_duplicate_cards_the_first_counts(tmp_path):
    path = written(tmp_path / "b.fits", KAST, np.zeros((350, 2112), np.int16))
    content = path.read_bytes()
    twice = "OBSTYPE =                    1".ljust(80) + "END".ljust(80)
    path.write_bytes(content.replace(b"END".ljust(80) + b" " * 80, twice.encode(), 1))
    assert read_headers(path)[0]["OBSTYPE"] == "OBJECT"


def test_a_card_that_breaks_the_standard_is_kept_as_text(tmp_path):
    path = written(tmp_path / "b.fits", KAST, np.zeros((350, 2112), np.int16))
    path.write_bytes(path.read_bytes().replace(b"EXPTIME =                   30", b"EXPTIME =               3O sec"))
    assert read_headers(path)[0]["EXPTIME"] == "3O sec"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_told_at_the_headers_already(frame, keep, packed):
    path = zipped(frame[0]) if packed else frame[0]
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UnreadableFileError, match=rf"{path.name}.*(truncated|empty).*fetch the file again"):
        read_headers(path)


def test_several_gzip_members_are_one_file(frame):
    content = frame[0].read_bytes()
    path = frame[0].with_name("two.fits.gz")
    path.write_bytes(gzip.compress(content[:500_000]) + gzip.compress(content[500_000:]))
    assert len(read_headers(path)) == 2


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8bnonsense", b"SIMPLE  = nonsense" * 400])
def test_what_is_not_fits(tmp_path, content):
    path = tmp_path / "x.fits"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="a FITS file"):
        read_headers(path)


def test_absent_files_and_files_without_image(tmp_path):
    with pytest.raises(UnreadableFileError, match="no such file"):
        read_headers(tmp_path / "x.fits")
    with pytest.raises(UnreadableFileError, match="no such file"):
        checksum(tmp_path / "x.fits")
    fits.PrimaryHDU().writeto(tmp_path / "x.fits")
    with pytest.raises(UnreadableFileError, match="two axes"):
        read_image(tmp_path / "x.fits")


def test_checksum_and_names(frame, tmp_path):
    assert checksum(frame[0]) == hashlib.sha256(frame[0].read_bytes()).hexdigest()
    assert is_fits_name(tmp_path / "a.FITS.gz")
    assert is_fits_name(tmp_path / "a.fts")
    assert not is_fits_name(tmp_path / ".a.fits.12.tmp")
    assert not is_fits_name(tmp_path / ".a.fits")
    assert not is_fits_name(tmp_path / "a.txt")
