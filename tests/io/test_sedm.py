"""SEDM's own files: names, cards, columns, cubes."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from nightpipe.io.sedm import GRID, UNIT, as_text, cube_stem, on_grid, read_text, spectrum_stem, write_cube
from nightpipe.io.sedm import write_spectrum as write
from nightpipe.model.cube import Cube
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.model.flags import Flag
from nightpipe.model.spectrum import Spectrum

HEADER = {"NAME": "ZTF26sima", "OBJECT": "ZTF26sima [A]", "GAIN": 1.78, "NAXIS1": 2048, "AIRMASS": 1.2, "EMAIL": ""}


def exposed(kind=FrameType.SCIENCE, target="ZTF26sima"):
    """Return an exposure."""
    where = Setup(mode="05313416", arm="ifu")
    return Exposure("raw/ifu20190912_06_00_00.fits", "", "sedm", kind, target, where, "2019-09-12", 58738.25, 900.0)


def spectrum(flux=None, **changes):
    """Return a spectrum on uneven bins, errors independent."""
    wave = 3600.0 * np.exp(np.linspace(0.0, 0.97, 260))
    flux = np.full(wave.size, 2e-16) if flux is None else flux(wave)
    given = {"mask": np.zeros(wave.size, np.uint32), "unit": "erg/s/cm2/Angstrom"} | changes
    return Spectrum(
        name="target", wave=wave, flux=flux, var=np.full(wave.size, 1e-34), sky=np.zeros(wave.size),
        fwhm=np.full(wave.size, 60.0), exposure=exposed(), header=HEADER, **given,
    )  # fmt: skip


def test_names_are_those_that_users_know():
    assert cube_stem(exposed(), HEADER) == "e3d_crr_b_ifu20190912_06_00_00_ZTF26sima"
    stem = spectrum_stem(exposed(FrameType.STANDARD, "BD+28 4211"), {})
    assert stem == "spec_auto_robot_lstep1__crr_b_ifu20190912_06_00_00_STD-BD+284211"


def test_flux_is_kept_on_the_coarse_grid_and_errors_shrink_as_means_do():
    flux, var = on_grid(spectrum(lambda wave: 1e-16 * (1.0 + (wave - 6000.0) / 4000.0)))
    inner = slice(2, -2)
    assert flux[inner] == pytest.approx(1e-16 * (1.0 + (GRID[inner] - 6000.0) / 4000.0), rel=2e-3)
    red, blue = np.searchsorted(GRID, [9000.0, 4000.0])
    step = {k: 25.57 / (GRID[k] * 0.97 / 259) for k in (red, blue)}
    for k in (red, blue):
        assert var[k] == pytest.approx(1e-34 / max(step[k], 1.0), rel=0.5)
    correlated, _ = on_grid(spectrum(correlation=np.full((1, 260), 0.3))), None
    assert np.nanmedian(correlated[1] / var) > 1.05


def test_bins_without_data_are_no_numbers():
    mask = np.zeros(260, np.uint32)
    mask[100:110] = Flag.BAD
    flux, var = on_grid(spectrum(mask=mask))
    lost = np.isnan(flux)
    assert 3 <= lost.sum() <= 12
    assert np.array_equal(lost, np.isnan(var))


@pytest.mark.parametrize("variance", [False, True])
def test_a_spectrum_is_written_with_all_cards_and_error_or_variance(tmp_path, variance):
    own = {"QUALITY": 1, "XPOS": 0.5, "SRCPOS": "manual"}
    image, text = write(tmp_path, "spec_x", spectrum(), own, variance=variance)
    found = read_text(text)
    assert found.header["QUALITY"] == "1"
    assert found.header["GAIN"] == "1.0"
    assert "NAXIS1" not in found.header
    assert found.header["EMAIL"] == ""
    with fits.open(image, checksum=True) as hdus:
        assert hdus[0].header["SRCPOS"] == "manual"
        assert hdus[0].header["CRVAL1"] == pytest.approx(3776.712, abs=1e-3)
        var = hdus["VARIANCE"].data
        expected = var if variance else np.sqrt(var)
        assert found.third == pytest.approx(expected, rel=1e-3)
        assert found.flux == pytest.approx(hdus[0].data, rel=1e-3)
    assert as_text(found) == text.read_text()


def test_a_cube_holds_positions_and_corners_in_the_lattices_units(tmp_path):
    q, r = np.array([0, 1, 0]), np.array([0, 0, 1])
    angle, pitch = np.radians(103.0), 0.635 * np.sqrt(3.0) / 2.0
    x, y = (2 * q + r) / np.sqrt(3.0), r.astype(float)
    east, north = pitch * (x * np.cos(angle) - y * np.sin(angle)), pitch * (x * np.sin(angle) + y * np.cos(angle))
    flux = np.ones((GRID.size, 3), np.float32)
    made = Cube(GRID, flux, flux, np.zeros(flux.shape, np.uint32), east, north, q, r, "electron/Angstrom",
                np.full(GRID.size, 60.0), header=HEADER)  # fmt: skip
    with fits.open(write_cube(tmp_path / "e3d.fits", made, {"CALSCL": False}), checksum=True) as hdus:
        place, corner = hdus["MAPPING"].data, hdus["SPAX_VERT"].data
        assert hdus[0].data.shape == (220, 3)
        assert hdus[0].header["CDELT1"] == pytest.approx(25.5708, abs=1e-4)
        assert np.hypot(*(place[1] - place[0])) * UNIT == pytest.approx(0.635)
    edge = np.abs(corner @ ((place[1] - place[0]) / np.hypot(*(place[1] - place[0])))).max()
    assert edge * UNIT == pytest.approx(0.635 / 2, rel=0.01)  # neighbours share a side, not a corner
