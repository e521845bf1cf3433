"""A simulated night of SEDM, raw frames to fluxed, graded spectra, against the truth; and nights that go wrong."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from builders.ifunight import made
from nightpipe.api.inspect import described
from nightpipe.api.redex import Wish, redex
from nightpipe.io.sedm import read_text
from nightpipe.model.scene import Reason
from nightpipe.recipes.book import BOOK

pytestmark = pytest.mark.night


@pytest.fixture(scope="session")
def night(tmp_path_factory):
    return made(tmp_path_factory.mktemp("sedm"), magnitude=16.5, target="star", figures=True)


def quality(night, kind="science"):
    return int(night.spectrum(kind).meta["quality"])


def codes(night):
    return {caveat.code for target in night.reduction.targets for caveat in target.caveats}


def test_every_exposure_of_the_sky_is_fluxed_and_graded(night):
    assert {target.name for target in night.reduction.targets} == {"ZTF26sima", "BD+284211"}
    assert all(target.state.good for target in night.reduction.targets)
    assert all(night.spectrum(kind).unit == "erg/s/cm2/Angstrom" for kind in ("standard", "science"))
    assert quality(night) in (0, 2)


def ratios(night, kind, low, high, bins):
    """Return a product's flux over the truth in bins of wavelength, relative to their median, and that."""
    spectrum = night.spectrum(kind)
    ratio = spectrum.flux / night.true_flux(spectrum, kind)
    inner = np.flatnonzero(spectrum.good & (spectrum.wave > low) & (spectrum.wave < high))
    assert inner.size > 0.97 * np.sum((spectrum.wave > low) & (spectrum.wave < high))
    level = float(np.median(ratio[inner]))
    return np.array([np.mean(ratio[part]) for part in np.array_split(inner, bins)]) / level, level


def test_the_flux_is_that_of_the_star(night):
    values, level = ratios(night, "science", 4000.0, 9000.0, 12)
    assert level == pytest.approx(1.0, abs=0.1)
    assert np.std(values) < 0.02


def test_the_standard_has_its_own_flux_from_the_balmer_jump_to_the_last_band_of_water(night):
    """One in a hundred from 3740 to 9200 A, and no bin as far off as the ten in a hundred that 3850 A once was."""
    values, level = ratios(night, "standard", 3740.0, 9200.0, 30)
    assert level == pytest.approx(1.0, abs=0.02)
    assert np.std(values) < 0.012
    assert np.abs(values - 1.0).max() < 0.03


def test_an_isolated_target_needs_neither_host_nor_mask_and_says_so(night):
    spectrum = night.spectrum()
    assert spectrum.meta["extraction"] == "psf"
    assert str(spectrum.meta["chosen"]).startswith("the target alone fits")
    assert night.spectrum("standard").meta["extraction"] == "psf"


def test_the_air_is_that_of_palomar(night):
    """The fit of water and shift used to run away, to 20 mm and 25 A."""
    for kind in ("standard", "science"):
        facts = night.spectrum(kind).meta
        assert abs(facts["air_shift"]) < 6.0
        assert 1.0 < facts["air_water"] < 12.0


def test_the_guider_places_the_target(night):
    name = night.exposure("science")
    place, true = night.outputs("guide", name).one("place"), night.facts[name]["sources"][0]
    assert place.how == "guider"
    off = np.hypot(place.east - true["east"], place.north - true["north"])
    assert off < 4.0 * place.error
    scene = night.outputs("spectrophotometry", name).one("scene")
    assert np.hypot(scene.target.east - true["east"], scene.target.north - true["north"]) < 0.15


@pytest.mark.parametrize("kind", ["standard", "science"])
def test_the_flexure_is_that_of_the_exposure(night, kind):
    name = night.exposure(kind)
    warp, (dx, dy, _) = night.outputs("cube", name).one("warp"), night.facts[name]["flexure"]
    assert warp.told()[1][0] == pytest.approx(dy, abs=0.05)
    if warp.accepted:  # the frame is oriented: red, at low x as read, is at high x
        assert warp.told()[0][0] == pytest.approx(-dx, abs=0.05)


def test_seds_own_files_are_there_and_can_be_read(night):
    texts = sorted((night.out / "redux").glob("*/spec_auto_robot_lstep1__crr_b_ifu*.txt"))
    assert [path.stem.rsplit("_", 1)[1] for path in texts] == ["STD-BD+284211", "ZTF26sima"]
    header = read_text(texts[1]).header
    assert header["QUALITY"] == str(quality(night))
    assert header["SRCPOS"] == "astrom"
    cube = next((night.out / "redux").glob("*/e3d_*ZTF26sima.fits"))
    with fits.open(cube) as hdus:
        assert hdus[0].data.shape[0] == 220
        assert hdus["MAPPING"].data.shape == (hdus[0].data.shape[1], 2)


def test_what_a_person_verifies_is_drawn(night):
    for kind, target in (("science", "ZTF26sima"), ("standard", "BD+284211")):
        assert (night.out / target / f"verify_{night.exposure(kind)}.png").exists()
    page = (night.out / "report.html").read_text()
    assert "verification" in page
    assert "spectra on the dome" in page


def test_a_spectrum_tells_how_good_it_is_before_all_else(night):
    lines = [line.strip() for line in described(night.out, f"ZTF26sima/{night.exposure('science')}")]
    assert "placed by = guider" in lines
    assert any(line.startswith(f"quality = {quality(night)}") for line in lines)
    assert any("verify_" in line for line in lines if line.startswith("figure"))


