"""A simulated imaging night: raw files in each instrument's dialect, the truth beside them, and two catalogues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import ConfigError
from nightpipe.io.atomic import written
from nightpipe.simulate.imaging import truth
from nightpipe.simulate.imaging.camera import Camera, Observatory, known_imagers, observatory, windowed
from nightpipe.simulate.imaging.chip import Chip, chip, digitised, electrons, wells
from nightpipe.simulate.imaging.dialects import dialect
from nightpipe.simulate.imaging.dialects.base import Taken
from nightpipe.simulate.imaging.scene import Field, Light, field_of, flat, science
from nightpipe.simulate.imaging.schedule import Fault, ImagingOptions, Planner, Shot, filters_of, wanted
from nightpipe.simulate.options import valid
from nightpipe.simulate.rig import stream

F32 = NDArray[np.float32]

TARGET: str = ImagingOptions.model_fields["target_name"].default


def is_imager(name: str) -> bool:
    """Return whether a name is that of an imager, as `simulate` or as the descriptions call it."""
    return plain_name(name) in known_imagers()


def plain_name(name: str) -> str:
    """Return a name as the simulator spells it: ``alfosc_imaging`` is ``alfosc-imaging``, ``soxs_ac`` ``soxs-acq``."""
    plain = name.casefold().replace("_", "-")
    return "soxs-acq" if plain == "soxs-ac" else plain


def checked(options: dict[str, Any]) -> ImagingOptions:
    """Return the options, or raise `ConfigError` naming the first that cannot be used."""
    return valid(ImagingOptions, options)


def write_imaging_night(
    instrument: str, out: Path, *, seed: int = 1, beside: Path | None = None, **options: Any
) -> Path:
    """Write a raw night of an imager into `out`, its truth into ``OUT-truth`` (or `beside`), and return that.

    `options` are the fields of `ImagingOptions`. The truth folder holds ``NIGHT.json`` (facts of each frame and
    camera), ``stars.fits``, ``galaxies.fits``, one table per frame, images of each detector, and the catalogues
    ``refcat.fits`` and ``sdss.fits`` as surveys would have them. Raises `ConfigError` for an unknown name or option.
    """
    known, asked = observatory(plain_name(instrument)), checked(options)
    known = windowed(known, asked.window) if asked.window else known
    cameras = wanted(known, asked) if _any(known, asked) else ()
    if not cameras:
        names = sorted({name for camera in known.cameras for patch in camera.patches for name in patch.filters})
        raise ConfigError(
            f"filters and cameras of {known.name}", ", ".join(asked.filters + asked.cameras), f"of {names}"
        )
    out = out.resolve()
    folder = beside or out.with_name(f"{out.name}-truth")
    for place in (out, folder):
        place.mkdir(parents=True, exist_ok=True)
    field = field_of(known, asked, seed)
    shots = Planner(known, asked, stream(seed, "schedule")).night()
    facts: list[dict[str, Any]] = []
    for camera in cameras:
        facts += _camera_night(known, camera, shots, field, asked, seed, out, folder)
    truth.night_truth(folder, known, cameras, field, asked, seed, facts)
    return folder


def _any(known: Observatory, options: ImagingOptions) -> bool:
    return any(True for _ in wanted(known, options))


def _camera_night(
    known: Observatory, camera: Camera, shots: tuple[Shot, ...], field: Field, options: ImagingOptions, seed: int,
    out: Path, folder: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    tongue, silicon = dialect(known.name), chip(camera, stream(seed, f"chip {camera.name}"))
    truth.camera_truth(folder / f"{camera.name}.fits", silicon)
    facts, left = [], None
    for shot in shots:
        if shot.kind == "bias" and camera.infrared:
            continue
        filters = filters_of(camera, shot.turn, options)
        lost = Fault.NO_COORDINATES in options.faults
        taken = Taken(known, camera, shot, filters, options.target_name if shot.kind == "science" else shot.kind, lost)
        raw, light, left, cosmic = expose(known, silicon, shot, field, options, seed, left)
        name = tongue.file_name(taken)
        with written(out / name) as file:
            tongue.hdus(raw, taken).writeto(file)
        truth.frame_truth(folder / name, light, field, cosmic)
        facts.append(truth.frame_facts(name, taken, light))
    return facts


def expose(
    known: Observatory, silicon: Chip, shot: Shot, field: Field, options: ImagingOptions, seed: int,
    left: F32 | None = None,
) -> tuple[NDArray[np.uint32], Light | None, F32 | None, F32]:  # fmt: skip
    """Return the raw array of one exposure, the light it is of (science frames), what it leaves behind for the next,
    and the charge of cosmic rays; `left` is what the one before left behind.
    """
    camera = silicon.camera
    rng = stream(seed, f"photons {camera.name} {shot.number}")
    light = science(known, camera, shot, field, options, seed) if shot.kind == "science" else None
    image = None if light is None else light.image
    if shot.kind in ("skyflat", "domeflat"):
        image = flat(known, camera, shot, field, options, seed)
    charge, cosmic = electrons(silicon, image, shot.exptime, rng, cosmics=options.cosmics, left=left)
    read, full = wells(camera, charge)
    persists = None
    if camera.persist:
        persists = np.where(full, camera.persist * camera.full_well, 0.0).astype(np.float32)
        persists += 0.0 if left is None else 0.4 * left
    return digitised(silicon, read, shot.rise, rng), light, persists, cosmic
