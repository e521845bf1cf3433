"""A whole simulated night: files, truth beside them, the same for the same seed, and what can be made to go wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits

from builders.real import load
from nightpipe.base.errors import ConfigError
from nightpipe.instruments.registry import site
from nightpipe.model.exposure import FrameType
from nightpipe.simulate.bench import bench
from nightpipe.simulate.night import arms, checked, write_night
from nightpipe.simulate.rig import stream
from nightpipe.simulate.schedule import schedule

QUICK = {"exposures": 1, "cosmics": False}
SCIENCE_ONLY = ("no-flat", "no-standard", "no-arc", "no-bias")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    out = tmp_path_factory.mktemp("sprat") / "raw"
    assert write_night("sprat", out, seed=4) == beside(out)
    return out


def beside(out):
    return out.with_name(f"{out.name}-truth")


def facts(out, arm="sprat"):
    return json.loads((beside(out) / f"{arm}.json").read_text())


def of_type(out, kind, arm="sprat"):
    return [item for item in facts(out, arm)["exposures"] if item["type"] == kind]


def test_every_exposure_has_its_truth(night):
    files = {path.name for path in night.glob("*.fits")}
    assert files == {item["file"] for item in facts(night)["exposures"]}
    assert all((beside(night) / name).exists() for name in files)


def test_truth_says_what_the_header_hides(night):
    amp = facts(night)["setups"]["sprat-1x1"]["amplifiers"][0]
    assert amp["gain"] != pytest.approx(amp["header_gain"], rel=0.01)
    assert {item["type"] for item in facts(night)["exposures"]} == {"dark", "flat", "arc", "standard", "science"}


def test_the_arc_in_the_raw_frame_is_where_the_truth_puts_it(night):
    name = of_type(night, "arc")[0]["file"]
    frame = load(night / name)
    x0, x1, y0, y1 = frame.detector.amplifiers[0].data
    with fits.open(beside(night) / name) as hdus, fits.open(beside(night) / "sprat-1x1.fits") as setup:
        even = hdus["EVEN"].data.astype(float) * setup["SLIT"].data * setup["PIXELS"].data
        good = setup["BAD"].data == 0
        wave, lines = hdus["WAVE"].data, hdus["LINES"].data
    gain = facts(night)["setups"]["sprat-1x1"]["amplifiers"][0]["gain"]
    image = frame.data[y0:y1, x0:x1] * gain
    for rows in (slice(30, 70), slice(100, 140), slice(170, 210)):
        slope = np.gradient(even[rows], axis=1) * good[rows]
        excess = image[rows] - np.median(image[rows] - even[rows]) - even[rows]
        shift = -np.sum(excess * slope) / np.sum(slope**2)
        assert shift == pytest.approx(0.0, abs=0.01)
    row = (wave.shape[0] - 1) / 2
    x = np.arange(wave.shape[1])
    for line in lines[::20]:
        on_map = [np.interp(line["WAVE"], wave[int(row + half)], x) for half in (-0.5, 0.5)]
        assert np.mean(on_map) == pytest.approx(line["X_MIDDLE"], abs=0.01)


def test_counts_in_the_raw_frame_are_those_of_the_truth(night):
    item = of_type(night, "standard")[0]
    frame = load(night / item["file"])
    gain = facts(night)["setups"]["sprat-1x1"]["amplifiers"][0]["gain"]
    x0, x1, y0, y1 = frame.detector.amplifiers[0].data
    image = frame.data[y0:y1, x0:x1] * gain
    with fits.open(beside(night) / item["file"]) as hdus:
        star, even = hdus["OBJECT1"].data, hdus["EVEN"].data
    centre = int(np.median(star["Y"]))
    rows = slice(centre - 40, centre + 41)
    away = np.r_[centre - 65 : centre - 50, centre + 50 : centre + 65]
    away = away[(away > 20) & (away < image.shape[0] - 2)]
    sky = np.median(image[away] - even[away], axis=0)
    columns = slice(400, 700)
    found = (image[rows] - even[rows] - sky).sum(axis=0)[columns]
    assert np.median(found / star["COUNTS"][columns]) == pytest.approx(1.0, abs=0.03)
    assert np.all(star["FLUX"] > 0)


def test_the_same_seed_writes_the_same_pixels(night, tmp_path):
    write_night("sprat", tmp_path, seed=4)
    for path in sorted(night.glob("*.fits")):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_another_seed_writes_another_night(night, tmp_path):
    write_night("sprat", tmp_path, seed=5, faults=SCIENCE_ONLY, **QUICK)
    first, other = (facts(out)["setups"]["sprat-1x1"]["dispersion"]["coef"] for out in (night, tmp_path))
    assert first != other


@pytest.mark.parametrize(
    ("fault", "absent"),
    [("no-arc", "arc"), ("no-flat", "flat"), ("no-standard", "standard"), ("no-bias", "bias")],
)
def test_what_is_left_out_is_not_planned(fault, absent):
    known, place = bench("alfosc"), site("lapalma")
    for faults in ((), (fault,)):
        shots = schedule(known, place, checked({"faults": faults}), 7.0, stream(1, "schedule"))
        assert any(shot.type == absent for shot in shots) is not bool(faults)
        assert any(shot.type is FrameType.SCIENCE for shot in shots)


def test_a_dead_lamp_has_no_lines_and_a_bright_one_saturates(tmp_path):
    peaks = {}
    for fault in ("dead-lamp", "saturated-arc"):
        write_night("sprat", tmp_path / fault, faults=(fault, "no-flat", "no-standard"), **QUICK)
        peaks[fault] = load(tmp_path / fault / of_type(tmp_path / fault, "arc")[0]["file"])
    assert peaks["dead-lamp"].data.max() < 3000
    hot = peaks["saturated-arc"]
    assert (hot.data - 916 > 0.7 * hot.detector.saturation).mean() > 0.01


def test_a_star_off_the_slit_is_gone(tmp_path):
    write_night("sprat", tmp_path, faults=("star-off-slit", "no-flat", "no-standard"), **QUICK)
    name = of_type(tmp_path, "science")[0]["file"]
    with fits.open(beside(tmp_path) / name) as hdus:
        assert np.nanmax(hdus["OBJECT1"].data["PASSED"]) < 0.01


def test_mixed_binning_bins_one_exposure_otherwise(tmp_path):
    write_night("sprat", tmp_path, faults=("mixed-binning", "no-flat", "no-standard"), exposures=2, cosmics=False)
    shapes = {load(tmp_path / item["file"]).data.shape for item in of_type(tmp_path, "science")}
    assert len(shapes) == 2


@pytest.mark.parametrize(("target", "objects"), [("blank", 0), ("galaxy", 1)])
def test_targets(tmp_path, target, objects):
    write_night("sprat", tmp_path, target=target, faults=SCIENCE_ONLY, **QUICK)
    with fits.open(beside(tmp_path) / of_type(tmp_path, "science")[0]["file"]) as hdus:
        assert sum(hdu.name.startswith("OBJECT") for hdu in hdus) == objects


def test_a_neighbour_stands_beside_the_target(tmp_path):
    write_night("sprat", tmp_path, neighbour=True, faults=SCIENCE_ONLY, **QUICK)
    with fits.open(beside(tmp_path) / of_type(tmp_path, "science")[0]["file"]) as hdus:
        apart = np.median(hdus["OBJECT2"].data["Y"] - hdus["OBJECT1"].data["Y"]) * 0.44
        assert apart == pytest.approx(7.5, abs=0.2)


def test_unknown_names_are_told_with_those_that_are_known(tmp_path):
    with pytest.raises(ConfigError, match="alfosc"):
        write_night("hubble", tmp_path)
    with pytest.raises(ConfigError, match="seeing"):
        write_night("sprat", tmp_path, seing=1.0)
    assert checked({"faults": "no-arc,no-flat", "binning": "2x2"}).binning == (2, 2)
    assert arms("dbsp") == ("dbsp_blue", "dbsp_red")
    assert arms("Kast-Blue") == ("kast_blue",)


def test_pedestal_of_alfosc_rises_at_night(tmp_path):
    write_night("alfosc", tmp_path, faults=("no-flat", "no-standard", "no-arc"), **QUICK)
    levels = {}
    for item in facts(tmp_path, "alfosc")["exposures"]:
        frame = load(tmp_path / item["file"])
        x0, x1, y0, y1 = frame.detector.amplifiers[0].overscan[0]
        levels.setdefault(item["type"], []).append(np.median(frame.data[y0:y1, x0:x1]))
        assert frame.exposure.type in (FrameType.BIAS, FrameType.SCIENCE)
        assert frame.data[0, 0] < 0  # below zero, wrapped in the file as the real ones are
    rise = np.mean(levels["science"]) - np.mean(levels["bias"])
    assert 130 < rise < 240
