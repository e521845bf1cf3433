"""A toy instrument, toy steps and recipes, and their planner: the engine's tests need no astronomy."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.recipe import recipe
from nightpipe.base.step import Step, parameter
from nightpipe.engine import local
from nightpipe.engine.builder import Book, Builder
from nightpipe.engine.night import Night
from nightpipe.kernels import threads as kernel_threads
from nightpipe.model.exposure import FrameType
from nightpipe.model.frame import Frame, RawFrame

TOML = """
name = "toycam"
title = "Toy camera"
site = "lapalma"
doc = "A camera for tests."
recognise = [{ INSTRUME = "TOYCAM" }]
dispersers = [{ name = "g1", dispersion = 2, centre = 5000, range = [4000, 6000], resolution = 10 }]

[cards]
target = "OBJECT"
exptime = "EXPTIME"
start = "DATE-OBS"
disperser = "GRISM"
slit = "SLIT"

[[frames]]
type = "bias"
when = { IMAGETYP = "bias" }
[[frames]]
type = "arc"
when = { IMAGETYP = "arc" }
[[frames]]
type = "science"
when = { IMAGETYP = "science" }

[[detectors]]
name = "chip"
light = "[1:16,1:12]"
dispersion = "x"
increasing = true
saturation = 60000
linear_to = 50000
scale = 0.2
amplifiers = [{ data = "[1:16,1:12]", gain = 1.0, read_noise = 3.0 }]

[calibrations]
bias = { match = ["binning"], max_age = 7, least = 3 }
arc = { match = ["disperser"], relax = ["slit"], nearest = true, max_age = 2 }
"""


class Average(Step):
    """Average frames."""

    weight: float = parameter(1.0, "factor on the average", ge=0, le=10)

    def run(self, frames: tuple[RawFrame, ...]) -> Frame:
        """Return the average."""
        data = self.weight * np.mean([frame.data for frame in frames], axis=0)
        return plain(data, frames[0])


class Subtract(Step):
    """Subtract a frame and a constant."""

    offset: float = parameter(0.0, "constant to subtract", unit="adu", ge=-1000, le=1000)
    repeat: int = parameter(1, "how often", ge=1, le=9)

    def run(self, raw: RawFrame, bias: Frame | None) -> Frame:
        """Return the difference."""
        level = 0.0 if bias is None else bias.data
        return plain(raw.data - level - self.repeat * self.offset, raw)


class Split(Step):
    """Cut a frame into parts."""

    parts: int = parameter(2, "number of parts", ge=0, le=6)
    mood: Literal["calm", "gloomy"] = parameter("calm", "whether to warn")

    def run(self, frame: Frame) -> tuple[Frame, ...]:
        """Return the parts."""
        caveats = (Caveat("split.gloomy", "the parts look bleak"),) if self.mood == "gloomy" else ()
        strips = np.array_split(np.arange(frame.shape[0]), self.parts) if self.parts else []
        return tuple(
            Frame(frame.data[s], frame.var[s], frame.mask[s], "adu", frame.exposure, caveats=caveats) for s in strips
        )


class Trouble(Step):
    """Go wrong on demand, as steps never should."""

    what: Literal["none", "data", "bug", "kill", "kill_once", "wait"] = parameter("none", "what goes wrong")
    marker: str = parameter("", "a file that remembers")

    def run(self, frame: Frame) -> Frame:
        """Return the frame, perhaps."""
        marker = Path(self.marker)
        if self.what == "data":
            raise BadFrameError("a frame with light", "none", "observe again")
        if self.what == "bug":
            raise ZeroDivisionError("one over nothing")
        if self.what == "wait":
            marker.touch()
            signal.pause()
        if self.what == "kill" or (self.what == "kill_once" and not marker.exists()):
            if self.what == "kill_once":
                marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return frame


def plain(data, like) -> Frame:
    """Return a frame without noise."""
    data = data.astype(np.float32)
    return Frame(data, np.ones_like(data), np.zeros(data.shape, np.uint32), "adu", like.exposure)


@recipe("bias", inputs=("frames",), many=("frames",), outputs=("bias",), steps=(Average,))
def bias(run, *, frames):
    """Average bias frames."""
    return {"bias": run(Average, frames=frames)}


@recipe(
    "clean",
    inputs=("raw", "bias"),
    optional=("bias",),
    outputs=("frame",),
    steps=(Subtract, Trouble),
    defaults=(("Subtract[second].offset", 5.0),),
)
def clean(run, *, raw, bias):
    """Remove the bias."""
    frame = run(Subtract, raw=raw, bias=bias)
    run.metric("level", float(frame.data.mean()), "adu")
    return {"frame": run(Trouble, frame=frame)}


@recipe("measure", inputs=("frame",), outputs=("parts",), steps=(Split,))
def measure(run, *, frame):
    """Cut a clean frame into parts."""
    return {"parts": run(Split, frame=frame)}


@recipe("gather", inputs=("groups",), many=("groups",), outputs=("sum",), steps=(Split,))
def gather(run, *, groups):
    """Add the first parts of all exposures."""
    first = groups[0][0]
    return {"sum": first.but(data=np.sum([group[0].data for group in groups], axis=0))}


def plan(night: Night, builder: Builder) -> None:
    """Plan toy frames: bias, clean, measure for each science frame, gather for each target."""
    targets: dict[str, list] = {}
    for exposure in night.of(FrameType.SCIENCE):
        biases = builder.match(exposure, FrameType.BIAS)
        master = None
        if biases.exposures:
            raws = [builder.raw(one) for one in biases.exposures]
            master = builder.node(
                "bias", inputs={"frames": raws}, label="night", publish={"bias": "calibrations/bias_night"}
            )["bias"]
        else:
            master, biases = builder.kept(exposure, FrameType.BIAS, "bias")
        cleaned = builder.node(
            "clean",
            inputs={"raw": builder.raw(exposure), "bias": master},
            exposure=exposure,
            target=exposure.target,
            caveats=biases.caveats,
            reasons=biases.reasons,
        )
        parts = builder.node("measure", inputs={"frame": cleaned["frame"]}, exposure=exposure, target=exposure.target)
        targets.setdefault(exposure.target, []).append(parts["parts"])
    for target, groups in targets.items():
        folder = target.replace(" ", "_")
        builder.node(
            "gather",
            inputs={"groups": groups},
            target=target,
            label=folder,
            publish={"sum": f"{folder}/{folder}_2d"},
        )


BOOK = Book((bias, clean, measure, gather), plan, "builders.toys:BOOK")


def write_frame(
    folder: Path, name: str, kind: str, *, target: str = "", hours: float = 0.0, level: float = 100.0, **cards
):
    """Write one toy raw frame and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    hdu = fits.PrimaryHDU(np.full((12, 16), level, np.float32))
    minutes = round((18 + hours) * 60)
    start = f"2020-01-{1 + minutes // 1440:02d}T{minutes // 60 % 24:02d}:{minutes % 60:02d}:00"
    facts = {"INSTRUME": "TOYCAM", "IMAGETYP": kind, "OBJECT": target or kind, "EXPTIME": 10.0, "DATE-OBS": start}
    for card, value in {**facts, "GRISM": "g1", "SLIT": "s1", **cards}.items():
        hdu.header[card] = value
    path = folder / f"{name}.fits"
    hdu.writeto(path, overwrite=True)
    return path


