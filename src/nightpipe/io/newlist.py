"""New sources as a text of fixed columns, and differences as FITS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nightpipe.io import cards
from nightpipe.io.atomic import written
from nightpipe.io.images import wcs_cards
from nightpipe.io.recorded import record_hdus, write_fits
from nightpipe.model.difference import Difference
from nightpipe.model.sources import Sources


def write_new_list(path: str | Path, found: Sources, title: str) -> None:
    """Write new sources as text. Raises StoreError."""
    with written(Path(path)) as stream:
        stream.write(new_list(found, title).encode())


def new_list(found: Sources, title: str) -> str:
    """Return new sources as a text of fixed columns, caveats first; x and y count from 1.

    Those of a difference image have significance, score and verdict in place of the distance to the catalogue.
    """
    lines = [f"# {title}", *(f"# {caveat}" for caveat in found.caveats)]
    head = f"#{'no':>3} {'ra':>11} {'dec':>11} {'x':>8} {'y':>8} {'mag':>7} {'error':>6} {'class':>5}"
    compared = "score" in found.columns
    lines.append(head + (f" {'S/N':>7} {'score':>6} verdict" if compared else f" {'nearest':>8}"))
    for k in range(len(found)):
        row = {name: float(values[k]) for name, values in found.columns.items()}
        line = (
            f"{k + 1:4d} {row['ra']:11.6f} {row['dec']:+11.6f} {found.x[k] + 1:8.2f} {found.y[k] + 1:8.2f} "
            f"{row['mag']:7.3f} {row['mag_error']:6.3f} {int(row.get('class', 0)):5d} "
        )
        verdict = "real" if found.quality[k] == 0 else "bogus"
        own = f"{row['significance']:7.1f} {row['score']:6.2f} {verdict}" if compared else f"{row['nearest']:8.2f}"
        lines.append(line + own)
    return "\n".join(lines) + "\n"


def write_difference(path: str | Path, difference: Difference, *, record: str = "", reducer: str = "") -> None:
    """Write a difference: extensions SCI, VAR, MASK, SIGNIF, REFERENC (as subtracted), PSF. Raises StoreError."""
    from astropy.io import fits

    head = fits.PrimaryHDU()
    facts: list[tuple[str, Any, str]] = [
        ("EXPTIME", difference.exptime, "[s] of the new image"),
        ("BLURRED", difference.blurred, "which of the two was convolved"),
        ("SUBCHI2", round(difference.chi2, 3), "reduced chi2 of the stamps"),
        ("SUBSTAMP", difference.stamps, "stars and galaxies that told the kernel"),
    ]
    if np.isfinite(difference.zp):
        facts.append(("MAGZP", difference.zp, "zero point of electron/s"))
    told = (*cards.software_cards(reducer), *cards.caveat_cards(difference.caveats))
    for name, value, comment in (*facts, *told):
        head.header[name] = (value, comment) if len(comment) + max(len(str(value)) + 2, 20) <= 67 else value
    images = {"SCI": difference.data, "VAR": difference.var, "MASK": difference.mask,
              "SIGNIF": difference.significance, "REFERENC": difference.reference}  # fmt: skip
    hdus: list[Any] = [head]
    for name, image in images.items():
        hdus.append(fits.ImageHDU(image, name=name))
        hdus[-1].header.update(wcs_cards(difference.wcs))
    hdus.append(fits.ImageHDU(difference.psf, name="PSF"))
    write_fits(Path(path), [*hdus, *record_hdus(record)], durable=True)
