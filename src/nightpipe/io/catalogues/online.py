"""Cones of public catalogues from VizieR, through astroquery, kept on the disk once they were had."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io.atomic import written
from nightpipe.io.catalogues.columns import standard
from nightpipe.io.catalogues.store import Info, as_catalogue, home
from nightpipe.maths.tan import separation
from nightpipe.model.stars import StarCatalogue

Transport = Callable[["Service", float, float, float], Any]
"""Gives an astropy table of the stars of a service within a radius of a place [deg]."""


@dataclass(frozen=True)
class Service:
    """A catalogue of VizieR: table, the columns of each role and band, epoch, systems, depth, and where it reaches."""

    name: str
    table: str
    columns: Mapping[str, str]
    epoch: float
    systems: Mapping[str, str]
    depth: Mapping[str, float] = field(default_factory=dict)
    south: float = -90.0
    north: float = 90.0

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands that it has."""
        return tuple(self.systems)

    def reaches(self, dec: float, radius: float) -> bool:
        """Tell whether a cone lies within its declinations [deg]."""
        return self.south <= dec - radius and dec + radius <= self.north


def _bands(names: str, mag: str, error: str) -> dict[str, str]:
    pairs = ((band, mag.format(band)) for band in names)
    return dict(pairs) | {f"{band}_error": error.format(band) for band in names}


_ICRS = {"ra": "RA_ICRS", "dec": "DE_ICRS", "pm_ra": "pmRA", "pm_dec": "pmDE"}
SERVICES: tuple[Service, ...] = (
    Service(
        "gaia", "I/355/gaiadr3",
        _ICRS | {"error": "e_RA_ICRS", "G": "Gmag", "BP": "BPmag", "RP": "RPmag", "G_error": "e_Gmag",
                 "BP_error": "e_BPmag", "RP_error": "e_RPmag"},
        2016.0, {"G": "Vega", "BP": "Vega", "RP": "Vega"}, {"G": 20.5, "BP": 20.3, "RP": 20.0},
    ),
    Service(
        "refcat2", "J/ApJ/867/105/refcat2", _ICRS | _bands("griz", "{}mag", "e_{}mag"), 2015.5,
        dict.fromkeys("griz", "PS1"), {"g": 19.0, "r": 19.0, "i": 19.0, "z": 19.0},
    ),
    Service(
        "ps1", "II/349/ps1", {"ra": "RAJ2000", "dec": "DEJ2000", "error": "e_RAJ2000"}
        | _bands("grizy", "{}mag", "e_{}mag"), 2012.0, dict.fromkeys("grizy", "PS1"),
        {"g": 23.3, "r": 23.2, "i": 23.1, "z": 22.3, "y": 21.4}, south=-30.0,
    ),
    Service(
        "sdss", "V/154/sdss16", _ICRS | {"class": "class"} | _bands("ugriz", "{}mag", "e_{}mag"), 2005.0,
        dict.fromkeys("ugriz", "SDSS"), {"u": 22.1, "g": 23.1, "r": 22.7, "i": 22.2, "z": 20.7}, south=-20.0,
    ),
    Service(
        "skymapper", "II/379/smssdr4", {"ra": "RAICRS", "dec": "DEICRS"} | _bands("ugriz", "{}PSF", "e_{}PSF"), 2016.0,
        dict.fromkeys("ugriz", "SkyMapper"), {"u": 19.0, "g": 20.5, "r": 20.5, "i": 20.0, "z": 19.0}, north=16.0,
    ),
    Service(
        "2mass", "II/246/out", {"ra": "RAJ2000", "dec": "DEJ2000", "error": "errMaj"}
        | _bands("JHK", "{}mag", "e_{}mag"), 2000.0, dict.fromkeys("JHK", "Vega"), {"J": 15.8, "H": 15.1, "K": 14.3},
    ),
)  # fmt: skip
"""Depths are the surveys' own: Gaia DR3, Tonry et al. 2018 (ApJ 867, 105), Chambers et al. 2016, SDSS DR16, SkyMapper
DR4, Skrutskie et al. 2006 (AJ 131, 1163); epochs the mean of the observations, where there are no proper motions."""


