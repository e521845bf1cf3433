"""The light curve of one place, from its measurements on single images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import merged
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step
from nightpipe.model.sources import LightCurve


class GatherLightCurve(Step):
    """Gather the measurements of one place on many images into a light curve."""

    def run(self, rows: Sequence[LightCurve]) -> LightCurve:
        """Return all rows in the order of time; images without a time come last.

        Raises
        ------
        BadFrameError
            There are no rows, or they are of different places or significances.
        """
        facts = {(row.name, row.ra, row.dec, row.sigma) for row in rows}
        if len(facts) != 1:
            raise BadFrameError("measurements of one place", f"{len(facts)} places", "gather each source by itself")
        name, ra, dec, sigma = facts.pop()
        order = np.argsort(np.concatenate([row.mjd for row in rows]), kind="stable")
        mjd, exptime, flux, flux_error, mag, mag_error, limit = (
            _joined(rows, key, order)
            for key in ("mjd", "exptime", "flux", "flux_error", "mag", "mag_error", "limit")
        )  # fmt: skip
        band, image, unit = (_words(rows, key, order) for key in ("band", "image", "unit"))
        return LightCurve(
            name, ra, dec, mjd, exptime, band, image, flux, flux_error, mag, mag_error, limit, sigma, unit,
            merged(*(row.caveats for row in rows)),
        )  # fmt: skip


def _joined(rows: Sequence[LightCurve], key: str, order: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.concatenate([getattr(row, key) for row in rows])[order], np.float64)


def _words(rows: Sequence[LightCurve], key: str, order: NDArray[np.int64]) -> tuple[str, ...]:
    words = [word for row in rows for word in getattr(row, key)]
    return tuple(words[k] for k in order)