def write_night(folder: Path, targets=("star A", "star B"), exposures: int = 2) -> Path:
    """Write a toy night: three bias frames, some exposures of each target."""
    for number in range(3):
        write_frame(folder, f"b{number}", "bias", level=10.0, hours=0.1 * number)
    for index, target in enumerate(targets):
        for number in range(exposures):
            level = 100.0 + 10 * index + number
            hours = 2 + index + 0.2 * number
            write_frame(folder, f"s{index}{number}", "science", target=target, level=level, hours=hours)
    return folder


def run_night(raw: Path, out: Path, *, pool=None, settings=None, line=None, decisions=None, plan=None, watch=None):
    """Plan and execute a toy night; return the outcomes by node."""
    from nightpipe.engine.config import Layer
    from nightpipe.engine.decisions import Decisions
    from nightpipe.engine.execute import execute
    from nightpipe.engine.local import InLine
    from nightpipe.engine.store import Store

    if plan is None:
        plan = plan_night(
            raw,
            settings=Layer("settings", settings or {}),
            command_line=Layer("command line", line or {}),
            decisions=decisions or Decisions(),
        )
    return execute(plan, BOOK, Store(out), pool or InLine(), watch)


def plan_night(raw: Path, **wishes):
    """Return the plan of a toy night."""
    from nightpipe.engine.builder import Wishes
    from nightpipe.engine.night import scan

    return Builder(scan([raw], wishes.get("decisions")), BOOK, Wishes(**wishes)).plan()


def ran(outcomes) -> list[str]:
    """Return the nodes that were really run."""
    return [name for name, outcome in outcomes.items() if not outcome.reused]


def threads(pipe: Any, busy: kernel_threads.Busy) -> None:
    """Say three times, when asked, how many threads a kernel has in this process."""
    kernel_threads.share(busy)
    for _ in range(3):
        pipe.recv()
        pipe.send(kernel_threads.threads())


def environment(pipe: Any, own: dict[str, str]) -> None:
    """Say what a worker sees of two variables, after it took over those of its coordinator."""
    local.take_over(own)
    pipe.send((os.environ.get("NIGHTPIPE_GONE"), os.environ.get("NIGHTPIPE_CATALOGUES")))