def test_a_person_may_place_the_target(night):
    name = night.exposure("science")
    true = night.facts[name]["sources"][0]
    before = night.spectrum()
    again = redex(BOOK, night.out, name[-8:], Wish((true["east"], true["north"])), why="a test", who="tester")
    (target,) = [one for one in again.targets if one.name == "ZTF26sima"]
    after = target.spectrum.models()[0]
    assert after.meta["placed"] == "person"
    assert after.meta["quality"] == 1
    good = before.good & after.good
    assert np.median(after.flux[good] / before.flux[good]) == pytest.approx(1.0, abs=0.05)
    assert list((night.out / "ZTF26sima" / "old").glob(f"{name}_*.fits"))
    assert list((night.out / "redux").glob("*/spec_auto_redo*"))


@pytest.mark.faults
def test_a_night_without_calibrations_takes_earlier_ones(night, tmp_path):
    other = made(tmp_path, calibrations=(night.out,), target="star", magnitude=16.5, faults=("no-calibrations",),
                 figures=True)  # fmt: skip
    assert "spaxels.kept" in codes(other)
    assert (other.out / "ZTF26sima" / "figures" / f"{other.exposure('science')}_flexure.png").exists()
    right(other)


def alone(folder, night, fault, **options):
    """Reduce the first target of a night that has a fault and nothing else: all calibrations are those of `night`."""
    options = {"target": "star", "magnitude": 16.5, **options}
    return made(folder, calibrations=(night.out,), standards=0, faults=(fault, "no-calibrations"), **options)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("fault", "expected", "reason", "code"),
    [
        ("target-outside", 3, Reason.OUTSIDE, "place.outside"),
        ("no-guider", 5, Reason.NO_ASTROMETRY, "place.brightest"),
        ("blind-guider", 2, Reason.POINTING, "guide.unsolved"),
    ],
)
def test_a_target_that_is_not_where_it_should_be_has_the_right_quality_and_message(
    night, tmp_path, fault, expected, reason, code
):
    other = alone(tmp_path, night, fault)
    assert code in codes(other)
    assert quality(other) == expected
    assert Reason(int(other.spectrum().meta["reasons"])) & reason


@pytest.mark.faults
def test_a_cloud_leaves_a_faint_spectrum_and_says_so(night, tmp_path):
    other = alone(tmp_path, night, "cloud", target="supernova", magnitude=19.5)
    spectrum, clear = other.spectrum(), other.facts[other.exposure("science")]["clear"]
    assert quality(other) in (2, 4)
    assert Reason(int(spectrum.meta["reasons"])) & Reason.FAINT
    inner = spectrum.good & (spectrum.wave > 4000) & (spectrum.wave < 9000)
    pulls = (spectrum.flux - clear * other.true_flux(spectrum))[inner] / spectrum.err[inner]
    assert abs(pulls.mean()) < 0.5
    assert 0.8 < pulls.std() < 1.3


@pytest.mark.faults
def test_a_saturated_dome_is_refused_and_earlier_masters_serve(night, tmp_path):
    other = made(tmp_path, calibrations=(night.out,), target="star", magnitude=16.5, standards=0,
                 faults=("saturated-dome",))  # fmt: skip
    told = {caveat.code: caveat.text for target in other.reduction.targets for caveat in target.caveats}
    assert "not saturated" in told["calibrations.refused"]
    assert quality(other) in (0, 2)
    right(other)


@pytest.mark.faults
def test_lost_lenslets_and_a_wrong_lamp_are_told_and_the_spectrum_stands(night, tmp_path):
    """What the lamp shows is used: without any cadmium a lenslet's wavelengths are good to 1.4 A rms."""
    faults = ("dead-lenslets", "missing-traces", "wrong-lamp")
    other = made(tmp_path, calibrations=(night.out,), target="star", magnitude=16.5, standards=0, faults=faults)
    told = {caveat.code: caveat.text for target in other.reduction.targets for caveat in target.caveats}
    assert (
        60 < int(told["spaxels.dead"].split()[0]) < 75
    )  # some 55 that are dead on the sky as well, and 13 behind a hair
    assert "is named Cd and shows the lines of Hg" in told["wave.wrong_lamp"]
    assert quality(other) in (0, 2)
    right(other)


def right(night):
    """Check that the target's flux is its true one, as well as a standard of another night lets it."""
    spectrum = night.spectrum()
    inner = spectrum.good & (spectrum.wave > 4500) & (spectrum.wave < 8500)
    assert np.median((spectrum.flux / night.true_flux(spectrum))[inner]) == pytest.approx(1.0, abs=0.12)


@pytest.mark.vast
def test_half_a_pair_is_reduced_by_itself(night, tmp_path):
    other = made(tmp_path, calibrations=(night.out,), target="star", magnitude=16.5, pair=True,
                 faults=("no-calibrations",))  # fmt: skip
    assert "pair.incomplete" not in codes(other)
    second = max(other.raw.glob("ifu*.fits"))
    second.unlink()
    alone = made_again(other, night)
    assert "pair.incomplete" in {caveat.code for target in alone.targets for caveat in target.caveats}


def made_again(other, night):
    """Return the reduction of what is left of a night."""
    import nightpipe

    return nightpipe.reduce(other.raw, out=other.out, workers=1, figures=False, calibrations=[night.out])
