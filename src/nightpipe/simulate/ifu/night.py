"""A simulated night of SEDM: raw files with real names and headers, guider frames, and the truth beside them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from nightpipe.io.atomic import written
from nightpipe.simulate.ifu.exposures import Ccd, Lit, ccd, lit, read
from nightpipe.simulate.ifu.headers import cards, file_name
from nightpipe.simulate.ifu.instrument import EPOCHS, Epoch
from nightpipe.simulate.ifu.lattice import Lattice, lattice
from nightpipe.simulate.ifu.paint import WAVE
from nightpipe.simulate.ifu.schedule import Fault, IfuOptions, Planner, Shot
from nightpipe.simulate.imaging.night import write_imaging_night
from nightpipe.simulate.options import valid
from nightpipe.simulate.rig import stream
from nightpipe.simulate.truth import SCHEMA, table, write_fits, write_json

IFUS = ("sedm",)

_TURN = 178.6
"""Position angle [deg] of the rainbow camera's +y."""
_CROSS = {"pixis": (1026.5, 975.3), "andor": (1039.5, 968.5)}
"""Pixel (zero-based) of the rainbow camera where the lenslets' middle lies, in the epoch of the simulated dates."""


def checked(options: dict[str, Any]) -> IfuOptions:
    """Return the options, or raise `ConfigError` naming the first that cannot be used."""
    return valid(IfuOptions, options)


def write_ifu_night(out: Path, *, seed: int = 1, **options: Any) -> Path:
    """Write a night of SEDM into `out`, its truth into ``OUT-truth`` beside it, and return the latter.

    `options` are the fields of `IfuOptions`. The truth folder holds ``sedm.json``, ``lattice.fits`` (the lenslets
    without flexure, and the detector), and for each exposure of the sky a file of its name with the sources' spectra,
    their share in each lenslet, sky and lines. Raises `ConfigError` for an unknown option.
    """
    asked = checked(options)
    out = out.resolve()
    folder = out.with_name(f"{out.name}-truth")
    for place in (out, folder):
        place.mkdir(parents=True, exist_ok=True)
    epoch = EPOCHS[asked.epoch]
    lenslets = lattice(stream(seed, "lattice"), dead=60 if Fault.DEAD in asked.faults else 3)
    silicon = ccd(epoch, stream(seed, "ccd"))
    shots = Planner(asked, (epoch.speed, epoch.fast), stream(seed, "schedule")).night()
    facts = [_expose(shot, lenslets, silicon, asked, seed, out, folder) for shot in shots]
    write_fits(folder / "lattice.fits", [_lenslets(lenslets), *_detector(silicon)])
    night = {"schema": SCHEMA, "instrument": "sedm", "seed": seed, "options": asked.model_dump(mode="json")}
    detector = {"epoch": epoch.name, "gain": epoch.gain, "noise": epoch.noise, "header_gain": epoch.header_gain}
    write_json(folder / "sedm.json", {**night, "detector": detector, "exposures": facts})
    if asked.guider and Fault.NO_GUIDER not in asked.faults:
        _guider_frames(shots, asked, seed, out, folder)
    return folder


def _expose(
    shot: Shot, lenslets: Lattice, silicon: Ccd, options: IfuOptions, seed: int, out: Path, folder: Path
) -> dict[str, Any]:
    light = lit(shot, lenslets, options, seed)
    rng = stream(seed, f"photons {shot.number}")
    raw, cosmic = read(silicon, shot, None if light is None else light.image, rng, cosmics=options.cosmics)
    hdu = fits.PrimaryHDU(raw)
    for name, value in cards(shot, silicon.epoch, options).items():
        hdu.header[name] = value
    with written(out / file_name(shot)) as file:
        hdu.writeto(file)
    if light is not None and shot.kind in ("standard", "science"):
        _exposure_truth(folder / file_name(shot), light, cosmic)
    return _facts(shot, silicon.epoch, light)


def _exposure_truth(path: Path, light: Lit, cosmic: np.ndarray) -> None:
    hdus: list[Any] = [_lenslets(light.lenslets)]
    for number, item in enumerate(light.sources, start=1):
        columns = {"WAVE": (WAVE, "Angstrom"), "FLUX": (item.light(WAVE), "erg/s/cm2/Angstrom"),
                   "ELECTRONS": (item.electrons, "Angstrom-1")}  # fmt: skip
        hdu = table(f"SOURCE{number}", columns)
        hdu.header["OBJECT"] = item.source.name
        hdu.header["EAST"], hdu.header["NORTH"] = item.source.east, item.source.north
        hdus += [hdu, fits.ImageHDU(item.share.astype(np.float32), name=f"SHARE{number}")]
    if light.sky is not None and light.lines is not None and light.strengths is not None:
        hdus.append(table("SKY", {"WAVE": (WAVE, "Angstrom"), "ELECTRONS": (light.sky, "Angstrom-1")}))
        hdus.append(table("LINES", {"WAVE": (light.lines, "Angstrom"), "ELECTRONS": (light.strengths, "")}))
    place = np.argwhere(cosmic > 0)
    cosmics = {"X": (place[:, 1], "pixel"), "Y": (place[:, 0], "pixel"), "ELECTRONS": (cosmic[cosmic > 0], "")}
    hdus.append(table("COSMICS", cosmics))
    write_fits(path, hdus)


