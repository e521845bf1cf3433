"""Cosmic rays on two real 900 s exposures of one field, where the second tells what is real in the first."""

from __future__ import annotations

import numpy as np
import pytest

from nightpipe.kernels.cosmics import lacosmic
from nightpipe.kernels.medians import spectral_model
from nightpipe.simulate.cosmics import tracks

GAIN, READ = 0.179, 5.7  # electron/adu and electron, from flat and bias pairs of that night

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def frames(shared_data):
    from astropy.io import fits

    def electrons(number):
        with fits.open(shared_data("alfosc-grism4-2020") / "raw" / f"ALDc200{number}.fits.gz") as hdus:
            raw = hdus[1].data.astype(float)
        pedestal = np.median(raw[1030:1049])
        return np.ascontiguousarray((raw[:1026] - pedestal).T[3:-3, ::-1] * GAIN).astype(np.float32)

    return electrons(205), electrons(206)


def mine(image):
    return lacosmic(image, READ**2, model=spectral_model(image))


def theirs(image):
    astroscrappy = pytest.importorskip("astroscrappy")
    return astroscrappy.detect_cosmics(image, readnoise=READ, gain=1.0, sigclip=4.5, sigfrac=0.3, objlim=5.0)[0]


def excess(one, other):
    """Return by how many sigma `one` exceeds `other` beside what is smooth in each."""
    models = spectral_model(one), spectral_model(other)
    noise = 2 * READ**2 + sum(np.maximum(model, 0) for model in models)
    return ((one - models[0]) - (other - models[1])) / np.sqrt(noise)


def completeness(search, image, seed):
    rng = np.random.default_rng(seed)
    charge = tracks(image.shape, (15.0, 30.0), 16.0, 150, rng)
    strong = charge > 5 * np.sqrt(READ**2 + np.maximum(spectral_model(image), 0))
    return search((image + rng.poisson(charge)).astype(np.float32))[strong].mean()


def test_hits_are_real(frames):
    one, other = frames
    difference = excess(one, other)
    for image, sigma in ((one, difference), (other, -difference)):
        found = mine(image)
        assert (found & (sigma < 1)).sum() <= 0.06 * found.sum()
        assert found[sigma > 6].mean() > 0.97


@pytest.mark.peer
def test_more_complete_and_fewer_false_than_astroscrappy(frames):
    one, other = frames
    difference = excess(one, other)
    for image, sigma in ((one, difference), (other, -difference)):
        ours, peer = mine(image), theirs(image)
        assert (ours & (sigma < 2)).sum() <= (peer & (sigma < 2)).sum()
        assert (ours & (sigma > 5)).sum() >= (peer & (sigma > 5)).sum()
        assert completeness(mine, image, 1) >= completeness(theirs, image, 1)
