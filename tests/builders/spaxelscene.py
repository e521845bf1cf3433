"""Spectra of a lenslet unit's exposure without a detector: the simulator's light on native pixels, with noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from nightpipe.model.cube import SpaxelSpectra
from nightpipe.model.exposure import Exposure, FrameType, Setup, Site
from nightpipe.model.flags import Flag
from nightpipe.simulate.atmosphere import airmass_at, altitude_and_parallactic, bands, extinction
from nightpipe.simulate.ifu.exposures import AIR
from nightpipe.simulate.ifu.instrument import AREA, MIRROR, efficiency
from nightpipe.simulate.ifu.lattice import lattice
from nightpipe.simulate.ifu.paint import WAVE, along_columns
from nightpipe.simulate.ifu.sources import Seeing, Source, shares
from nightpipe.simulate.rig import PHOTON
from nightpipe.simulate.sky import night_sky
from nightpipe.simulate.sources import galaxy, star, supernova

LATITUDE, LONGITUDE = 33.3563, -116.8648
COLUMNS = 330
READ_VAR = 85.0


@cache
def lenslets(seed=5):
    return lattice(np.random.default_rng(seed), dead=0)


@dataclass(frozen=True)
class Truth:
    """`electrons` [e-/A] on WAVE of each source, and what the field adds."""

    sources: tuple
    electrons: tuple
    seeing: Seeing
    sky: np.ndarray
    expected: np.ndarray

    def seen(self, wave, fwhm, number=0):
        """Return the source's electrons per A after the line-spread function of `fwhm` [A] at `wave`."""
        fine = np.arange(WAVE[0], WAVE[-1], 2.0)
        light = np.interp(fine, WAVE, self.electrons[number])
        kernel = np.exp(-0.5 * ((fine[None] - wave[:, None]) / (fwhm[:, None] / 2.3548)) ** 2)
        return (kernel @ light) / kernel.sum(axis=1)


def air_of(hour=20.0, dec=20.0):
    height, parallactic = altitude_and_parallactic(0.0, dec, hour, LATITUDE)
    return airmass_at(height), parallactic


def spectra_of(
    seed=1,
    *,
    magnitude=17.0,
    target="supernova",
    east=0.7,
    north=-0.4,
    host=0.0,
    host_offset=2.0,
    host_angle=30.0,
    host_radius=2.5,
    host_index=1.2,
    neighbour=0.0,
    seeing=1.7,
    jitter=(0.3, 0.42),
    exptime=900.0,
    hour=20.0,
    dec=20.0,
    noise=True,
    data_variance=True,
    blank=False,
):
    """Return SpaxelSpectra and their Truth."""
    field = lenslets()
    rng = np.random.default_rng([seed, 77])
    airmass, parallactic = air_of(hour, dec)
    view = Seeing(seeing * airmass**0.6, jitter, airmass, parallactic, AIR)
    sources = (
        []
        if blank
        else [
            (Source("target", east, north), star(5800.0, magnitude) if target == "star" else supernova(0.03, magnitude))
        ]
    )
    if host:
        turn = np.radians(host_angle)
        place = (east + host_offset * np.cos(turn), north + host_offset * np.sin(turn))
        sources.append((Source("host", *place, host_radius, host_index, 0.7, 0.5), galaxy(0.03, host)))
    if neighbour:
        sources.append((Source("neighbour", east - 5.0, north + 3.0), star(4600.0, neighbour)))
    air = 10 ** (-0.4 * airmass * extinction(WAVE, AIR)) * bands(WAVE, airmass, AIR)
    electrons = tuple(light(WAVE) * WAVE / PHOTON * MIRROR * exptime * air * efficiency(WAVE) for _, light in sources)
    glow = night_sky(np.random.default_rng(seed), city=0.8, moon=0.1, airmass=airmass)
    level = AREA * MIRROR * exptime
    sky = level * efficiency(WAVE) * glow.continuum(WAVE)
    strengths = level * efficiency(glow.wave) * glow.flux
    seen = (glow.wave > WAVE[0]) & (glow.wave < WAVE[-1]) & (strengths > 0)
    lines, strengths = glow.wave[seen], strengths[seen]
    density = np.tile(sky, (len(field), 1))
    for (source, _), light in zip(sources, electrons, strict=True):
        density += _shares(source, view) * light
    expected, wave, step, fwhm, first, inside = _columns(field, density, lines, strengths)
    flux, var = expected, expected + READ_VAR
    if noise:
        flux = rng.poisson(np.maximum(expected, 0)) + rng.normal(0, np.sqrt(READ_VAR), expected.shape)
        var = np.maximum(flux, 0) + READ_VAR if data_variance else var
    mask = np.where(inside, 0, int(Flag.NO_DATA)).astype(np.uint32)
    hit = rng.random(mask.shape) < (0.003 if noise else 0)
    mask[hit] |= int(Flag.COSMIC)
    flux = np.where(hit, flux + 2000, flux)
    exposure = Exposure("ifu.fits", "", "sedm", FrameType.SCIENCE, "target", Setup(), "2019-09-12T05:00:00", _mjd(hour),
                        exptime, airmass, 0.0, dec, site=Site("palomar", LONGITUDE, LATITUDE, 1712.0),
                        object_ra=0.0, object_dec=dec)  # fmt: skip
    spectra = SpaxelSpectra(
        flux.astype(np.float32), var.astype(np.float32), mask, wave, step, first, fwhm, field.east, field.north,
        field.q, field.r, flat=True, exposure=exposure, header={"OUT_AIR": 12.0, "OUT_HUM": 42.0},
    )  # fmt: skip
    return spectra, Truth(tuple(s for s, _ in sources), electrons, view, sky, expected)


