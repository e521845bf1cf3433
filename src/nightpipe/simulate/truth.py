"""The truth beside a simulated night: JSON for the facts, FITS tables and images for what is true of each exposure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from nightpipe.io.atomic import written
from nightpipe.simulate.atmosphere import extinction
from nightpipe.simulate.exposures import Light, LineTruth, ObjectTruth
from nightpipe.simulate.geometry import Geometry
from nightpipe.simulate.rig import Rig
from nightpipe.simulate.schedule import Shot

SCHEMA = 1
"""Rises when a reader of the truth would have to change."""


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write facts for programs."""
    with written(path) as stream:
        stream.write(json.dumps(facts, indent=1, sort_keys=True, allow_nan=False).encode())


def write_fits(path: Path, hdus: list[Any]) -> None:
    """Write tables and images behind an empty primary HDU."""
    with written(path) as stream:
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(stream)


def table(name: str, columns: dict[str, tuple[Any, str]]) -> fits.BinTableHDU:
    """Return a table of named columns, each with its unit; electrons go without, FITS has no word for them."""
    made = []
    for label, (values, unit) in columns.items():
        array = np.asarray(values)
        kind = f"{max(array.dtype.itemsize // 4, 1)}A" if array.dtype.kind == "U" else _CODES[array.dtype.kind]
        made.append(fits.Column(name=label, format=kind, unit=unit or None, array=array))
    return fits.BinTableHDU.from_columns(made, name=name)


_CODES = {"f": "D", "i": "K", "b": "L"}


def exposure_truth(path: Path, rig: Rig, shot: Shot, light: Light | None, cosmic: NDArray[np.float32]) -> None:
    """Write what is true of one exposure: wavelength map, lines with positions, objects, cosmic rays, clean light."""
    hdus: list[Any] = [fits.ImageHDU(cosmic, name="COSMIC")]
    if light is not None:
        hdus.append(fits.ImageHDU(light.geometry.wave_map(), name="WAVE"))
        hdus.append(fits.ImageHDU(light.even.astype(np.float32), name="EVEN"))
        if light.lines is not None:
            hdus.append(_lines(light.geometry, light.lines))
        for number, item in enumerate(light.objects, start=1):
            hdus += [_object(number, rig, shot, item), _profile(number, item)]
    write_fits(path, hdus)


def _lines(geometry: Geometry, lines: LineTruth) -> fits.BinTableHDU:
    """Return the lines on the array: where each falls on the first, middle and last row."""
    edge = geometry.ends()
    seen = (lines.wave > edge[0]) & (lines.wave < edge[1])
    wave = lines.wave[seen]
    rows = {"X_LOW": 0.0, "X_MIDDLE": geometry.middle[1], "X_HIGH": geometry.shape[0] - 1.0}
    return table(
        "LINES",
        {
            "WAVE": (wave, "Angstrom"),
            "SPECIES": (np.array(lines.species, dtype="U12")[seen], ""),
            "LISTED": (lines.listed[seen], ""),
            "ELECTRONS": (lines.electrons[seen], ""),
            **{name: (geometry.x_of(wave, row), "pixel") for name, row in rows.items()},
        },
    )


def _object(number: int, rig: Rig, shot: Shot, item: ObjectTruth) -> fits.BinTableHDU:
    seen, wave = item.seen, item.seen.wave
    hdu = table(
        f"OBJECT{number}",
        {
            "X": (np.arange(len(wave), dtype=float), "pixel"),
            "WAVE": (wave, "Angstrom"),
            "COUNTS": (seen.counts, ""),
            "FLUX": (item.target.light(wave), "erg/s/cm2/Angstrom"),
            "Y": (seen.y, "pixel"),
            "FWHM": (seen.fwhm, "pixel"),
            "PASSED": (item.image.passed_at(wave), ""),
            "ATMOSPHERE": (rig.atmosphere(wave, shot.airmass) * shot.clear, ""),
        },
    )
    hdu.header["OBJECT"] = item.target.name
    hdu.header["SLITPOS"] = (shot.along + item.target.offset, "arcsec from the middle of the slit")
    return hdu


def _profile(number: int, item: ObjectTruth) -> fits.BinTableHDU:
    """Return the profile along the slit at the nodes, one column each, per arcsec."""
    image = item.image
    step = float(image.arcsec[1] - image.arcsec[0])
    columns: dict[str, tuple[Any, str]] = {"ARCSEC": (image.arcsec, "arcsec")}
    for node, row in zip(image.nodes, image.cumulative, strict=True):
        columns[f"P{node:.0f}"] = (np.gradient(row, step), "arcsec-1")
    return table(f"PROFILE{number}", columns)


def setup_truth(path: Path, rig: Rig) -> None:
    """Write what is true of a setup: response and extinction, pixel response, bad pixels, slit illumination."""
    geometry = rig.geometry
    wave = np.linspace(*geometry.ends(), 2000)
    hdus = [
        table(
            "RESPONSE",
            {
                "WAVE": (wave, "Angstrom"),
                "EFFICIENCY": (rig.efficiency(wave), ""),
                "RESPONSE": (rig.response(wave), ""),
                "EXTINCTION": (extinction(wave, rig.air), "mag/airmass"),
            },
        ),
        fits.ImageHDU(rig.silicon.response, name="PIXELS"),
        fits.ImageHDU(rig.silicon.bad.astype(np.uint8), name="BAD"),
        fits.ImageHDU(rig.silicon.structure, name="BIAS"),
        fits.ImageHDU(rig.illumination(geometry).astype(np.float32), name="SLIT"),
    ]
    write_fits(path, hdus)


def setup_facts(rig: Rig) -> dict[str, Any]:
    """Return the numbers that are true of a setup, beside what headers and description say."""
    geometry, silicon = rig.geometry, rig.silicon
    return {
        "amplifiers": [
            {
                "name": amp.name,
                "gain": gain,
                "read_noise": noise,
                "header_gain": amp.gain,
                "header_read_noise": amp.read_noise,
            }
            for amp, gain, noise in zip(rig.detector.amplifiers, silicon.gain, silicon.noise, strict=True)
        ],
        "shape": list(geometry.shape),
        "dispersion": {"coef": geometry.coef.tolist(), "middle": geometry.middle[0], "half": geometry.half},
        "nominal": {"centre": rig.disperser.centre, "dispersion": rig.disperser.dispersion},
        "lines": {"tilt": geometry.tilt, "tilt_change": geometry.tilt_change, "curve": geometry.curve},
        "slit": {"low": geometry.low, "high": geometry.high, "scale": geometry.scale, "trace": list(geometry.trace)},
        "air": vars(rig.air),
        "second_order": rig.second_order,
    }


def shot_facts(shot: Shot, file: str, setup: str, geometry: Geometry | None) -> dict[str, Any]:
    """Return the numbers that are true of one exposure."""
    facts: dict[str, Any] = {
        "file": file, "type": shot.type.value, "target": shot.name, "exptime": shot.exptime, "airmass": shot.airmass,
        "setup": setup, "slit": shot.slit, "lamp": shot.lamp, "start": shot.start.replace(tzinfo=None).isoformat(),
        "ra": shot.ra, "dec": shot.dec,
    }  # fmt: skip
    if shot.type.value in ("science", "standard"):
        facts |= {
            "seeing": shot.seeing,
            "angle": shot.angle,
            "across": shot.across,
            "along": shot.along,
            "clear": shot.clear,
        }
    if geometry is not None:
        facts["flexure"] = {
            "shift": geometry.bend.shift,
            "gradient": geometry.bend.gradient,
            "along": geometry.bend.along,
        }
    return facts
