"""RATIR 2013-07-16, raw: selection of the flats, gain and noise, two stacks of five dithers without a catalogue."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from builders import apertures
from nightpipe.api.reduce import Request, reduce_with
from nightpipe.engine.store import Store
from nightpipe.io import codec
from nightpipe.recipes.book import BOOK

pytestmark = pytest.mark.real
SHIFTS = {  # offset votes on the same frames by other software
    "20130716T110712C1o": (-32.87, 33.48),
    "20130716T110750C1o": (-33.30, 54.81),
    "20130716T110958C1o": (29.65, 171.30),
    "20130716T111041C1o": (14.94, -54.20),
}


@pytest.fixture(scope="module")
def night(shared_data, tmp_path_factory):
    raw = shared_data("ratir-2013") / "raw"
    out = tmp_path_factory.mktemp("ratir")
    return reduce_with(BOOK, [raw], Request(out, cameras=("C1",), workers=1, who="test", figures=False))


def test_thirteen_flats_serve_and_the_others_are_told(night):
    outcome = next(one for one in night.outcomes.values() if one.node.recipe == "selectflats")
    assert outcome.record["metrics"]["flats_taken"][0] == 13
    (told,) = [caveat.text for caveat in outcome.caveats if caveat.code == "flat.refused"]
    assert "6 saturated" in told
    assert "1 too bright" in told
    assert "5 too faint" in told


def test_two_estimators_of_gain_and_noise_agree(night):
    outcome = next(one for one in night.outcomes.values() if one.node.recipe == "imagenoise")
    metrics = {name: value for name, (value, _) in outcome.record["metrics"].items()}
    assert metrics["gain_check_1"] == pytest.approx(metrics["gain_1"], rel=0.02)
    assert metrics["read_noise_check_1"] == pytest.approx(metrics["read_noise_1"], rel=0.02)
    assert 4.6 < metrics["gain_1"] < 5.0
    assert 11.2 < metrics["read_noise_1"] < 12.1


def test_the_dithers_are_registered_as_measured_before(night):
    target = next(one for one in night.targets if "20130716T110452C1o" in one.exposures)
    for name, (x, y) in SHIFTS.items():
        assert target.metrics["shift_x"][name] == pytest.approx(x, abs=0.1)
        assert target.metrics["shift_y"][name] == pytest.approx(y, abs=0.1)


def test_no_frame_is_lost_and_the_stacks_lie_on_the_sky(night):
    assert [len(one.exposures) for one in night.targets] == [5, 5]
    for target in night.targets:
        assert target.metrics["frames_used"] == 5
        path = next(product.path for product in target.products if product.kind == "Stack")
        with fits.open(path) as hdus:
            assert [hdu.name for hdu in hdus[1:6]] == ["SCI", "VAR", "WEIGHT", "COUNT", "MASK"]
            assert int(hdus["COUNT"].data.max()) == 5
            scales = WCS(hdus["SCI"].header).proj_plane_pixel_scales()
            assert float(scales[0].to_value("arcsec")) == pytest.approx(0.318, rel=1e-3)
            assert np.isfinite(hdus["SCI"].data).all()
        assert path.with_name(path.stem + "_sources.ecsv").exists()


@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize("radius", [3.0, 4.5])
def test_noise_in_apertures_falls_as_the_root_of_five(night, part, radius):
    """Apertures, since resampling correlates pixels; each against its surroundings, since skies have slopes."""
    stack, singles, plates = models(night, f"NIR_standard_P576-F__low_airmass_C1_i_{part}")
    bad = (stack.mask != 0) | (stack.count < 5)
    light = apertures.lit(stack.data, stack.mask != 0)
    x, y = apertures.grid(light | bad, radius)
    mean = apertures.sums(stack.data, stack.var, stack.mask != 0, light, x, y, radius)
    ra, dec = stack.wcs.to_sky(x, y)
    rows = [mean]
    for frame, plate in zip(singles, plates, strict=True):
        shown = there(frame, plate.wcs, stack, light)
        px, py = plate.wcs.to_pixel(ra, dec)
        found = apertures.sums(frame.data, frame.var, frame.mask != 0, shown, px, py, radius)
        rows.append(found / frame.exposure.exptime)
    table = np.array(rows)
    table = table[:, np.isfinite(table).all(axis=0)]
    ratio = np.sqrt(np.mean([apertures.scatter(row) ** 2 for row in table[1:]])) / apertures.scatter(table[0])
    print(f"part {part}, radius {radius}: {table.shape[1]} apertures, {ratio / np.sqrt(5):.3f} of the root of five")
    assert table.shape[1] > 3000
    assert ratio == pytest.approx(np.sqrt(5), rel=0.05)


def models(night, label):
    """Return a stack, the frames in it, and their plates."""
    store = Store(night.out)
    stack = loaded(night, store, f"imagestack:{label}", "stack")
    plates = loaded(night, store, f"align:{label}_align", "alignment").solutions
    frames = [loaded(night, store, f"measure:{name}", "frame") for name in stack.frames]
    return stack, frames, plates


def loaded(night, store, node, output):
    outcome = next(one for name, one in night.outcomes.items() if name == node)
    return codec.load(store.files(outcome.key, output)[0])


def there(frame, wcs, stack, light):
    """Return where a frame shows the light of the stack."""
    y, x = (part.ravel().astype(float) for part in np.indices(frame.shape))
    sx, sy = stack.wcs.to_pixel(*wcs.to_sky(x, y))
    ny, nx = light.shape
    row, column = np.clip(np.rint(sy).astype(int), 0, ny - 1), np.clip(np.rint(sx).astype(int), 0, nx - 1)
    return light[row, column].reshape(frame.shape)


@pytest.fixture(scope="module")
def infrared(shared_data, tmp_path_factory):
    raw = shared_data("ratir-2013") / "raw"
    out = tmp_path_factory.mktemp("ratir-h")
    return reduce_with(BOOK, [raw], Request(out, cameras=("C3",), workers=1, who="test", figures=False))


def test_two_infrared_frames_without_calibrations_show_stars_and_not_their_detector(infrared):
    """Of 3344 and 6130 sources of the frames as they are all but some thirty were the detector's."""
    runs = [one for one in infrared.outcomes.values() if one.node.recipe == "measure"]
    assert len(runs) == 2
    for one in runs:
        metrics = {name: value for name, (value, _) in one.record["metrics"].items()}
        print({name: metrics[name] for name in ("sources", "sources_false", "sky")})
        assert 15 <= metrics["sources"] <= 60
        assert metrics["sources_false"] <= 3
