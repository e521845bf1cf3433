"""Ten thousand small line fits."""

from __future__ import annotations

import numpy as np

from nightpipe.kernels.fits import gaussians


def run(table_class, *, small):
    n = 2000 if small else 10_000
    rng = np.random.default_rng(6)
    x = np.arange(41.0)
    centre, sigma, flux = rng.uniform(18, 22, n), rng.uniform(1, 2.5, n), rng.uniform(300, 4000, n)
    truth = np.array([_line(x, *row, 100.0) for row in zip(centre, sigma, flux, strict=True)])
    values = truth + rng.normal(size=truth.shape) * np.sqrt(truth)
    weight = 1 / truth
    table = table_class(f"{n} Gaussians integrated over 41 pixels, and a constant")
    ours = table.time("nightpipe gaussians", lambda: gaussians(values, weight, 0.0, np.rint(centre), 1.5))
    pull = (ours.centre - centre) / ours.centre_error
    table.note(f"{n / table.rows[0][1]:.0f} a second, pulls {pull[ours.ok].std():.3f}")
    few = slice(0, n // 20)
    peer = table.time(
        "scipy curve_fit, a twentieth of it", lambda: _scipy(x, values[few], weight[few], centre[few]), repeat=1
    )
    worse = np.sum(ours.chi2[few] > peer * (1 + 1e-6))
    table.rows[-1] = ("scipy curve_fit (x 20)", table.rows[-1][1] * 20, f"chi2 of ours larger by 1e-6: {worse}")
    table.show()


def _line(x, centre, sigma, flux, constant):
    from scipy.special import erf

    scale = np.sqrt(2) * sigma
    return constant + flux * 0.5 * (erf((x + 0.5 - centre) / scale) - erf((x - 0.5 - centre) / scale))


def _scipy(x, values, weight, centre):
    from scipy.optimize import curve_fit

    chi2 = []
    for value, w, c in zip(values, weight, centre, strict=True):
        start = [np.rint(c), 1.5, value.sum() - 41 * np.median(value), np.median(value)]
        best, _ = curve_fit(_line, x, value, start, sigma=w**-0.5, absolute_sigma=True)
        chi2.append(np.sum(w * (value - _line(x, *best)) ** 2))
    return np.array(chi2)
