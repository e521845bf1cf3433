"""Sources of real images, by sep, with as little calibration as astrometry needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sep
from astropy.io import fits

from nightpipe.model.sources import Sources


def pixels(path: Path):
    return fits.getdata(path).astype(np.float64)


def detect(image, *, threshold=4.0, mask=None, box=64, least=5):
    """Sources above `threshold` sigma of the background's noise, at most a few hundred of them worth having."""
    image = np.ascontiguousarray(image, np.float64)
    background = sep.Background(image, bw=box, bh=box, mask=mask)
    found = sep.extract(image - background.back(), threshold, err=background.globalrms, mask=mask, minarea=least)
    ny, nx = image.shape
    edge = (found["x"] < 8) | (found["y"] < 8) | (found["x"] > nx - 9) | (found["y"] > ny - 9)
    quality = np.where(edge, 2, 0).astype(np.int32)
    errors = [np.sqrt(np.clip(np.nan_to_num(found[name]), 1e-4, 4.0)) for name in ("errx2", "erry2")]
    fwhm = 2.3548 * np.sqrt(found["a"] * found["b"])
    flux = found["flux"]
    nothing = np.zeros(flux.size, np.uint32)
    return Sources(
        found["x"], found["y"], *errors, flux, np.sqrt(np.abs(flux)), nothing, quality, {"fwhm": fwhm}
    )  # fmt: skip
