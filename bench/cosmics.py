"""Cosmic rays on simulated long-slit frames: how many are found, how many are none, how long it takes."""

from __future__ import annotations

from functools import partial

import numpy as np

from nightpipe.kernels.cosmics import lacosmic
from nightpipe.kernels.medians import spectral_model
from nightpipe.simulate.cosmics import tracks

READ = 5.7


def run(table_class, *, small):
    size = 512 if small else 1024
    for strength, name in ((1.0, "as they come"), (0.15, "with 0.15 of the charge")):
        table = table_class(f"cosmic rays in a spectrum of {size} x 2048 electrons, {name}")
        expected, charge, image = _scene(size, strength)
        strong = charge > 5 * np.sqrt(expected + READ**2)
        none = charge < 0.5 * np.sqrt(expected + READ**2)
        for label, needs, search in (
            ("nightpipe, model included", "", _ours),
            ("astroscrappy, defaults", "astroscrappy", _scrappy),
            ("astroscrappy, our model and noise", "astroscrappy", _informed),
        ):
            found = table.time(label, partial(search, image), needs=needs, repeat=2)
            if found is not None:
                table.note(f"complete {found[strong].mean():.3f}, false pixels {(found & none).sum()} of {found.sum()}")
        table.show()


def _scene(size, strength):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :2048]
    expected = np.full((size, 2048), 25.0)
    for centre, peak in zip(rng.uniform(0, 2048, 80), rng.lognormal(5, 1.2, 80), strict=True):
        expected += peak * np.exp(-0.5 * ((x - centre - 0.002 * y) / 0.9) ** 2)
    expected += 3000.0 * np.exp(-0.5 * ((y - size / 2 - 0.003 * x) / 3.0) ** 2)
    charge = strength * tracks(expected.shape, (15.0, 15.0), 16.0, size, rng)
    image = rng.poisson(expected + charge) + rng.normal(0, READ, expected.shape)
    return expected, charge, image.astype(np.float32)


def _ours(image):
    return lacosmic(image, READ**2, model=spectral_model(image))


def _scrappy(image, **more):
    from astroscrappy import detect_cosmics

    return detect_cosmics(image, readnoise=READ, gain=1.0, sigclip=4.5, sigfrac=0.3, objlim=5.0, **more)[0]


def _informed(image):
    model = spectral_model(image)
    return _scrappy(image, inbkg=model, invar=(READ**2 + np.maximum(model, 0)).astype(np.float32))