@cache
def _shares(source, view):
    return shares(lenslets(), source, view)


def _mjd(hour):
    """Return an MJD at which RA 0 (of date) has this hour angle [deg]; precession is a hundredth of what matters."""
    from nightpipe.maths.airmass import precessed, sidereal_time

    mjd = 58738.0
    ra, _ = precessed(0.0, 20.0, mjd)
    away = (hour + ra - float(sidereal_time(mjd, LONGITUDE))) % 360.0
    return mjd + away / 360.98564736629


def _columns(field, density, lines, strengths):
    """Return expected electrons (n, COLUMNS) per native column, wavelengths growing, and what belongs to them."""
    n = len(field)
    expected, wave = np.zeros((n, COLUMNS)), np.zeros((n, COLUMNS))
    step, fwhm, first, inside = (
        np.ones((n, COLUMNS)),
        np.ones((n, COLUMNS)),
        np.zeros(n, dtype=np.int64),
        np.zeros((n, COLUMNS), bool),
    )
    grid = np.arange(3300.0, 10800.0, 10.0)
    for k in range(n):
        begin, light = along_columns(field, k, density[k], lines, strengths)
        light = light[::-1]
        columns = np.arange(begin, begin + light.size)[::-1]
        places = field.column(k, grid)[::-1]
        found = np.interp(columns, places, grid[::-1])
        edges = np.interp(np.append(columns + 0.5, columns[-1] - 0.5), places, grid[::-1])
        m = min(COLUMNS, light.size)
        expected[k, :m], wave[k, :m], step[k, :m] = light[:m], found[:m], np.diff(edges)[:m]
        fwhm[k, :m] = 2.3548 * np.sqrt(field.line[k] ** 2 + 1 / 12) * step[k, :m]
        inside[k, :m] = (columns[:m] >= 0) & (columns[:m] < 2048) & (found[:m] > 3600) & (found[:m] < 9700)
        wave[k, m:] = wave[k, m - 1] + np.arange(1, COLUMNS - m + 1) * step[k, m - 1]
        first[k] = 2047 - columns[0]
    return expected, wave, step, fwhm, first, inside