def service(name: str) -> Service:
    """Return a service by name; raises ReferenceMissingError that lists those there are."""
    for one in SERVICES:
        if one.name == name:
            return one
    raise ReferenceMissingError("an online catalogue", name, f"one of {', '.join(one.name for one in SERVICES)}")


def by_vizier(one: Service, ra: float, dec: float, radius: float) -> Any:
    """Return the stars of a service as VizieR sends them.

    Raises ReferenceMissingError where astroquery is not installed, or nothing comes.
    """
    try:
        from astroquery.vizier import Vizier
    except ImportError as error:
        raise ReferenceMissingError("astroquery", str(error), "pip install 'nightpipe[online]'") from error
    from astropy import units
    from astropy.coordinates import SkyCoord

    ask = Vizier(columns=sorted(set(one.columns.values())), row_limit=-1, timeout=120)
    try:
        tables = ask.query_region(SkyCoord(ra, dec, unit="deg"), radius=radius * units.deg, catalog=one.table)
    except (OSError, ValueError, RuntimeError) as error:  # requests' errors are of the first kind
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ReferenceMissingError(
            f"{one.name} from VizieR", said, "mend the connection, or import a table"
        ) from error
    if not len(tables):
        raise ReferenceMissingError(f"stars of {one.name} within {radius:.2f} deg of {ra:.4f} {dec:+.4f}", "none", "")
    return tables[0]


def online_cone(
    one: Service, ra: float, dec: float, radius: float, transport: Transport | None = None
) -> StarCatalogue:
    """Return a cone of a service, from the disk where a kept cone holds it, else fetched and kept.

    Raises ReferenceMissingError where it cannot be had.
    """
    kept = cached_cone(one, ra, dec, radius)
    if kept is not None:
        return kept
    table = (transport or by_vizier)(one, ra, dec, radius)
    columns = standard(table, {role: name for role, name in one.columns.items() if name in table.colnames}, one.name)
    if "class" in table.colnames:  # SDSS: 3 galaxy, 6 star
        columns["extended"] = np.asarray(table["class"])[: len(columns["ra"])] == 3
    _keep(one, ra, dec, radius, columns)
    return as_catalogue(columns, _info(one), (ra, dec), radius)


def cached_cone(one: Service, ra: float, dec: float, radius: float) -> StarCatalogue | None:
    """Return a cone that lies within one kept on the disk, None where there is none."""
    from pyarrow import parquet

    for path in sorted(_folder(one).glob("*.json")):
        held = json.loads(path.read_text(encoding="utf-8"))
        if float(separation(held["ra"], held["dec"], ra, dec)) + radius <= held["radius"] + 1e-6:
            table = parquet.read_table(path.with_suffix(".parquet"))
            columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
            near = separation(columns["ra"], columns["dec"], ra, dec) <= radius
            return as_catalogue({key: value[near] for key, value in columns.items()}, _info(one), (ra, dec), radius)
    return None


def _keep(one: Service, ra: float, dec: float, radius: float, columns: Mapping[str, NDArray[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    folder = _folder(one)
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{ra:08.4f}{dec:+08.4f}_{math.ceil(radius * 3600)}"
    with written(folder / f"{stem}.parquet") as stream:
        parquet.write_table(pa.table(dict(columns)), stream, compression="zstd")
    with written(folder / f"{stem}.json") as stream:  # last: a cone without it is no cone
        stream.write(json.dumps({"ra": ra, "dec": dec, "radius": radius, "table": one.table}).encode())


def _folder(one: Service) -> Path:
    return home() / "cones" / one.name


def _info(one: Service) -> Info:
    return Info(one.name, one.epoch, 0, one.bands, one.systems, one.depth, f"VizieR {one.table}")
