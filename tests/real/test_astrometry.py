"""Plate solutions of real star lists and images, against what others found."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from builders.decoys import Solved, others
from builders.skyimages import detect, pixels
from nightpipe.maths.robust import mad_std
from nightpipe.maths.tan import separation
from nightpipe.model.sources import Sources
from nightpipe.model.stars import StarCatalogue
from nightpipe.model.wcscards import wcs_of
from nightpipe.steps.imaging.align import AlignFrames
from nightpipe.steps.imaging.solve import SolveAstrometry

pytestmark = pytest.mark.real


def lco(path):
    """Sources and catalogue of an LCO list, each in an order of its own."""
    table = fits.getdata(path)
    rng = np.random.default_rng(0)
    n, zero = len(table), np.zeros(len(table))
    column = {key: np.asarray(table[key], float) for key in ("x", "y", "flux", "ra", "dec", "pmra", "pmdec", "rmag")}
    mix = rng.permutation(n)
    sources = Sources(column["x"][mix], column["y"][mix], zero, zero, column["flux"][mix], zero + 1,
                      zero.astype(np.uint32), zero.astype(np.int32))  # fmt: skip
    ra = column["ra"] % 360
    motion = np.nan_to_num(column["pmra"]), np.nan_to_num(column["pmdec"])
    centre = float(ra[0]), float(column["dec"][0])
    stars = StarCatalogue("Gaia", ra, column["dec"], 2015.5, centre, 0.4, *motion, zero, {"r": column["rmag"]})
    return column, sources, stars


@pytest.mark.parametrize(
    ("name", "epoch", "limits"),
    [
        ("cpt1m012-fa06-20200113-0102-matched-cat.fits.gz", 2020.03, (34, 41)),
        ("ogg2m001-ep04-20201006-0097-matched-cat.fits.gz", 2020.76, (52, 62)),
    ],
)
def test_lco_lists_are_solved_with_nothing_but_the_catalogue(shared_data, name, epoch, limits):
    column, sources, stars = lco(shared_data("catalogues-lco") / name)
    shape = (int(column["y"].max()) + 5, int(column["x"].max()) + 5)
    found = SolveAstrometry().run(sources, shape, stars, epoch=epoch)
    assert found.method == "blind"
    ra, dec = stars.at(epoch)
    x, y = found.wcs.to_sky(column["x"], column["y"])
    along = 3.6e6 * ((x - ra + 180) % 360 - 180) * np.cos(np.radians(dec)), 3.6e6 * (y - dec)
    # of all stars that were matched, by their median deviation as the reference's numbers are
    assert mad_std(along[0]) <= limits[0]
    assert mad_std(along[1]) <= limits[1]
    assert found.matches > 0.85 * len(stars)


def test_the_dss_image_is_solved_on_its_own_stars_turned_and_mirrored(shared_data):
    path = shared_data("catalogues-lco") / "NGC6819-DSS-r.fits.gz"
    header, image = fits.getheader(path), pixels(path)
    true = wcs_of({key: header[key] for key in header if key and key not in ("HISTORY", "COMMENT")})
    here = detect(image, threshold=6.0)
    ra, dec = true.to_sky(here.x, here.y)
    zero = np.zeros(ra.size)
    stars = StarCatalogue("DSS", ra, dec, 2000.0, true.crval, 0.5, zero, zero, zero, {"R": -2.5 * np.log10(here.flux)})
    mirrored = np.ascontiguousarray(np.rot90(image, 1)[:, ::-1][100:900, 60:1000])
    found = SolveAstrometry().run(detect(mirrored, threshold=4.0), mirrored.shape, stars, epoch=2000.0)
    assert found.wcs.parity == -true.parity
    assert found.wcs.scale == pytest.approx(2.3438, rel=1e-4)
    # rot90 then a mirror is a transposition about the other diagonal: x' = ny - 1 - ... is undone on paper
    x, y = np.array([0.0, 939.0, 470.0]), np.array([0.0, 799.0, 100.0])
    sky = true.to_sky(*_original(x, y))
    assert 3600 * separation(*found.wcs.to_sky(x, y), *sky).max() < 0.2


def _original(x, y):
    """Where pixels of the turned, mirrored and cut DSS image were before."""
    column, row = 1023 - (x + 60), y + 100
    # rot90: new[row, column] = old[column, n - 1 - row]
    return 1023 - row, column


@pytest.fixture(scope="module")
def arcsat(shared_data):
    folder = shared_data("arcsat-griz-2019") / "raw"
    flats = {band: [pixels(path) for path in folder.glob(f"domeflat_sdss_{band}_*")] for band in "griz"}
    flat = {band: np.median([one / np.median(one) for one in images], axis=0) for band, images in flats.items()}
    bias = np.median([pixels(path) for path in folder.glob("Bias_BIN1_*")], axis=0)
    darks = {float(fits.getheader(path)["EXPTIME"]): pixels(path) - bias for path in folder.glob("Dark_BIN1_*")}
    frames = []
    for path in sorted(folder.glob("*_sdss_[griz]_2019*")):
        header = fits.getheader(path)
        image, response = pixels(path), flat[path.name.split("_sdss_")[1][0]]
        nearest = min(darks, key=lambda time: abs(time - float(header["EXPTIME"])))
        # without this the hot pixels, the same on all frames, would be the stars that match best
        dark = bias + darks[nearest] * float(header["EXPTIME"]) / nearest
        bins = response.shape[0] // image.shape[0]  # one frame of M82 is binned
        response, dark = (_binned(part, bins) for part in (response / bins**2, dark))
        image = _cleaned((image - dark) / np.clip(response, 0.3, None), hard=6.0 if bins == 1 else 12.0)
        cards = {key: header[key] for key in header if key and key not in ("HISTORY", "COMMENT")}
        name = path.name.split(".")[0]
        frames.append(Solved(name, detect(image, threshold=3.0), wcs_of(cards), float(header["EXPTIME"]), image.shape))
    return frames


def _binned(image, bins):
    ny, nx = image.shape
    return image.reshape(ny // bins, bins, nx // bins, bins).sum(axis=(1, 3))


def _cleaned(image, hard):
    """Pixels that stand out of their surroundings by more than stars do, replaced by the median of those."""
    from scipy.ndimage import median_filter

    around = median_filter(image, 5)
    noise = mad_std(image - around)
    return np.where(np.abs(image - around) > hard * noise + 0.5 * np.abs(around - np.median(around)), around, image)


def test_arcsat_frames_are_solved_blind_among_decoys(arcsat):
    assert len(arcsat) == 25
    rng = np.random.default_rng(11)
    scatter = {}
    for frame in arcsat:
        scale = 0.65 * 1024 / frame.shape[1]
        found = SolveAstrometry().run(frame.sources, frame.shape, others(arcsat, frame, rng), epoch=2000.0, scale=scale)
        assert found.method == "blind"
        x, y = found.pairs[:, 0], found.pairs[:, 1]
        ra, dec = found.wcs.to_sky(x, y)
        true = frame.wcs.to_sky(x, y)
        along = 3600 * np.stack((((ra - true[0] + 180) % 360 - 180) * np.cos(np.radians(true[1])), dec - true[1]))
        assert np.abs(along.mean(axis=1)).max() < 1.0, frame.name
        scatter[frame.name] = float(np.sqrt(np.mean((along - along.mean(axis=1, keepdims=True)) ** 2)))
    assert max(scatter.values()) <= 0.3, scatter


RATIR_SHIFTS = {
    "ZJcenter": [(0, 0), (-32.87, 33.48), (-33.30, 54.81), (29.65, 171.30), (14.94, -54.20)],
    "YHcenter": None,
}


@pytest.fixture(scope="module")
def ratir(shared_data):
    folder = shared_data("ratir-2013") / "raw"
    bias = np.median([pixels(path) for path in folder.glob("*C1b*")], axis=0)
    flats = [pixels(path) - bias for path in folder.glob("*C1f*")]
    flat = np.median([one / np.median(one) for one in flats if 3200 < np.median(one) < 13000], axis=0)
    mask = ~(flat > 0.3)
    mask[:75] = mask[1000:] = mask[:, :15] = mask[:, 1000:] = True
    frames = {"ZJcenter": [], "YHcenter": []}
    for path in sorted(folder.glob("*C1o.fits.gz")):
        image = (pixels(path) - bias) / np.where(mask, 1.0, flat)
        frames[fits.getheader(path)["ETRRQAP"]].append(detect(image, mask=mask))
    return frames


@pytest.mark.parametrize("aperture", list(RATIR_SHIFTS))
def test_ratir_dithers_are_registered_without_any_solution(ratir, aperture):
    found = AlignFrames().run(tuple(ratir[aperture]), (1024, 1024))
    assert found.left_out == ()
    assert [caveat.code for caveat in found.caveats] == ["astrometry.relative"]
    assert max(found.rms) < 0.15
    if RATIR_SHIFTS[aperture]:
        assert np.abs(found.shifts - RATIR_SHIFTS[aperture]).max() < 0.1
