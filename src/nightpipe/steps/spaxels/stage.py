"""What a scene is played on: the lenslets, the air above, and how parameters turn into shares of light."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.kernels.hexlight import light_in_hexagons, slopes_in_hexagons
from nightpipe.maths.hexagons import Hexagon, hexagon_of
from nightpipe.maths.mixtures import coarse, sersic, star
from nightpipe.maths.refraction import lift, pressure_at, vapour_pressure, way_up
from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.scene import Body, Placed

FloatArray = NDArray[np.float64]

REFERENCE = 6000.0
POINT = np.array([[1.0, 0.0, 0.0, 0.0]])

SHARED = (
    "ln_fwhm", "rho", "curve", "blur", "blur_plus", "blur_cross", "moffat", "halo", "along", "across", "sky_east",
    "sky_north",
)  # fmt: skip
_PRIORS = {
    "ln_fwhm": (np.log(1.7), 0.5),
    "rho": (-0.26, 0.04),
    "curve": (-0.03, 0.03),
    "blur": (0.1, 0.08),
    "blur_plus": (0.0, 0.08),
    "blur_cross": (0.0, 0.05),
    "moffat": (0.77, 0.07),
    "halo": (0.187, 0.015),
    "along": (1.0, 0.05),
    "across": (0.0, 0.05),
    "sky_east": (0.0, 0.002),
    "sky_north": (0.0, 0.002),
    "ln_radius": (np.log(2.0), 0.7),
    "ln_index": (np.log(1.3), 0.4),
    "e_plus": (0.0, 0.25),
    "e_cross": (0.0, 0.25),
}
"""What is known before the fit. Turbulence with an outer scale of 15 to 60 m has, in this family, a width that goes as
wavelength to -0.29 to -0.25, a Moffat of 0.85 to 0.75 and a halo of 0.22 to 0.18 (without limits: -0.20, 0.63, 0.145;
from the transfer function of Tokovinin 2002, PASP 114, 1156, eq. 16); guiding: 0.3 arcsec rms; refraction: the
air is known to some per cent, the angle to some degrees; galaxies: those in whose light SEDM's transients stand."""


@dataclass(frozen=True)
class Air:
    """The way up: `airmass`, `parallactic` [deg], and the `lift` [arcsec] of light at `wave` [Angstrom] over that of
    the reference; `known` is False where coordinates or site are not, and refraction must be found by the fit alone.
    """

    airmass: float
    parallactic: float
    wave: FloatArray
    lift: FloatArray
    known: bool = True
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True)
class Priors:
    """Expected values and errors of the parameters, by name."""

    names: tuple[str, ...]
    value: FloatArray
    error: FloatArray

    def at(self, name: str) -> int:
        """Return the number of a parameter."""
        return self.names.index(name)


