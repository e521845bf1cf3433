"""The trained ranker, packaged as plain numbers; and classifications as files: JSON, SNID's output, header keywords."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io.tables import folder
from nightpipe.maths.ranker import Ranker
from nightpipe.model.classification import Classification, SnidTable, TemplateMatch, TypeRow
from nightpipe.model.exposure import Header


@cache
def ranker(path: Path | None = None) -> Ranker:
    """Return the packaged ranker, or that of a file of ``bench/classifier_train.py``.

    Raises `ReferenceMissingError` where it is absent or damaged.
    """
    file = path or folder("classifier") / "ranker.npz"
    try:
        with np.load(file, allow_pickle=False) as kept:
            members = range(sum(name.startswith("bias_") and name.endswith("_0") for name in kept.files))
            layers = range(sum(name.startswith("bias_0_") for name in kept.files))
            return Ranker(
                tuple(tuple(kept[f"weight_{m}_{k}"].astype(np.float32) for k in layers) for m in members),
                tuple(tuple(kept[f"bias_{m}_{k}"].astype(np.float32) for k in layers) for m in members),
                kept["centre"].astype(np.float32),
                kept["scale"].astype(np.float32),
                tuple(str(kind) for kind in kept["kinds"]),
                float(kept["temperature"]),
                kept["error"].astype(np.float64),
                kept["curve"].astype(np.float64),
            )
    except (OSError, KeyError, ValueError) as error:
        remedy = "install the package again, or train it anew with bench/classifier_train.py"
        raise ReferenceMissingError(f"the classifier's numbers in {file}", str(error), remedy) from error


def as_json(found: Classification, best: int = 10) -> dict[str, Any]:
    """Return what a program wants to know, in plain types; NaN becomes null.

    Where the verdict names no type, all that would tell one is null, each type and subtype too, or an empty list: the
    names are there, and no comparison with a number comes true.
    """
    plain = {
        "name": found.name,
        "object": found.object,
        "verdict": found.verdict,
        "type": found.type,
        "subtype": found.kind,
        "probability": found.probability,
        "types": found.types,
        "subtypes": found.kinds,
        "redshift": found.redshift,
        "redshift_error": found.modes[0].error,
        "redshift_given": found.redshift_given,
        "redshifts": [asdict(mode) for mode in found.modes],
        "phase": found.phase,
        "phase_error": found.phase_error,
        "host_share": found.host_share,
        "snr": found.snr,
        "bank": found.bank,
        "matches": [asdict(match) for match in found.matches[:best]],
        "flux_fits": [asdict(fit) for fit in found.fits[:best]],
        "caveats": [{"code": one.code, "text": one.text} for one in found.caveats],
    }
    return _clean(plain if found.answered else plain | _nothing(found))


def _nothing(found: Classification) -> dict[str, Any]:
    """Return what stands in the place of an answer where there is none; a redshift that was given is known."""
    plain: dict[str, Any] = dict.fromkeys(("type", "subtype", "probability", "phase", "phase_error", "host_share"))
    plain |= {"types": dict.fromkeys(found.types), "subtypes": dict.fromkeys(found.kinds)}
    plain |= {"matches": [], "flux_fits": []}
    return plain if found.redshift_given else plain | {"redshift": None, "redshift_error": None, "redshifts": []}


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def json_text(found: Classification, file: str = "") -> str:
    """Return one classification as a line of JSON, with the file that it is of, where that is known."""
    return json.dumps(({"file": file} if file else {}) | as_json(found), allow_nan=False)


SNID_OPTIONS = (
    "Input spectrum",
    "Parameter file",
    "Wavelength range",
    "Mask file",
    "Median filtering width [A]",
    "Median filtering width [pix]",
    "Clip emission redshift",
    "Clip sky lines",
    "Emission clip width [A]",
    "Keep A-band",
    "Age range",
    "Delta range",
    "Min. number of spectra/template",
    "Use only templates",
    "Use only types",
    "Avoid templates",
    "Avoid types",
    "rlapmin",
    "Redshift range",
    "Forced initial redshift",
    "Extra fake redshift",
    "Nsigma for initial redshift",
    "Redshift filter",
    "Wavenumbers k1,k2,k3,k4",
    "Template directory",
)
"""The options that SNID 5.0 lists, in its order; programs count these lines."""


def snid_output(found: Classification) -> str:
    """Return SNID's output file: options, initial and median redshift and age, the types' table, the matches.

    The layout is that of ``<root>_snid.output`` of SNID 5.0, line for line and heading for heading, so that programs
    which read it go on working; options that we do not have are NA.
    """
    table = found.snid if found.answered else nothing_good(found.snid)
    lines = ["### SNID output file ###", "", "### input spectrum and options ###"]
    told = _snid_options(found)
    lines += [f"# {name:<31}: {told.get(name, 'NA')}" for name in SNID_OPTIONS]
    lines += ["", "### initial/user-input redshift ###"]
    lines += [f"zinit{table.z_initial:13.4f}", f"zuser{table.z_initial:13.4f}", ""]
    lines += ["### median redshift/age and error ###"]
    lines += [
        f"zmed{table.z_median:14.4f}{table.z_error:10.4f}",
        f"agem{table.age_median:14.2f}{table.age_error:10.2f}",
    ]
    lines += ["", "### type fraction/redshift/age ###"]
    lines += ["#type ntemp fraction slope redshift redshift_error age age_error", *_type_lines(table)]
    lines += ["", "### rlap-ordered template listings ###", "#no. sn type lap rlap z zerr age age_flag grade"]
    cut = False
    for number, match in enumerate(table.matches, start=1):
        if match.grade == "cut" and not cut:
            lines.append("#--- rlap cutoff")
            cut = True
        lines.append(_match_line(number, match))
    return "\n".join(lines) + "\n"


def _snid_options(found: Classification) -> dict[str, str]:
    range_ = f"{found.wave[0]:10.2f}{found.wave[-1]:10.2f}" if len(found.wave) else "NA"
    return {
        "Input spectrum": found.name,
        "Wavelength range": range_,
        "Clip sky lines": "0",
        "Keep A-band": "1",
        "Min. number of spectra/template": "  1",
        "rlapmin": f"{found.snid.least_rlap:10.2f}",
        "Forced initial redshift": f"{found.redshift:.4f}" if found.redshift_given else "NA",
        "Redshift filter": f"{found.snid.z_filter:10.4f}",
        "Template directory": found.bank,
    }


def _type_lines(table: SnidTable) -> list[str]:
    """Return the rows of types, each followed by its subtypes, ### between one type and the next."""
    types = {match.type for match in table.matches}
    lines: list[str] = []
    for row in table.rows:
        if row.name in types and lines:
            lines.append("###")
        lines.append(_type_line(row))
    return lines


