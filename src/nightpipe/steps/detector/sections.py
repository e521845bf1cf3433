"""The sections of an array as read: what each amplifier sees, and where its light lies in the trimmed image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import BadFrameError
from nightpipe.model.detector import Amplifier, Detector, Section
from nightpipe.model.frame import RawFrame


def cut(array: NDArray[Any], section: Section) -> NDArray[Any]:
    """Return the view of `array` that a section names."""
    x0, x1, y0, y1 = section
    return array[y0:y1, x0:x1]


def check(raw: RawFrame) -> None:
    """Raise BadFrameError unless every section of the detector lies inside the array."""
    ny, nx = raw.data.shape
    for amplifier in raw.detector.amplifiers:
        for x0, x1, y0, y1 in (amplifier.data, *amplifier.overscan):
            if not (0 <= x0 < x1 <= nx and 0 <= y0 < y1 <= ny):
                raise BadFrameError(
                    f"{raw.exposure.name}: an array that holds section {x0}:{x1}, {y0}:{y1} of {amplifier.name}",
                    f"{nx} x {ny} pixels",
                    "check the detector's sections in the instrument description, or drop the frame",
                )


def overscan_lines(array: NDArray[Any], amplifier: Amplifier) -> NDArray[np.float64]:
    """Return an amplifier's overscan as (n, m): n places along the pedestal's axis, m values at each.

    Values that are no numbers take the median of all.
    """
    parts = [cut(array, section) for section in amplifier.overscan]
    along = [part if amplifier.overscan_axis == "y" else part.T for part in parts]
    lines = np.concatenate([np.asarray(part, dtype=np.float64) for part in along], axis=1)
    wrong = ~np.isfinite(lines)
    if wrong.any():
        lines[wrong] = np.median(lines[~wrong]) if not wrong.all() else 0.0
    return lines


def light_box(detector: Detector) -> Section:
    """Return the smallest section that holds the light of all amplifiers."""
    x0, x1, y0, y1 = zip(*(amplifier.data for amplifier in detector.amplifiers), strict=True)
    return min(x0), max(x1), min(y0), max(y1)


def amplifier_map(detector: Detector) -> NDArray[np.uint8]:
    """Return the number of the amplifier that read each pixel of the trimmed, not yet oriented image; 255: none."""
    box = light_box(detector)
    image = np.full((box[3] - box[2], box[1] - box[0]), 255, dtype=np.uint8)
    for number, amplifier in enumerate(detector.amplifiers):
        cut(image, inside(amplifier.data, box))[:] = number
    return image


def inside(section: Section, box: Section) -> Section:
    """Return `section` in the pixels of what `box` cuts out."""
    return section[0] - box[0], section[1] - box[0], section[2] - box[2], section[3] - box[2]


def overlap(section: Section, box: Section) -> Section | None:
    """Return what `section` and `box` share, or None."""
    x0, x1 = max(section[0], box[0]), min(section[1], box[1])
    y0, y1 = max(section[2], box[2]), min(section[3], box[3])
    return (x0, x1, y0, y1) if x0 < x1 and y0 < y1 else None
