"""The report of a night: one self-contained HTML page, readable on a phone."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.api.columns import TargetTable
from nightpipe.model.frame import Frame
from nightpipe.model.spectrum import SkyModel, Source
from nightpipe.model.traces import TraceSet
from nightpipe.model.wave import WaveSolution

if TYPE_CHECKING:
    from PIL.Image import Image as PictureOf

_PICTURE_WIDTH = 900
SMALL = 200_000
"""Bytes of a PNG beyond which the page embeds a JPEG of it."""


@dataclass(frozen=True)
class Figure:
    """A picture of the report: what it shows, and the PNG file that lies in the output folder."""

    title: str
    path: Path


@dataclass(frozen=True)
class Picker:
    """What a click on an exposure's slit profile or two-dimensional spectrum needs to know.

    `arcsec` and `profile` are the slit profile; `first` and `last` the slit positions of the picture's lower and upper
    edge [arcsec]; `wave` samples the wavelength along the picture; `sources` hold name, place and width [arcsec].
    """

    exposure: str
    arcsec: tuple[float, ...]
    profile: tuple[float, ...]
    picture: str
    first: float
    last: float
    wave: tuple[float, ...]
    sources: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Section:
    """A target or a calibration of the report: facts as rows, figures, caveats, exposures to click on."""

    name: str
    subtitle: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    figures: tuple[Figure, ...] = ()
    caveats: tuple[str, ...] = ()
    pickers: tuple[Picker, ...] = ()
    files: tuple[str, ...] = field(default=())


def picker(exposure: str, frame: Frame, sky: SkyModel, wave: WaveSolution, slit: TraceSet, sources: Sequence[Source],
           profile: NDArray[Any]) -> Picker:  # fmt: skip
    """Return the clickable picture of one exposure; `profile` (ny,) is the signal along the slit."""
    ny, nx = frame.shape
    scale = frame.detector.pixel_scale if frame.detector is not None else 1.0
    centre = float(slit.traces[0].centre(nx / 2))
    arcsec = (np.arange(ny) - centre) * scale
    peak = max(float(np.nanmax(np.abs(profile))), 1e-9)
    return Picker(
        exposure=exposure,
        arcsec=_rounded(arcsec, 3),
        profile=_rounded(np.asarray(profile) / peak, 4),
        picture=_picture(np.where(frame.good, frame.data - sky.model, 0.0)),
        first=float((-0.5 - centre) * scale),
        last=float((ny - 0.5 - centre) * scale),
        wave=_rounded(wave.at(np.linspace(0, nx - 1, 50), ny / 2), 1),
        sources=tuple((source.name, source.slit_arcsec, source.fwhm * scale) for source in sources),
    )


def _rounded(values: NDArray[Any], digits: int) -> tuple[float, ...]:
    return tuple(round(float(value), digits) for value in values)


def _picture(clean: NDArray[Any]) -> str:
    """Return the sky-subtracted frame as a data address, averaged along the dispersion to about 900 columns."""
    from PIL import Image

    step = max(1, clean.shape[1] // _PICTURE_WIDTH)
    width = clean.shape[1] // step * step
    small = clean[:, :width].reshape(clean.shape[0], -1, step).mean(axis=2)
    low, high = np.percentile(small, [2, 99.5])
    grey = 255 * (1 - np.clip((small - low) / max(high - low, 1e-6), 0, 1))
    return _address(Image.fromarray(grey[::-1].astype(np.uint8)))


def _embedded(path: Path) -> str:
    """Return a figure as a data address: drawings as they are, noisy images, which PNG cannot shorten, as JPEG."""
    from PIL import Image

    if path.stat().st_size < SMALL:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    with Image.open(path) as picture:
        return _address(picture.convert("RGB"))


def _address(picture: PictureOf) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def write_report(
    path: Path,
    *,
    title: str,
    summary: Mapping[str, Any],
    targets: Sequence[Section],
    calibrations: Sequence[Section],
    tables: Sequence[TargetTable],
    weather: Sequence[Figure] = (),
    version: str,
) -> Path:
    """Write the page to `path` and return it; figures are embedded, so the file can be mailed or opened anywhere."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("nightpipe.api"), autoescape=select_autoescape(default=True), undefined=StrictUndefined
    )
    environment.filters["embedded"] = lambda figure: _embedded(figure.path)
    page = environment.get_template("report.html.j2").render(
        title=title,
        summary=summary,
        targets=targets,
        tables=tables,
        weather=weather,
        calibrations=calibrations,
        pickers=json.dumps({p.exposure: asdict(p) for section in targets for p in section.pickers}),
        version=version,
    )
    temporary = path.with_suffix(".html.part")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path
