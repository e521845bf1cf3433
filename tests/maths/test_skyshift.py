"""Windows about sky lines: all of a row at once, as each alone."""

from __future__ import annotations

import numpy as np

from nightpipe.maths.lines import gaussian_shape
from nightpipe.maths.skyshift import Template, fit_window, fit_windows, windows

N = 600


def night(shift, seed=1):
    rng = np.random.default_rng(seed)
    place = np.sort(rng.uniform(0.0, N, 90))
    template = Template(4000.0 + 4.0 * place, rng.exponential(2e3, 90), place, gaussian_shape(4.5, (0.0, N - 1.0)))
    sky = template.spectrum(np.arange(N, dtype=np.float64), shift) + 300.0
    error = np.sqrt(sky)
    return template, sky + error * rng.normal(size=N), error


def test_windows_together_are_windows_alone():
    template, flux, error = night(0.4)
    wanted = windows(template, N)
    together = fit_windows(flux, error, template, wanted)
    alone = [fit_window(flux, error, template, window) for window in wanted]
    assert [one is None for one in together] == [one is None for one in alone]
    for one, other in zip(together, alone, strict=True):
        if one is not None and other is not None:
            np.testing.assert_allclose(
                (one.shift, one.error, one.doubt, one.snr),
                (other.shift, other.error, other.doubt, other.snr),
                rtol=1e-6,
            )


def test_shifts_come_back_within_their_errors():
    template, flux, error = night(0.4)
    good = [fit for fit in fit_windows(flux, error, template, windows(template, N)) if fit is not None and fit.snr > 20]
    assert len(good) > 15
    pull = np.array([(fit.shift - 0.4) / fit.error for fit in good])
    assert 0.6 < np.sqrt(np.mean(pull**2)) < 1.5


def test_nothing_there_or_no_window_gives_nothing():
    template, _, error = night(0.0)
    assert (
        fit_windows(-template.spectrum(np.arange(N, dtype=np.float64)), error, template, windows(template, N))[0]
        is None
    )
    assert fit_windows(error, error, template, []) == []
