"""A simulated night of SEDM: the night's calibrations, and one exposure from raw frame to flux.

No peer runs on the same frames. `pysedm` 0.41 installs, lacks a dependency that it does not declare (tqdm) and calls
what numpy 2.4 no longer has (`np.in1d`); it begins with frames that its supervisor, which has no licence, has debiased,
cleaned, combined and named in a redux tree of its own. Its documentation says 30 minutes for a night's calibrations and
less than five for a cube.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from astropy.io import fits

EXPOSURE = ("prepare", "cube", "imageprepare", "measure", "align", "guide", "spectrophotometry", "ifucalibrate")
RESPONSE = ("sensitivity", "air")


def run(table_class, *, small):
    import nightpipe
    from nightpipe.simulate.ifu.night import write_ifu_night

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_ifu_night(root / "raw", seed=1, size="small" if small else "full")
        table = table_class("a night of SEDM: wall seconds of both stages, two processes; CPU seconds of each recipe")
        calibrations = _calibrations(root)
        first = table.time(
            "the night's calibrations, wall",
            lambda: nightpipe.reduce(calibrations, out=root / "out", workers=2, figures=False),
            repeat=1,
            clock=time.perf_counter,
        )
        table.judge("wall s", table.rows[-1][1], 60.0)
        made = table.time(
            "standard and target on them, wall",
            lambda: nightpipe.reduce(root / "raw", out=root / "out", workers=2, figures=False),
            repeat=1,
            clock=time.perf_counter,
        )
        table.note("[two exposures, to reach 60 s each]")
        runs = [one.record for one in made.outcomes.values() if one.record]
        target = next(one.name for one in made.night.exposures if one.type.value == "science")
        own = [one for one in runs if one["recipe"] in EXPOSURE and _of(one, target)]
        for name, some in (
            ("the night's calibrations, CPU", [one.record for one in first.outcomes.values() if one.record]),
            ("the standard's response, CPU", [one for one in runs if one["recipe"] in RESPONSE]),
            ("one exposure, raw to flux, CPU", own),
        ):
            table.rows.append((name, sum(one["cpu_seconds"] for one in some), ""))
            table.note(f"peak memory {max((one['peak_mb'] for one in some), default=0.0) / 1e3:.2f} GB")
        for one in own:
            table.rows.append((f"  {one['recipe']}", one["cpu_seconds"], ""))
        table.show()


def _calibrations(root: Path) -> list[Path]:
    """Return the raw frames of lamps, dome and bias: those before the first of the sky."""
    frames = sorted((root / "raw").glob("ifu*.fits"))
    return [path for path in frames if fits.getheader(path)["OBJECT"].startswith("Calib")]


def _of(record, target):
    """Tell whether a run was about the target or its guider's images."""
    name = record["provenance"]["exposure"]
    return name == target or (name.startswith("rc") and record["recipe"] != "guide")
