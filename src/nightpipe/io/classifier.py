"""The trained ranker, packaged as plain numbers; and classifications as files: JSON, SNID's output, header keywords."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nightpipe.base.errors import ReferenceMissingError
from nightpipe.io.tables import folder
from nightpipe.maths.ranker import Ranker
from nightpipe.model.classification import Classification, TemplateMatch, TypeRow
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
    """Return what a program wants to know, in plain types; NaN becomes null."""
    return _clean(
        {
            "name": found.name,
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
    )


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def json_text(found: Classification) -> str:
    """Return one classification as a line of JSON."""
    return json.dumps(as_json(found), allow_nan=False)


def snid_output(found: Classification) -> str:
    """Return SNID's output file: options, initial and median redshift and age, the types' table, the matches.

    The layout is that of ``<root>_snid.output`` of SNID 5.0, so that programs which read it go on working.
    """
    table = found.snid
    lines = ["### SNID-like output of nightpipe ###", "", "# [input options]"]
    lines += [
        f"input_file     {found.name}",
        f"rlapmin        {table.least_rlap:.1f}",
        f"templates      {found.bank}",
        "",
    ]
    lines += ["### initial and final results ###", f"zinit {table.z_initial:.6f}"]
    lines += [
        f"zmed {table.z_median:.6f} {table.z_error:.6f}",
        f"agem {table.age_median:.3f} {table.age_error:.3f}",
        "",
    ]
    lines += [
        "### type fractions/redshift/age ###",
        "#type      ntemp  fraction   slope    redshift redshift_error      age age_error",
    ]
    lines += [_type_line(row) for row in table.rows]
    lines += ["", "### rlap-ordered template listings ###"]
    lines += ["#no. sn           type        lap   rlap        z    zerr     age age_flag grade"]
    cut = False
    for number, match in enumerate(table.matches, start=1):
        if match.grade == "cut" and not cut:
            lines.append("#--- rlap cutoff")
            cut = True
        lines.append(_match_line(number, match))
    return "\n".join(lines) + "\n"


def _type_line(row: TypeRow) -> str:
    return (
        f"{row.name:10} {row.count:5d} {row.fraction:9.4f} {row.slope:8.4f} {row.z:10.6f} {row.z_error:10.6f} "
        f"{row.age:10.3f} {row.age_error:8.3f}"
    )


def _match_line(number: int, match: TemplateMatch) -> str:
    flag = 0 if math.isfinite(match.age) else 1
    age = match.age if flag == 0 else -99.9
    return (
        f"{number:4d} {match.object:12} {match.subtype:10} {match.lap:5.3f} {match.rlap:6.2f} {match.z:9.6f} "
        f"{match.z_error:8.6f} {age:7.2f} {flag:d} {match.grade}"
    )


def snid_keywords(found: Classification) -> Header:
    """Return the header keywords that SEDM's archive and its users know, with ours (CLS...) beside them."""
    table = found.snid
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
    keys |= {"CLSTYPE": found.verdict, "CLSSUBT": found.kind, "CLSPROB": round(found.probability, 4)}
    keys |= {"CLSZ": _number(found.redshift), "CLSZERR": _number(found.modes[0].error)}
    return keys


def text_keywords(found: Classification) -> Header:
    """Return `snid_keywords` for the header of a text spectrum, where SEDM writes the type under a longer name too."""
    keys = snid_keywords(found)
    return {"SNIDMATCHTYPE": keys["SNIDTYPE"]} | keys


def _number(value: float) -> float | str:
    return round(value, 5) if math.isfinite(value) else "NaN"
