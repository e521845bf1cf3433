"""A tangent plane with a polynomial distortion fitted to stars, and the odds that the matches are no chance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.maths.robust import mad_std
from nightpipe.maths.tan import plane_of_sky, sky_of_plane

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Plate:
    """A TAN-SIP solution in numbers: `crval` [deg], `crpix` (zero-based), `cd` (2, 2) [deg/pixel], SIP `a`, `b`.

    `keep` (n,) tells which stars the fit used, `residual` (2, n) [arcsec] lies along ra cos dec and dec, model minus
    catalogue; `press` (n,) [arcsec] is the length of a star's residual had the fit not known it, `error` [arcsec] that
    of the centre.
    """

    crval: tuple[float, float]
    crpix: tuple[float, float]
    cd: FloatArray
    a: FloatArray
    b: FloatArray
    keep: Bools
    residual: FloatArray
    press: FloatArray
    error: float


def powers(order: int) -> list[tuple[int, int]]:
    """Return the exponents (p, q) of all terms u**p v**q up to `order`, constant and linear first."""
    return [(total - q, q) for total in range(order + 1) for q in range(total + 1)]


def design(u: FloatArray, v: FloatArray, order: int) -> FloatArray:
    """Return the terms (n, k) of a polynomial in two variables (n,)."""
    return np.stack([u**p * v**q for p, q in powers(order)], axis=1)


def fit_plate(
    x: FloatArray,
    y: FloatArray,
    ra: FloatArray,
    dec: FloatArray,
    *,
    crpix: tuple[float, float],
    crval: tuple[float, float],
    order: int,
    error: FloatArray | None = None,
    clip: float = 4.0,
) -> Plate:
    """Return the solution of `order` (1: TAN, else TAN-SIP) of stars (n,) [zero-based pixel; deg], outliers left out.

    `crval` is a first guess of the sky at `crpix`. Stars weigh by their own errors (n,) [arcsec], 0 where unknown, to
    which the scatter that these do not explain is added (seeing, the catalogue's systematics); those beyond `clip`
    sigma of the others go.
    """
    own = np.zeros(x.size) if error is None else error
    keep, floor = np.ones(x.size, np.bool_), math.inf
    for _ in range(12):
        weight = np.ones(x.size) if math.isinf(floor) else 1.0 / (floor**2 + own**2)
        crval, coefficients, residual, leverage = _solved(x, y, ra, dec, crpix, crval, order, keep * weight)
        floor = _floor(residual[:, keep], own[keep], coefficients.shape[0])
        sigma = np.sqrt(floor**2 + own**2)
        now = np.hypot(*residual) <= clip * sigma * math.sqrt(2)
        if now.sum() < coefficients.shape[0] + 1 or np.array_equal(now, keep):
            break
        keep = now
    cd, a, b = _sip(coefficients, order, _unit(x, y, crpix))
    press = np.hypot(*residual) / np.maximum(1.0 - leverage, 1e-3)
    scatter = math.sqrt(float(np.mean(residual[:, keep] ** 2))) if keep.any() else math.nan
    spare = max(int(keep.sum()) - coefficients.shape[0], 1)
    centre = scatter * math.sqrt(
        keep.sum() / spare / max(int(keep.sum()), 1) * _centre_factor(x, y, crpix, order, keep)
    )
    return Plate(crval, crpix, cd, a, b, keep, residual, press, centre)


def fit_radial(
    x: FloatArray,
    y: FloatArray,
    ra: FloatArray,
    dec: FloatArray,
    *,
    crpix: tuple[float, float],
    crval: tuple[float, float],
    error: FloatArray | None = None,
    clip: float = 4.0,
) -> Plate:
    """Return a solution whose distortion is one cubic term along the radius, as `fit_plate` does for all terms.

    It is what lenses and mirrors do first (Brown 1966, Photogrammetric Engineering 32, 444), and a dozen stars tell it.
    """
    unit = _unit(x, y, crpix)
    u, v = (x - crpix[0]) / unit, (y - crpix[1]) / unit
    bend = 0.0
    for _ in range(6):
        push = 1.0 + bend * (u * u + v * v)
        at = (crpix[0] + unit * u * push, crpix[1] + unit * v * push)
        plain = fit_plate(*at, ra, dec, crpix=crpix, crval=crval, order=1, error=error, clip=clip)
        r2 = (u * u + v * v)[plain.keep]
        outward = 3600.0 * unit * (plain.cd @ np.stack((u[plain.keep] * r2, v[plain.keep] * r2)))
        # the shape that an affine fit cannot take up
        basis = design(u[plain.keep], v[plain.keep], 1)
        outward -= (basis @ np.linalg.lstsq(basis, outward.T, rcond=None)[0]).T
        step = float(np.sum(outward * plain.residual[:, plain.keep]) / max(float(np.sum(outward**2)), 1e-30))
        bend -= step
        if abs(step) < 1e-9:
            break
    sip = np.zeros((2, 4, 4))
    sip[0, 3, 0] = sip[0, 1, 2] = sip[1, 0, 3] = sip[1, 2, 1] = bend / unit**2
    # one term more, shared by both axes: a star tells a little more of its own place
    spare = np.maximum(1.0 - 3.5 / max(int(plain.keep.sum()), 4), 0.1) / np.maximum(
        1.0 - 3.0 / max(int(plain.keep.sum()), 4), 0.1
    )
    return replace(plain, a=sip[0], b=sip[1], press=plain.press / spare)


def _unit(x: FloatArray, y: FloatArray, crpix: tuple[float, float]) -> float:
    """Return the length [pixel] by which positions are scaled, for the fit's condition."""
    return max(float(np.max(np.hypot(x - crpix[0], y - crpix[1]))), 1.0)


def _solved(
    x: FloatArray, y: FloatArray, ra: FloatArray, dec: FloatArray, crpix: tuple[float, float],
    crval: tuple[float, float], order: int, weight: FloatArray,
) -> tuple[tuple[float, float], FloatArray, FloatArray, FloatArray]:  # fmt: skip
    """Return crval, the coefficients (k, 2) [deg], residuals (2, n) [arcsec] and leverages (n,).

    The plane is moved until it touches the sky at the reference pixel: then there is no constant term.
    """
    unit = _unit(x, y, crpix)
    matrix = design((x - crpix[0]) / unit, (y - crpix[1]) / unit, order)
    weighted = matrix * (weight / max(float(weight.max()), 1e-300))[:, None]
    inverse = np.linalg.solve(matrix.T @ weighted + 1e-14 * np.eye(matrix.shape[1]), weighted.T)
    coefficients = np.zeros((matrix.shape[1], 2))
    plane = np.zeros((x.size, 2))
    for _ in range(4):
        plane = np.stack(plane_of_sky(ra, dec, crval), axis=1)
        coefficients = inverse @ plane
        moved = sky_of_plane(coefficients[0, 0], coefficients[0, 1], crval)
        if np.hypot(*coefficients[0]) < 1e-11:
            break
        crval = (float(moved[0]), float(moved[1]))
    residual = 3600.0 * (matrix @ coefficients - plane).T
    leverage = np.einsum("ij,ji->i", matrix, inverse)
    return crval, coefficients, residual, leverage


def _floor(residual: FloatArray, own: FloatArray, terms: int) -> float:
    """Return the scatter [arcsec, per axis] that must be added to the stars' own errors to explain the residuals."""
    freedom = math.sqrt(residual.shape[1] / max(residual.shape[1] - terms, 1))
    total = freedom * float(np.hypot(*(mad_std(part) for part in residual))) / math.sqrt(2)
    return math.sqrt(max(total**2 - float(np.median(own)) ** 2, (0.2 * total) ** 2, 1e-10))


def _sip(coefficients: FloatArray, order: int, unit: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the CD matrix and SIP's a, b of the plane's polynomial: CD (u + a, v + b) = plane."""
    scaled = {pq: coefficients[k] / unit ** sum(pq) for k, pq in enumerate(powers(order))}
    cd = np.stack((scaled[1, 0], scaled[0, 1]), axis=1)
    if order < 2:
        return cd, np.zeros((0, 0)), np.zeros((0, 0))
    inverse = np.linalg.inv(cd)
    sip = np.zeros((2, order + 1, order + 1))
    for (p, q), value in scaled.items():
        if p + q >= 2:
            sip[:, p, q] = inverse @ value
    return cd, sip[0], sip[1]


def _centre_factor(x: FloatArray, y: FloatArray, crpix: tuple[float, float], order: int, keep: Bools) -> float:
    """Return n times the variance of the fit at the reference pixel, in units of one star's."""
    unit = _unit(x, y, crpix)
    matrix = design((x[keep] - crpix[0]) / unit, (y[keep] - crpix[1]) / unit, order)
    return float(keep.sum() * np.linalg.pinv(matrix.T @ matrix)[0, 0])


def choose_order(plates: dict[int, Plate], gain: float = 0.98) -> int:
    """Return the key (order or terms) of the plate that predicts unseen stars best; the lower where it hardly matters.

    The loss is that of Tukey's truncated squares of the leave-one-out residuals, whose scale is that of the best plate:
    outliers then speak for no order.
    """
    scale = min(max(float(np.median(plate.press)), 1e-6) for plate in plates.values())
    loss = {order: float(np.mean(np.minimum((plate.press / scale) ** 2, 25.0))) for order, plate in plates.items()}
    best = min(plates)
    for order in sorted(plates):
        if loss[order] < gain * loss[best]:
            best = order
    return best


def log_odds(
    apart: FloatArray, sigma: float, area: float, references: int, *, free: int, distractors: float = 0.5
) -> float:
    """Return the log of the odds that stars match for a reason, from their distances (n,) to the next reference.

    Lang et al. 2010 (AJ 139, 1782), section 2.3: a star is a distractor with the share `distractors`, else scattered by
    `sigma` about one of `references` stars in an `area` of the same unit squared. The `free` best matches are left out:
    the fit could have made them.
    """
    if references == 0 or not apart.size:
        return 0.0
    peak = (1.0 - distractors) * area / (2.0 * math.pi * sigma**2 * references)
    each = np.log(distractors + peak * np.exp(-0.5 * np.minimum(apart / sigma, 30.0) ** 2))
    rest = np.sort(each)[: each.size - free] if free < each.size else np.zeros(0)
    return float(rest.sum())
