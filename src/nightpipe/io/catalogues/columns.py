"""What the columns of a table of stars mean, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import ConfigError

FloatArray = NDArray[np.float64]
ROLES: Mapping[str, tuple[str, ...]] = {
    "ra": ("ra_icrs", "ra", "raicrs", "raj2000", "_raj2000", "ra_deg", "radeg", "alpha_j2000", "x_world", "ramean",
           "alphawin_j2000", "alpha", "right_ascension"),
    "dec": ("de_icrs", "dec", "dec_icrs", "deicrs", "dej2000", "_dej2000", "decj2000", "dec_deg", "decdeg", "de",
            "delta_j2000", "y_world", "decmean", "deltawin_j2000", "delta", "declination"),
    "pm_ra": ("pmra", "pm_ra", "pmra_cosdec", "pm_ra_cosdec"),
    "pm_dec": ("pmdec", "pmde", "pm_dec"),
    "error": ("ra_error", "e_ra_icrs", "e_raj2000", "error", "pos_error", "errmaj", "raerr"),
    "epoch": ("epoch", "ref_epoch", "epj"),
    "extended": ("extended",),
}  # fmt: skip
"""Names by which a role is known, the likeliest first, lower case."""
BANDS = ("u", "g", "r", "i", "z", "y", "w", "U", "B", "V", "R", "I", "G", "BP", "RP", "J", "H", "K")
_GAIA = {"phot_g_mean_mag": "G", "phot_bp_mean_mag": "BP", "phot_rp_mean_mag": "RP"}
_MAG = re.compile(r"^(BP|RP|[ugrizywUBVRIGJHK])s?_?(?:mean)?_?(?:psf)?_?(?:mag)?$")
_ERROR = re.compile(r"^(?:(?:e_|err_|d|sig_?)(.+)|(.+?)_?(?:err|error|_err|_error|uncertainty))$", re.IGNORECASE)


def guessed(names: list[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return which column holds what: role, band (``g``) or ``g_error`` to the name of a column; `given` wins.

    Raises
    ------
    ConfigError
        A given column is not there, or none looks like right ascension or declination.
    """
    given = dict(given or {})
    for role, name in given.items():
        if name and name not in names:
            raise ConfigError(f"a column {name!r} for {role}", f"the columns {', '.join(names)}", "name one of these")
    low = {name.lower(): name for name in reversed(names)}
    found = {
        role: next(low[one] for one in known if one in low) for role, known in ROLES.items() if low.keys() & {*known}
    }
    for name in (one for one in names if one not in given.values()):
        for role in _photometric(name):
            found.setdefault(role, name)
    found = {role: name for role, name in (found | given).items() if name}
    for role in ("ra", "dec"):
        if role not in found:
            raise ConfigError(f"a column of {role}", f"the columns {', '.join(names)}", f"--column {role}=NAME")
    return found


def _photometric(name: str) -> list[str]:
    if name.lower() in _GAIA:
        return [_GAIA[name.lower()]]
    magnitude = _MAG.match(name)
    if magnitude:
        return [magnitude.group(1)]
    error = _ERROR.match(name)
    inner = (error.group(1) or error.group(2)) if error else ""
    inner = re.sub(r"_?mag$", "", inner) if len(inner) > 2 else inner
    magnitude = _MAG.match(inner) if inner else None
    return [f"{magnitude.group(1)}_error"] if magnitude else []


def standard(table: Any, mapping: Mapping[str, str], name: str) -> dict[str, NDArray[Any]]:
    """Return an astropy table's stars as the store's columns.

    ``ra``, ``dec`` [deg], ``pm_ra``, ``pm_dec`` [mas/yr], ``error`` [arcsec], ``mag_BAND``, ``mag_error_BAND``, and
    ``extended`` where the table knows. Rows without a place are left out. Raises ConfigError for places that are no
    angles.
    """
    columns: dict[str, NDArray[Any]] = {
        "ra": _angle(table[mapping["ra"]], name, hours=True) % 360.0,
        "dec": _angle(table[mapping["dec"]], name, hours=False),
    }
    zero = np.zeros(len(columns["ra"]))
    for role in ("pm_ra", "pm_dec"):
        columns[role] = np.nan_to_num(_numbers(table[mapping[role]], "mas/yr")) if role in mapping else zero
    columns["error"] = _position_error(table, mapping, zero)
    for role, column in mapping.items():
        band = role.removesuffix("_error")
        if band in BANDS:
            columns[f"mag_error_{band}" if role.endswith("_error") else f"mag_{band}"] = _numbers(table[column], "")
    if "extended" in mapping:
        columns["extended"] = np.asarray(table[mapping["extended"]]).astype(np.bool_)
    good = np.isfinite(columns["ra"]) & np.isfinite(columns["dec"]) & (np.abs(columns["dec"]) <= 90)
    if not good.any():
        raise ConfigError(f"places on the sky in {name}", "no row with right ascension and declination", "--column")
    return {key: values[good] for key, values in columns.items()}


def _position_error(table: Any, mapping: Mapping[str, str], zero: FloatArray) -> FloatArray:
    if "error" not in mapping:
        return zero
    column = table[mapping["error"]]
    values = _numbers(column, "arcsec")
    # Gaia's and VizieR's errors are in mas where no unit says otherwise; arcsec would be absurd above a few
    bare = getattr(column, "unit", None) is None and mapping["error"].lower() in ("ra_error", "e_ra_icrs")
    return np.nan_to_num(values / 1000.0 if bare else values)


def _numbers(column: Any, unit: str) -> FloatArray:
    """Return a column's numbers, in `unit` where the column has one of its own, nan where it is masked."""
    values = np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
    own = getattr(column, "unit", None)
    if unit and own is not None:
        from astropy import units

        values = (values * units.Unit(own)).to_value(unit) if units.Unit(own).is_equivalent(unit) else values
    return np.asarray(values, np.float64)


def _angle(column: Any, name: str, *, hours: bool) -> FloatArray:
    """Return degrees of numbers (in the column's unit) or of texts; texts in parts are hours for right ascensions."""
    from nightpipe.instruments.values import angle

    if np.asarray(column).dtype.kind not in "OSU":
        return _numbers(column, "deg")
    try:
        return np.array([angle(str(text), "", hours=hours) for text in column], np.float64)
    except ValueError as error:
        raise ConfigError(f"angles in a column of {name}", str(error), "--column ra=NAME --column dec=NAME") from error
