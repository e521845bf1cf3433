"""Light curves as tables that other programs read: FITS and ECSV, a row for each place and image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nightpipe.base.caveat import merged
from nightpipe.io import cards
from nightpipe.io.recorded import record_hdus, write_with_ecsv
from nightpipe.model.sources import LightCurve

UNITS = {"ra": "deg", "dec": "deg", "mjd": "d", "exptime": "s", "mag": "mag", "mag_error": "mag", "limit": "mag"}


def write_light_curves(
    path: str | Path, curves: Sequence[LightCurve], *, record: str = "", reducer: str = "", durable: bool = True
) -> None:
    """Write light curves as FITS (extension LIGHTCURVE), and beside it as ECSV.

    Columns: name and place, ``mjd`` at mid-exposure, ``band``, ``image``, ``flux`` with its error in ``unit``, ``mag``
    with its error (nan: not detected), ``limit`` at ``sigma``. Raises StoreError.
    """
    from astropy.io import fits

    table = light_curve_table(curves)
    head = fits.PrimaryHDU()
    caveats = merged(*(curve.caveats for curve in curves))
    for name, value, comment in (*cards.software_cards(reducer), *cards.caveat_cards(caveats)):
        head.header[name] = (value, comment) if len(comment) + max(len(str(value)) + 2, 20) <= 67 else value
    hdus: list[Any] = [head, fits.BinTableHDU(table, name="LIGHTCURVE"), *record_hdus(record)]
    write_with_ecsv(Path(path), hdus, table, durable=durable)


def light_curve_table(curves: Sequence[LightCurve]) -> Any:
    """Return light curves as one astropy table with units."""
    from astropy.table import Table

    table = Table()
    table["name"] = [curve.name for curve in curves for _ in range(len(curve))]
    for name in ("ra", "dec", "sigma"):
        table[name] = np.array([getattr(curve, name) for curve in curves for _ in range(len(curve))], np.float64)
    for name in ("band", "image", "unit"):
        table[name] = [word for curve in curves for word in getattr(curve, name)]
    for name in ("mjd", "exptime", "flux", "flux_error", "mag", "mag_error", "limit"):
        table[name] = np.concatenate([getattr(curve, name) for curve in curves])
    for name, unit in UNITS.items():
        table[name].unit = unit
    return table[
        "name", "ra", "dec", "mjd", "exptime", "band", "mag", "mag_error", "limit", "sigma", "flux", "flux_error",
        "unit", "image",
    ]  # fmt: skip
