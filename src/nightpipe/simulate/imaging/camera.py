"""What the simulator knows of each camera: geometry, detector, filters; the true values, not those of the headers."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from nightpipe.base.errors import ConfigError

Box = tuple[int, int, int, int]
"""x0, x1, y0, y1 of an array as read: zero-based, half open."""


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Filter(_Known):
    """One filter in one camera.

    `band` of the standard system, `wave` [A]; `zero` the magnitude that gives 1 electron/s outside the air; `sky` its
    brightness [mag/arcsec2]; `extinction` [mag/airmass] for a star of g-i = 1, `second` what g-i adds to it; `colour`
    and `bend`: natural magnitude = standard + colour (g-i - 1) + bend (g-i - 1)^2; `fringe` the strength of fringes
    over the sky, `drift` the relative rms of the sky from frame to frame.
    """

    band: str
    wave: float
    zero: float
    sky: float
    extinction: float
    second: float = 0.0
    colour: float = 0.0
    bend: float = 0.0
    fringe: float = 0.0
    drift: float = 0.01
    exptime: float = 60.0
    header: str = ""


class Patch(_Known):
    """A part `box` of the array as read behind one of `filters` (one a frame)."""

    box: Box
    filters: tuple[str, ...]


class Camera(_Known):
    """One detector.

    `shape` (ny, nx) of the array as read, `light` the box that sees the sky, `overscan` boxes that do not. `scale`
    [arcsec/pixel], `rotation` [deg] position angle of +y, `parity` -1 as on the sky, +1 mirrored; `barrel` the cubic
    distortion [1/rad^2] (r' = r (1 + barrel r^2)), `offset` (east, north) [arcsec] of the array's centre from the
    pointing. `gain`
    [e-/adu] and `noise` [e-] are true, `header_gain`, `header_noise` what is written. `full_well` [e-], `ceiling` and
    `pedestal` [adu], `dark` [e-/s/pixel], `nonlinear` lost fraction at full well, `persist` the share of a saturated
    pixel's charge in the next frame.
    """

    name: str
    shape: tuple[int, int]
    light: Box
    overscan: tuple[Box, ...] = ()
    patches: tuple[Patch, ...]
    scale: float
    rotation: float = 0.0
    parity: int = -1
    barrel: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)
    gain: float
    noise: float
    header_gain: float | None = None
    header_noise: float | None = None
    pedestal: float = 1000.0
    full_well: float = 1e5
    ceiling: int = 65535
    dark: float = 0.001
    pixel: float = 15.0
    thickness: float = 16.0
    nonlinear: float = 0.015
    persist: float = 0.0
    infrared: bool = False
    prnu: float = 0.006
    bad_columns: int = 2
    hot: float = 2e-4
    dust: int = 25


class Observatory(_Known):
    """An instrument: its cameras and filters, where it stands, and how a night with it goes.

    `calibrations` are the kinds it takes (bias, dark, skyflat, domeflat); `mirror` [m]; `field` [arcsec] and `coma` as
    in `psf.Blur`; `seeing` [arcsec]; `start` the time of the first science frame; `dark_exptime` [s].
    `apertures` (name, east, north) [arcmin from the axis] are where targets are put, in turn.
    """

    name: str
    site: str
    longitude: float
    latitude: float
    mirror: float
    seeing: float
    field: float = 0.2
    coma: float = 0.15
    aureole: float = 0.02
    start: str
    centre: tuple[float, float]
    dither: float = 20.0
    pointing_error: float = 5.0
    calibrations: tuple[str, ...]
    flat_exptime: float = 10.0
    dark_exptime: float = 0.0
    overhead: float = 20.0
    apertures: tuple[tuple[str, float, float], ...] = ()
    filters: dict[str, Filter]
    cameras: tuple[Camera, ...] = Field(min_length=1)


def windowed(known: Observatory, side: int) -> Observatory:
    """Return an instrument of which only the middle `side` pixels are read, overscan beside them and all.

    Where the overscan lies above the light only columns are left out. ConfigError: several filters on one detector.
    """
    return known.model_copy(update={"cameras": tuple(_windowed(known, one, side) for one in known.cameras)})


def _windowed(known: Observatory, camera: Camera, side: int) -> Camera:
    x0, x1, y0, y1 = camera.light
    if len(camera.patches) > 1:
        raise ConfigError("a camera that can be windowed", f"{known.name} {camera.name}", "leave out window")
    nx, ny = min(side, x1 - x0), min(side, y1 - y0)
    if any(box[2] >= y1 for box in camera.overscan):  # the columns before and behind are not read
        light, shape = (0, nx, y0, y1), (camera.shape[0], nx)
        overscan = tuple((0, nx, *box[2:]) for box in camera.overscan)
    else:
        cut, low = x1 - x0 - nx, y1 - y0 - ny
        light, shape = (x0, x0 + nx, y0, y0 + ny), (camera.shape[0] - low, camera.shape[1] - cut)
        overscan = tuple((a - cut, b - cut, y0, y0 + ny) for a, b, _, _ in camera.overscan)
    patches = (camera.patches[0].model_copy(update={"box": light}),)
    return camera.model_copy(update={"shape": shape, "light": light, "overscan": overscan, "patches": patches})


def known_imagers() -> tuple[str, ...]:
    """Return the names that `observatory` accepts."""
    folder = files("nightpipe.simulate").joinpath("data", "imaging")
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


@cache
def observatory(name: str) -> Observatory:
    """Return what is known of an imager (``ratir``, ``alfosc-imaging``, ...); ConfigError lists those there are."""
    if name not in known_imagers():
        raise ConfigError("an imager that can be simulated", name, f"one of {', '.join(known_imagers())}")
    text = files("nightpipe.simulate").joinpath("data", "imaging", f"{name}.toml").read_text(encoding="utf-8")
    return Observatory.model_validate({**tomllib.loads(text), "name": name})