@dataclass(frozen=True)
class Stage:
    """The lenslets (n,) and the air; `galaxies` of the bodies beside the target says which are no points."""

    east: FloatArray
    north: FloatArray
    hexagon: Hexagon
    air: Air
    galaxies: tuple[bool, ...] = ()
    middle: tuple[float, float] = field(default=(0.0, 0.0))

    def shares(self, theta: Priors, body: int, spaxel: NDArray[np.int64], wave: FloatArray) -> FloatArray:
        """Return the share (m,) of a body's light (0: the target) in lenslets at wavelengths [Angstrom]."""
        offset, fwhm, blur, parts = self._seen(theta, body, spaxel, wave)
        value = dict(zip(theta.names, theta.value.tolist(), strict=True))
        galaxy = body > 0 and self.galaxies[body - 1]
        shape = np.column_stack(coarse(*parts) if galaxy else parts)
        own = _galaxy(value, body) if galaxy else POINT
        nodes, weights = self.hexagon.nodes()
        extent = self.hexagon.variance
        if galaxy:  # wide enough for its lenslets to count by their variance alone
            own[:, 1:3] += extent
            nodes, weights, extent = np.zeros((1, 2)), np.ones(1), 0.0
        return light_in_hexagons(offset, fwhm, shape, blur, own, nodes, weights, self.hexagon.area, extent)

    def _seen(
        self, theta: Priors, body: int, spaxel: NDArray[np.int64], wave: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, tuple[FloatArray, FloatArray]]:
        """Return how far lenslets lie from a body (m, 2), the seeing there (m,) [arcsec], guiding, a star's parts."""
        value = dict(zip(theta.names, theta.value.tolist(), strict=True))
        up = np.interp(wave, self.air.wave, self.air.lift)
        turn = np.radians(self.air.parallactic)
        along, across = value["along"], value["across"]
        east = value[f"east{body}"] + up * (along * np.sin(turn) + across * np.cos(turn))
        north = value[f"north{body}"] + up * (along * np.cos(turn) - across * np.sin(turn))
        offset = np.column_stack([self.east[spaxel] - east, self.north[spaxel] - north])
        u = _colour(wave)
        fwhm = np.exp(np.clip(value["ln_fwhm"] + value["rho"] * u + 0.5 * value["curve"] * u * u, -1.2, 2.5))
        blur = np.array([value["blur"] + value["blur_plus"], value["blur"] - value["blur_plus"], value["blur_cross"]])
        parts = star(float(np.clip(value["moffat"], 0.0, 1.0)), float(np.clip(value["halo"], 0.0, 0.6)))
        return offset, fwhm, blur, parts

    def slopes(self, theta: Priors, body: int, spaxel: NDArray[np.int64], wave: FloatArray) -> dict[str, FloatArray]:
        """Return how a point's share (m,) changes with each parameter that has a derivative in closed form."""
        offset, fwhm, blur, parts = self._seen(theta, body, spaxel, wave)
        nodes, weights = self.hexagon.nodes()
        known = slopes_in_hexagons(
            offset, fwhm, np.column_stack(parts), blur, POINT, nodes, weights, self.hexagon.area, self.hexagon.variance
        )
        x, y, size, xx, yy, xy = known.T
        up, turn, u = np.interp(wave, self.air.wave, self.air.lift), np.radians(self.air.parallactic), _colour(wave)
        return {
            f"east{body}": -x, f"north{body}": -y, "ln_fwhm": size, "rho": u * size, "curve": 0.5 * u * u * size,
            "blur": xx + yy, "blur_plus": xx - yy, "blur_cross": xy,
            "along": -up * (np.sin(turn) * x + np.cos(turn) * y), "across": -up * (np.cos(turn) * x - np.sin(turn) * y),
        }  # fmt: skip

    def moves(self, name: str, number: int) -> bool:
        """Tell whether a parameter moves what a spectrum gives (0: the target, 1: the sky, then the others).

        Of a galaxy the finer shape of seeing moves nothing: the derivative alone leaves that out.
        """
        if name.startswith("sky_"):
            return number == 1
        if number == 1:
            return False
        body = max(number - 1, 0)
        if name[-1].isdigit():
            return int(name[-1]) == body
        return not (body and self.galaxies[body - 1]) or name in ("ln_fwhm", "along", "across")

    def sky_factor(self, theta: Priors, spaxel: NDArray[np.int64]) -> FloatArray:
        """Return the sky in lenslets over that in the middle."""
        slope = theta.value[theta.at("sky_east")], theta.value[theta.at("sky_north")]
        return np.asarray(
            1.0 + slope[0] * (self.east[spaxel] - self.middle[0]) + slope[1] * (self.north[spaxel] - self.middle[1])
        )

    def with_body(self, *, galaxy: bool) -> Stage:
        """Return the stage with one more body."""
        return replace(self, galaxies=(*self.galaxies, galaxy))


def _colour(wave: FloatArray) -> FloatArray:
    return np.asarray(np.log(wave / REFERENCE))


def stage_of(spectra: SpaxelSpectra, air: Air) -> Stage:
    """Return the stage of an exposure."""
    hexagon = hexagon_of(spectra.q, spectra.r, spectra.east, spectra.north)
    middle = (float(np.median(spectra.east)), float(np.median(spectra.north)))
    return Stage(spectra.east, spectra.north, hexagon, air, (), middle)


