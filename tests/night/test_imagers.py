"""A small night of every imager, in its own headers, from raw frames to stacks with places and magnitudes.

ARCSAT and RIMAS have nights of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from nightpipe.api.reduce import Request, reduce_with
from nightpipe.api.reduction import Status
from nightpipe.io.catalogues.store import import_tables
from nightpipe.recipes.book import BOOK
from nightpipe.simulate.night import write_night

pytestmark = pytest.mark.night


@dataclass(frozen=True)
class Small:
    """One night: what is simulated, how many frames the stacks through each band have, the true gain [e-/adu]."""

    simulated: str
    options: dict
    frames: dict[str, int]
    gain: float
    instrument: str = ""
    dark: set[str] = field(default_factory=set)


NIGHTS = {
    "lmi": Small("lmi", {"filters": "SDSS-R", "window": 800, "exposures": 2, "latitude": 15}, {"r": 2}, 2.78),
    "alfosc": Small("alfosc-imaging", {"filters": "r'_SDSS 618_148", "window": 600, "exposures": 2, "latitude": 25},
                    {"r": 2}, 0.179),
    "soxs_ac": Small("soxs_ac", {"filters": "r", "window": 700, "exposures": 2, "latitude": 12}, {"r": 2}, 1.05),
    "sedm_rc": Small("sedm_rc", {"exposures": 1, "latitude": 20}, {"r": 1, "g": 1, "i": 1, "u": 1}, 1.84, dark={"u"}),
    "ratir": Small("ratir", {"cameras": "C1", "exposures": 2, "latitude": 20}, {"i": 2}, 5.0),
    "generic": Small("generic", {"filters": "r'", "exposures": 2, "latitude": 20}, {"r": 2}, 1.42, "generic"),
}  # fmt: skip


@pytest.fixture(scope="module", params=NIGHTS)
def night(request, tmp_path_factory):
    """Simulate and reduce one night; `dark` bands of it are those that no catalogue has."""
    folder, small = tmp_path_factory.mktemp(request.param), NIGHTS[request.param]
    more = {"size": "tiny", "host": 0, "trails": False}
    truth = write_night(small.simulated, folder / "raw", seed=3, **more, **small.options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTPIPE_DATA", str(folder / "data"))
        import_tables([truth / "refcat.fits"], "refcat2")
        wish = Request(folder / "out", workers=1, who="test", figures=False, instrument=small.instrument)
        reduction = reduce_with(BOOK, [folder / "raw"], wish)
    return small, truth, reduction


def by_band(reduction):
    """Return the targets by the band of their stacks."""
    found = {}
    for target in reduction.targets:
        assert target.stack is not None, (target.label, target.reason)
        found.setdefault(target.stack.model.exposure.band, []).append(target)
    return found


def test_every_frame_is_in_a_stack_and_nothing_failed(night):
    small, _, reduction = night
    assert reduction.status in (Status.WELL, Status.CAVEATS)
    assert all(one.state.good for one in reduction.outcomes.values())
    frames = {band: sum(len(one.stack.model.frames) for one in mine) for band, mine in by_band(reduction).items()}
    assert frames == small.frames


def test_the_detector_is_understood(night):
    small, _, reduction = night
    told = {caveat.code for one in reduction.outcomes.values() for caveat in one.caveats}
    assert not {"detect.noise", "cosmics.many", "pedestal.estimated", "flat.none"} & told
    gains = [one.record["metrics"]["gain_1"][0] for one in reduction.outcomes.values()
             if one.node.recipe == "imagenoise"]  # fmt: skip
    assert gains
    if small.gain:
        assert gains == pytest.approx([small.gain] * len(gains), rel=0.04)


def true_places(truth, band):
    """Return ra, dec [deg] at the night's epoch, and magnitudes, of the stars that are not the new one."""
    with fits.open(truth / "stars.fits") as hdus:
        stars = Table(hdus[1].data)
    return np.asarray(stars["RA"]), np.asarray(stars["DEC"]), np.asarray(stars[band]), stars


def test_stars_have_their_places_and_magnitudes(night):
    small, truth, reduction = night
    for band, targets in by_band(reduction).items():
        if band in small.dark:
            continue
        for target in targets:
            path = next(one.path for one in target.products if one.kind == "Sources")
            found = Table.read(path.with_suffix(".ecsv"), format="ascii.ecsv")
            found = found[(found["quality"] == 0) & (found["flux"] > 30 * found["flux_error"])]
            years = (target.stack.model.exposure.mjd - 51544.5) / 365.25
            ra, dec, mag, stars = true_places(truth, band)
            ra = ra + years * np.asarray(stars["PM_RA"]) / 3.6e6 / np.cos(np.radians(dec))
            dec = dec + years * np.asarray(stars["PM_DEC"]) / 3.6e6
            east = ((np.asarray(found["ra"])[:, None] - ra + 180) % 360 - 180) * np.cos(np.radians(dec)) * 3600
            north = (np.asarray(found["dec"])[:, None] - dec) * 3600
            nearest = np.hypot(east, north).argmin(axis=1)
            apart = np.hypot(east, north).min(axis=1)
            near = apart < 1.0
            print(target.label, len(found), near.mean(), np.median(apart),
                  np.median(np.asarray(found["mag"])[near] - mag[nearest][near]))  # fmt: skip
            assert near.sum() >= 5
            assert near.mean() > 0.7
            assert np.median(apart) < 0.15
            assert abs(np.median(np.asarray(found["mag"])[near] - mag[nearest][near])) < 0.08
