"""Every real frame is recognised and typed right, and its sections hold what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builders.real import load, resolved
from nightpipe.base.errors import NightpipeError
from nightpipe.io.download import local
from nightpipe.model.detector import Amplifier
from nightpipe.model.frame import RawFrame

pytestmark = pytest.mark.real


def types(folder: Path) -> dict[str, str]:
    return {path.name.split(".")[0]: resolved(path).exposure.type.value for path in sorted(folder.iterdir())}


def numbered(pattern: str, kind: str, *numbers: int) -> dict[str, str]:
    return {pattern.format(number): kind for number in numbers}


@pytest.fixture(name="dbsp")
def _dbsp() -> Path:
    try:
        return local("dbsp-quicklook")
    except NightpipeError as error:
        pytest.skip(str(error))


def test_alfosc_night(shared_data):
    name = "ALDc{:06d}"
    assert types(shared_data("alfosc-grism4-2020") / "raw") == (
        numbered(name, "science", 200086, 200087, 200205, 200206)
        | numbered(name, "arc", 200088, 200207)
        | numbered(name, "flat", *range(200337, 200342))
        | numbered(name, "bias", *range(210004, 210015), *range(210034, 210039))
    )


def test_alfosc_imaging_flat_is_left_alone(shared_data):
    found = resolved(next((shared_data("alfosc-imaging-flat") / "raw").iterdir()))
    assert (found.exposure.type.value, found.detector.dispersion, found.disperser) == ("skyflat", "", None)
    assert found.detector.name == "CCD8"


def test_kast_night(shared_data):
    assert types(shared_data("kast-blue-2015") / "raw") == (
        {"b1": "arc"}
        | numbered("b{}", "flat", *range(2, 14))
        | numbered("b{}", "bias", *range(14, 24))
        | numbered("b{}", "science", 24, 27, 28, 29)
    )


def test_sprat_night(shared_data):
    assert types(shared_data("sprat-2018") / "raw") == (
        {"v_a_20180810_13_1_0_1": "arc", "v_a_20180810_28_1_0_1": "arc", "v_dark_1": "dark"}
        | {"v_s_20180810_27_1_0_0": "standard", "v_s_20180810_27_1_0_2": "reduced"}
        | {"v_e_20180810_12_1_0_2": "reduced", "v_slit_red_1": "reduced"}
        | numbered("v_e_20180810_12_{}_0_0", "science", 1, 2, 3, 4, 5)
    )


def test_dbsp_frames(dbsp):
    found = {path.stem: resolved(path).exposure for path in sorted(dbsp.glob("*.fits"))}
    kinds = {name: shot.type.value for name, shot in found.items()}
    assert kinds == (
        {"blue0022": "arc", "blue0031": "flat", "blue0050": "science"}
        | {"red0022": "arc", "red0033": "flat", "red0052": "science"}
    )
    assert found["blue0050"].ra == pytest.approx(327.7932, abs=1e-3)


def pedestal(raw: RawFrame, amp: Amplifier) -> np.ndarray:
    x0, x1, y0, y1 = amp.overscan[0]
    return raw.data[y0:y1, x0:x1]


def test_alfosc_overscan_is_dark_though_the_rows_beyond_2052_are_not(shared_data):
    raw = load(shared_data("alfosc-grism4-2020") / "raw" / "ALDc200337.fits.gz")
    dark = pedestal(raw, raw.detector.amplifiers[0])
    assert abs(np.median(dark[0]) - np.median(dark[-1])) < 10.0
    assert np.median(raw.data[1028]) > np.median(dark) + 5000.0


def test_alfosc_first_pixel_is_no_huge_number(shared_data):
    raw = load(shared_data("alfosc-grism4-2020") / "raw" / "ALDc200086.fits.gz")
    assert raw.data.max() < 1e6
    assert raw.detector.bad == ((0, 2, 0, 1),)
    assert raw.data.dtype == np.float32


def test_kast_overscan_matches_the_bias(shared_data):
    raw = load(shared_data("kast-blue-2015") / "raw" / "b14.fits.gz")
    for amp in raw.detector.amplifiers:
        x0, x1, y0, y1 = amp.data
        assert np.median(raw.data[y0:y1, x0:x1]) == pytest.approx(np.median(pedestal(raw, amp)), abs=2.0)


@pytest.mark.parametrize(("name", "lit"), [("blue0031", np.s_[300:600]), ("red0033", np.s_[50:400])])
def test_dbsp_overscan_is_flat_and_dark_in_a_flat(dbsp, name, lit):
    raw = load(dbsp / f"{name}.fits")
    columns = np.median(pedestal(raw, raw.detector.amplifiers[0]), axis=0)
    assert np.ptp(columns) <= 3.0
    last = raw.detector.amplifiers[0].data[1] - 1
    assert np.median(raw.data[lit, last]) > columns.max() + 100.0  # lit up to the last column that is kept


def test_sprat_pedestal_comes_from_rows_without_light(shared_data):
    raw = load(shared_data("sprat-2018") / "raw" / "v_e_20180810_12_2_0_0.fits.gz")
    dark = pedestal(raw, raw.detector.amplifiers[0])
    assert np.median(dark) == pytest.approx(916.0, abs=1.5)
    assert np.ptp(np.median(dark, axis=1)) <= 1.0


@pytest.mark.parametrize(
    ("folder", "name", "lines"),
    [
        # strong lines by eye: where the description puts them must be near where they are
        ("kast-blue-2015", "b1", {4047.71: 657.9, 4359.56: 967.2, 5087.24: 1655.4}),
        ("sprat-2018", "v_a_20180810_13_1_0_1", {4672.53: 280.2, 7121.56: 803.0, 7644.13: 912.5}),
    ],
)
def test_nominal_wavelengths_lie_near_the_real_lines(shared_data, folder, name, lines):
    found = resolved(shared_data(folder) / "raw" / f"{name}.fits.gz")
    assert found.disperser is not None
    data = found.detector.amplifiers[0].data, found.detector.amplifiers[-1].data
    middle = (data[0][0] + data[1][1] - 1) / 2.0
    for wave, x in lines.items():
        nominal = found.disperser.centre + (x - middle) * found.disperser.dispersion
        assert abs(nominal - wave) < found.disperser.centre_tolerance / 2.0