def air_of(spectra: SpaxelSpectra, temperature: float, humidity: float) -> Air:
    """Return the air above an exposure from coordinates, time and site; weather [C, %] as measured."""
    wave = np.arange(3300.0, 10600.0, 25.0)
    exposure = spectra.exposure
    site = None if exposure is None else exposure.site
    ra = None if exposure is None else exposure.object_ra if exposure.object_ra is not None else exposure.ra
    dec = None if exposure is None else exposure.object_dec if exposure.object_dec is not None else exposure.dec
    if exposure is None or site is None or ra is None or dec is None:
        airmass = (exposure.airmass if exposure is not None else None) or 1.2
        zenith = float(np.degrees(np.arccos(1.0 / max(airmass, 1.0))))
        rise = lift(wave, REFERENCE, zenith, (85000.0, temperature, 500.0))
        text = "neither coordinates nor site are known: the direction of refraction was fitted without a prediction"
        return Air(airmass, 0.0, wave, rise, known=False, caveats=(Caveat("refraction.unknown", text),))
    zenith, angle, airmass = way_up(ra, dec, exposure.mjd, site.longitude, site.latitude)
    vapour = vapour_pressure(temperature, humidity)
    rise = lift(wave, REFERENCE, zenith, (pressure_at(site.height), temperature, vapour))
    return Air(airmass, angle, wave, rise)


def priors_of(place: Placed, air: Air, galaxies: tuple[bool, ...], bodies: tuple[Body, ...]) -> Priors:
    """Return what is known before the fit of the target at `place` and of `bodies` near where they were found."""
    names, rows = list(SHARED), [_PRIORS[name] for name in SHARED]
    if not air.known:
        rows[names.index("along")] = (0.0, 1.5)
        rows[names.index("across")] = (0.0, 1.5)
    sigma = np.sqrt(np.diag(place.covariance))
    names += ["east0", "north0"]
    rows += [(place.east, float(sigma[0])), (place.north, float(sigma[1]))]
    for number, (body, galaxy) in enumerate(zip(bodies, galaxies, strict=True), start=1):
        names += [f"east{number}", f"north{number}"]
        rows += [(body.east, 1.5 if galaxy else 0.6), (body.north, 1.5 if galaxy else 0.6)]
        if galaxy:
            for name in ("ln_radius", "ln_index", "e_plus", "e_cross"):
                names.append(f"{name}{number}")
                rows.append(_PRIORS[name])
    table = np.array(rows, dtype=np.float64)
    return Priors(tuple(names), table[:, 0], table[:, 1])


def galaxy_of(theta: Priors, body: int) -> tuple[float, float, float, float]:
    """Return radius [arcsec], index, ratio of axes and angle [deg] of a galaxy."""
    value = dict(zip(theta.names, theta.value.tolist(), strict=True))
    plus, cross = value[f"e_plus{body}"], value[f"e_cross{body}"]
    size = min(float(np.hypot(plus, cross)), 0.8)
    angle = 0.5 * np.degrees(np.arctan2(cross, plus))
    radius = float(np.exp(np.clip(value[f"ln_radius{body}"], -1.6, 2.7)))
    return radius, float(np.exp(value[f"ln_index{body}"])), (1.0 - size) / (1.0 + size), float(angle)


def _galaxy(value: dict[str, float], body: int) -> FloatArray:
    """Return the rows (m, 4) of weights and covariances of a galaxy's Gaussians."""
    theta = Priors(tuple(value), np.array(list(value.values())), np.zeros(len(value)))
    radius, index, ratio, angle = galaxy_of(theta, body)
    weight, width = sersic(index)
    long, short = (radius * width) ** 2, (radius * ratio * width) ** 2
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.column_stack([weight, long * c * c + short * s * s, long * s * s + short * c * c, (long - short) * c * s])