def _type_line(row: TypeRow) -> str:
    return (
        f"{row.name.replace(' ', '_'):<10}{row.count:7d}{row.fraction:10.2f}{row.slope:10.4f}{row.z:10.4f}"
        f"{row.z_error:10.4f}{row.age:10.3f}{row.age_error:10.3f}"
    )


def _match_line(number: int, match: TemplateMatch) -> str:
    flag = 0 if math.isfinite(match.age) else 1
    age = match.age if flag == 0 else -99.9
    name, kind = match.object.replace(" ", "_"), match.subtype.replace(" ", "_")
    return (
        f"{number:4d}  {name:<13} {kind:<10} {match.lap:6.4f} {min(match.rlap, 999.9):6.2f} {match.z:8.4f} "
        f"{match.z_error:8.4f} {age:8.2f} {flag:2d}   {match.grade:>4}"
    )


KEYWORDS = ("SNID", "CLS")
"""How the keywords of a classification begin; a new one takes the place of all that an earlier one wrote."""


def nothing_good(table: SnidTable) -> SnidTable:
    """Return SNID's table without a match: what it says of a spectrum in which it finds nothing."""
    nan = float("nan")
    return replace(table, z_median=nan, z_error=nan, age_median=nan, age_error=nan, rows=(), matches=())


def snid_keywords(found: Classification) -> Header:
    """Return the header keywords that SEDM's archive and its users know, with ours (CLS...) beside them.

    Where the verdict names no type neither SNID's nor ours do, and CLSPROB is 0.
    """
    table = found.snid if found.answered else nothing_good(found.snid)
    keys: Header = {}
    best = table.matches[0] if table.matches and table.matches[0].grade != "cut" else None
    if best is None:
        keys["SNIDTYPE"] = "NONE"
    else:
        keys |= {"SNIDTYPE": best.type, "SNIDSUBT": best.subtype, "SNIDRLAP": round(best.rlap, 2)}
        keys |= {"SNIDZMAT": round(best.z, 5), "SNIDAMAT": _number(best.age), "SNIDTEMP": best.object}
        keys |= {"SNIDZMED": _number(table.z_median), "SNIDZERR": _number(table.z_error)}
        keys |= {"SNIDAMED": _number(table.age_median), "SNIDAERR": _number(table.age_error)}
        shares = {row.name: row.fraction for row in table.rows}
        keys |= {f"SNIDF{name.upper()}": round(shares.get(name, 0.0), 4) for name in ("Ia", "Ib", "Ic", "II")}
        none = sum(shares.get(name, 0.0) for name in ("NotSN", "AGN", "Galaxy", "Star", "GAP"))
        keys["SNIDFNOT"] = round(none, 4)
    known = found.answered or found.redshift_given
    z, error = (found.redshift, found.modes[0].error) if known else (float("nan"), float("nan"))
    keys |= {"CLSTYPE": found.verdict, "CLSSUBT": found.kind if found.answered else "NONE"}
    keys |= {"CLSPROB": round(found.probability, 4) if found.answered else 0.0}
    return keys | {"CLSZ": _number(z), "CLSZERR": _number(error)}


def text_keywords(found: Classification) -> Header:
    """Return `snid_keywords` for the header of a text spectrum, where SEDM writes the type under a longer name too."""
    keys = snid_keywords(found)
    return {"SNIDMATCHTYPE": keys["SNIDTYPE"]} | keys


def _number(value: float) -> float | str:
    return round(value, 5) if math.isfinite(value) else "NaN"