def _lenslets(lenslets: Lattice) -> fits.BinTableHDU:
    """Return the lenslets as a table: places on the sky and the detector, coefficients, and columns of known waves."""
    units = {"east": "arcsec", "north": "arcsec", "x": "pixel", "y": "pixel", "width": "pixel", "line": "pixel"}
    columns = {name.upper(): (getattr(lenslets, name), units.get(name, "")) for name in vars(lenslets)}
    waves = np.array([3700.0, 4047.708, 4500.0, 5000.0, 5578.887, 6500.0, 7600.0, 8500.0, 9165.16, 9300.0])
    places = np.array([lenslets.column(k, waves) for k in range(len(lenslets))])
    for number, wave in enumerate(waves):
        columns[f"X{wave:.0f}"] = (places[:, number], "pixel")
        rows = [lenslets.row(k, places[k, number]) for k in range(len(lenslets))]
        columns[f"Y{wave:.0f}"] = (np.array(rows), "pixel")
    return table("LENSLETS", columns)


def _detector(silicon: Ccd) -> list[fits.ImageHDU]:
    images = {"PIXELS": silicon.pixels, "BIAS": silicon.pattern, "BAD": silicon.bad.astype(np.uint8)}
    return [fits.ImageHDU(image, name=name) for name, image in images.items()]


def _facts(shot: Shot, epoch: Epoch, light: Lit | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "file": file_name(shot), "type": shot.kind, "target": shot.name, "lamp": shot.lamp, "exptime": shot.exptime,
        "start": shot.start.replace(tzinfo=None).isoformat(), "speed": shot.speed, "noise": epoch.noise[shot.speed],
        "flexure": list(shot.flexure),
    }  # fmt: skip
    if light is None or shot.kind not in ("standard", "science"):
        return facts
    places = [
        {"name": item.source.name, "east": item.source.east, "north": item.source.north, "radius": item.source.radius}
        for item in light.sources
    ]
    return facts | {
        "ra": shot.ra, "dec": shot.dec, "airmass": shot.middle_airmass, "parallactic": shot.middle_parallactic,
        "moved": shot.moved, "seeing": shot.seeing, "jitter": list(shot.jitter), "clear": shot.clear, "sources": places,
        "letter": shot.letter,
    }  # fmt: skip


def _guider_frames(shots: tuple[Shot, ...], options: IfuOptions, seed: int, out: Path, folder: Path) -> None:
    """Write rainbow-camera frames of each target, 60 s long, from the start of its first exposure on."""
    for shot in shots:
        if shot.kind != "science" or shot.letter != "A":
            continue
        frames = 1 if options.size == "small" else max(int(shot.exptime / 150.0), 1)
        if options.size == "full":
            _rainbow(shot, f"ACQ-{shot.name}", -70.0, 1, options, seed, out, folder / f"acq-{shot.name}")
        _rainbow(shot, shot.name, 3.0, frames, options, seed, out, folder / f"rc-{shot.name}")


def _rainbow(
    shot: Shot, name: str, after: float, frames: int, options: IfuOptions, seed: int, out: Path, folder: Path
) -> None:
    """Write rainbow-camera frames from so many seconds after an exposure's start on."""
    start = (shot.start.replace(tzinfo=None) + timedelta(seconds=after)).isoformat()
    aim = _aim(options.epoch, shot.offset)
    lost = 2400.0 if Fault.BLIND in options.faults else 0.0
    write_imaging_night(
        "sedm-rc", out, seed=seed, beside=folder, ra=shot.ra, dec=shot.dec, exposures=frames, exptime=60.0,
        calibrations=False, transient_mag=options.magnitude, host=options.host, filters="r", start=start,
        target_name=name, seeing=shot.seeing, clouds=shot.clear, aim=aim, pointing_error=0.0, dither=0.0, bad_wcs=lost,
    )  # fmt: skip


def _aim(epoch: str, offset: tuple[float, float]) -> tuple[float, float]:
    """Return where [arcsec] the rainbow camera's middle points from a target that lies `offset` from the lenslets'."""
    x, y = (0.394 * (pixel - 1023.5) for pixel in _CROSS[epoch])
    sine, cosine = np.sin(np.radians(_TURN)), np.cos(np.radians(_TURN))
    return float(cosine * x - sine * y - offset[0]), float(-sine * x - cosine * y - offset[1])
