"""Zero points of simulated fields with extinction and colour, judged by stars that they did not see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from builders.camerafield import CameraField, camera_field
from builders.pulls import bounds, told
from nightpipe.model.sources import Sources, ZeroPoint
from nightpipe.steps.imaging.detect import Detect
from nightpipe.steps.imaging.photometry import Photometer
from nightpipe.steps.imaging.psf import ModelPsf
from nightpipe.steps.imaging.zeropoint import MAG, FitZeroPoint, matches

pytestmark = pytest.mark.pulls
FIELDS = 60


def measured(made: CameraField) -> Sources:
    sources = Detect().run(made.frame)
    return Photometer().run(made.frame, sources, ModelPsf().run(made.frame, sources))


def of_truth(made: CameraField, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
    """Return for each source its true star, and which are good stars that lie on one."""
    distance, star = cKDTree(np.c_[made.light.x, made.light.y]).query(np.c_[sources.x, sources.y])
    return star, (distance < 1.5) & (sources.quality == 0)


def judged(made: CameraField, sources: Sources, zero: ZeroPoint, judges: np.ndarray) -> tuple[float, float]:
    """Return by how much true stars are measured too faint with a zero point [mag], and the error of that mean."""
    star, good = of_truth(made, sources)
    good &= judges & (10 ** (-0.4 * (made.mag[star] - zero.zp)) > 10 * sources.flux_error)
    colour = zero.colour_term * (made.colour[star] - zero.colour_zero)
    off = (zero.zp + colour - 2.5 * np.log10(sources.flux) - made.mag[star])[good]
    noise = MAG * sources.flux_error[good] / 10 ** (-0.4 * (made.mag[star][good] - zero.zp))
    kept = np.abs(off - np.median(off)) < 4 * np.hypot(noise, 0.02)
    weight = 1 / (noise[kept] ** 2 + 0.01**2)
    mean = float(np.sum(weight * off[kept]) / weight.sum())
    return mean, float(np.sqrt(np.sum(weight**2 * (off[kept] - mean) ** 2)) / weight.sum())


def one(band: str, seed: int) -> tuple[float, float]:
    """Return the mean error of magnitudes of one field [mag] and what it should be: half the catalogue calibrates."""
    rng = np.random.default_rng(seed)
    made = camera_field("arcsat", band, seed, latitude=10.0, start=f"2019-05-01T0{rng.integers(3, 9)}:30:00")
    sources = measured(made)
    half = rng.random(len(made.stars)) < 0.5
    zero = FitZeroPoint().run(sources, made.plate, made.stars.select(half), made.frame.exposure)
    epoch = 2000.0 + (made.frame.exposure.mjd - 51544.5) / 365.25
    unseen = matches(sources, made.plate, made.stars.select(~half), epoch, 1.5) >= 0
    mean, error = judged(made, sources, zero, unseen)
    return mean, float(np.hypot(error, zero.error))


@pytest.mark.parametrize("band", ["sdss_r", "sdss_g"])
def test_zero_points_are_right_and_their_errors_honest(band):
    """Within 3 mmag on the mean of sixty fields; the pulls' deviation within 0.9 to 1.1, but for their own number."""
    means, errors = np.array([one(band, seed) for seed in range(1, FIELDS + 1)]).T
    print(told(band, means / errors), f"bias {1e3 * means.mean():+.2f} mmag")
    assert abs(means.mean()) < 0.003
    width = (means / errors).std()
    assert 0.9 - bounds(FIELDS)[1] / 3 < width < 1.1 + bounds(FIELDS)[1] / 3


def test_light_is_the_same_all_over_a_field_whose_psf_widens():
    """Stars at the corners, where the FWHM is a fifth larger, have the magnitudes of those in the middle."""
    rows = {"flux": [], "aperture_flux": []}
    where = []
    for seed in range(1, 13):
        made = camera_field("arcsat", "sdss_r", seed)
        sources = measured(made)
        star, good = of_truth(made, sources)
        good &= sources.flux > 40 * sources.flux_error
        ny, nx = made.frame.data.shape
        where.append((np.hypot(sources.x - nx / 2, sources.y - ny / 2) / np.hypot(nx / 2, ny / 2))[good])
        for name, all_ in rows.items():
            flux = sources.flux if name == "flux" else sources.columns[name]
            off = 2.5 * np.log10(flux / made.flux[star])[good]
            all_.append(off - np.median(off))
    r = np.concatenate(where)
    for name, all_ in rows.items():
        off = np.concatenate(all_)
        step = np.median(off[r > 0.75]) - np.median(off[r < 0.45])
        print(f"{name}: corners minus middle {1e3 * step:+.1f} mmag, {np.sum(r > 0.75)} and {np.sum(r < 0.45)} stars")
        assert abs(step) < 0.012
