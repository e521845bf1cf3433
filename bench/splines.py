"""Weighted cubic B-splines of a million unsorted points."""

from __future__ import annotations

import numpy as np

from nightpipe.kernels.splines import evaluate, fit_bspline, variance


def run(table_class, *, small):
    rows = 100 if small else 400
    x = (np.linspace(3000, 9000, 2550) + 0.9 * np.arange(rows)[:, None]).ravel()
    rng = np.random.default_rng(1)
    value = np.sin(x / 3) + rng.normal(0, 0.1, x.size)
    weight, y = np.full(x.size, 100.0), np.repeat(np.arange(float(rows)), 2550)
    knots = np.linspace(x.min(), x.max(), 2046)
    table = table_class(f"cubic spline, {x.size} points in {rows} shifted rows, {len(knots)} knots")
    fit = table.time("nightpipe fit_bspline", lambda: fit_bspline(x, value, weight, knots))
    table.time("nightpipe, linear in y too", lambda: fit_bspline(x, value, weight, knots, 1, y))
    table.time("nightpipe evaluate", lambda: evaluate(fit, x))
    table.time("nightpipe variance", lambda: variance(fit, x))
    order = np.argsort(x, kind="stable")
    peer = table.time("scipy LSQUnivariateSpline + sort", lambda: _fitpack(x, value, weight, knots), repeat=1)
    difference = np.abs(peer(x[order[::97]]) - evaluate(fit, x[order[::97]])).max()
    table.note(f"largest difference {difference:.1e}")
    table.time("scipy make_lsq_spline + sort", lambda: _lsq(x, value, weight, knots), repeat=1)
    table.show()


def _fitpack(x, value, weight, knots):
    from scipy.interpolate import LSQUnivariateSpline

    order = np.argsort(x, kind="stable")
    return LSQUnivariateSpline(x[order], value[order], knots[1:-1], w=np.sqrt(weight[order]), check_finite=False)


def _lsq(x, value, weight, knots):
    from scipy.interpolate import make_lsq_spline

    order = np.argsort(x, kind="stable")[::8]
    full = np.concatenate([knots[:1].repeat(3), knots, knots[-1:].repeat(3)])
    return make_lsq_spline(x[order], value[order], full, w=np.sqrt(weight[order]))
