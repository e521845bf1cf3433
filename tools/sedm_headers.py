"""Do simulated nights of SEDM have the headers of real ones? Draws the distributions of both.

    python tools/sedm_headers.py PUBLIC_SPECTRA FIGURE

PUBLIC_SPECTRA is a folder of SEDM's ascii spectra with their headers.
"""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nightpipe.simulate.ifu.night import checked
from nightpipe.simulate.ifu.schedule import Planner, Shot

FloatArray = NDArray[np.float64]

CARDS = {
    "flexure along [pixel]": "CCDIFLX",
    "flexure across [pixel]": "CCDJFLX",
    "airmass": "AIRMASS",
    "air temperature [C]": "IN_AIR",
    "humidity [%]": "IN_HUM",
    "FWHM [arcsec]": "PSFFWHM",
}
AGE = "age of the flux calibration [h]"
_TIME = re.compile(r"ifu(\d{8}_\d\d_\d\d_\d\d)")


def public(folder: Path) -> dict[str, FloatArray]:
    """Return the values of each quantity in the headers of public spectra, each exposure counted once."""
    headers: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.txt")):
        lines = (line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
        cards = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
        headers[_time(path.name).isoformat()] = cards
    found = {
        name: np.array([float(one[card]) for one in headers.values() if card in one]) for name, card in CARDS.items()
    }
    ages = [
        (datetime.fromisoformat(when) - _time(one["CALSRC"])).total_seconds() / 3600.0
        for when, one in headers.items()
        if "CALSRC" in one
    ]
    return found | {AGE: np.array(ages)}


def simulated(nights: int = 60) -> dict[str, FloatArray]:
    """Return the same of simulated nights, from their schedules alone."""
    rows = []
    for seed in range(nights):
        shots = Planner(checked({"targets": 2, "standards": 1}), (0.1, 2.0), np.random.default_rng(seed)).night()
        stars = [shot for shot in shots if shot.kind == "standard"]
        for shot in (one for one in shots if one.kind == "science"):
            age = min((shot.start - star.start).total_seconds() / 3600.0 for star in stars if star.start < shot.start)
            rows.append((*_values(shot), age))
    columns = np.array(rows).T
    return dict(zip((*CARDS, AGE), columns, strict=True))


def _values(shot: Shot) -> tuple[float, ...]:
    width = float(np.hypot(shot.seeing * shot.airmass**0.6, 2.355 * np.mean(shot.jitter)))
    dx, dy, _ = shot.flexure
    return dx, dy, shot.airmass, shot.weather.temperature, shot.weather.humidity, width


def _time(name: str) -> datetime:
    match = _TIME.search(name)
    if match is None:
        raise ValueError(f"no time in {name}")
    return datetime.strptime(match.group(1), "%Y%m%d_%H_%M_%S")  # noqa: DTZ007 - differences alone are taken


def main() -> None:
    """Draw both."""
    from matplotlib.figure import Figure

    real, ours = public(Path(sys.argv[1])), simulated()
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axis, name in zip(figure.subplots(2, 4).ravel(), ours, strict=False):
        for values, colour, label in ((ours[name], "#8a949e", "simulated"), (real[name], "#1f5fa8", "public")):
            axis.step(np.sort(values), (np.arange(values.size) + 0.5) / values.size, color=colour,
                      label=f"{label} ({values.size})")  # fmt: skip
        axis.set(xlabel=name, ylim=(0, 1))
    figure.axes[0].legend(fontsize=7)
    figure.axes[-1].set_axis_off()
    figure.savefig(sys.argv[2], dpi=110)


if __name__ == "__main__":
    main()
