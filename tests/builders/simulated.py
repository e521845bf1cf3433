"""Simulated optics without files: the rig of an arm as its own headers describe it, and its exposures in electrons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from nightpipe.maths.lines import full_width
from nightpipe.maths.poly import Poly1, fit2
from nightpipe.model.detector import Noise
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.model.frame import Frame
from nightpipe.model.wave import LineTable, WaveSolution
from nightpipe.simulate.bench import Bench, bench
from nightpipe.simulate.dialects import dialect
from nightpipe.simulate.exposures import Light, light_of
from nightpipe.simulate.geometry import lay_out
from nightpipe.simulate.night import _resolved, checked
from nightpipe.simulate.rig import Rig, build, stream
from nightpipe.simulate.schedule import NightOptions, Shot, probe
from nightpipe.steps.detector.gain import Electrons

ARMS = ("alfosc", "dbsp_blue", "dbsp_red", "kast_blue", "kast_red", "sprat")


def rig(arm: str, seed: int = 1, **options) -> tuple[Rig, Bench, NightOptions]:
    """Return the rig of an arm, what is known of it, and the options as the simulator reads them."""
    asked = checked(options)
    return _rig(arm, seed, asked), bench(arm), asked


@cache
def _rig(arm: str, seed: int, options: NightOptions) -> Rig:
    known, tongue = bench(arm), dialect(arm)
    shot = probe(known, options)
    optics, chip = _resolved(tongue, known, shot, options)
    return build(known, optics, chip, tongue.layout(shot, options).shape, seed, options.second_order)


def shot(known: Bench, options: NightOptions | None = None, **changes) -> Shot:
    """Return an exposure at the zenith with `changes`."""
    return replace(probe(known, options or checked({})), **changes)


def narrow(made: Rig, rows: int) -> Rig:
    """Return the rig with a window of `rows` rows about the slit's middle: quick, and wholly within the slit."""
    ny, nx = made.geometry.shape
    small = lay_out(made.known, made.disperser, made.detector, (min(rows, ny), nx), stream(made.seed, "dispersion"))
    return replace(made, geometry=small)


@dataclass(frozen=True)
class Scene:
    """One kind of exposure through one rig: its light, and what else a frame needs."""

    rig: Rig
    shot: Shot
    light: Light
    read_noise: float

    def frame(self, rng: np.random.Generator, columns: slice = slice(None)) -> Frame:
        """Return the exposure in electrons with the noise of one draw, as `Electrons` gives it."""
        clean = (self.light.even + sum(item.seen.image for item in self.light.objects))[:, columns]
        data = rng.poisson(np.maximum(clean, 0.0)) + rng.normal(0.0, self.read_noise, clean.shape)
        zero = np.zeros(clean.shape, dtype=np.float32)
        raw = Frame(
            data.astype(np.float32), zero, zero.astype(np.uint32), "adu", self._exposure(), self.rig.detector,
            self.rig.disperser, {"NPPED0": 0.0},
        )  # fmt: skip
        noise = Noise(("1",), (1.0,), (self.read_noise,), (0.0,), (0.0,), (1.0,), (1.0,), "pairs", "pairs")
        return Electrons().run(raw, noise)

    def _exposure(self) -> Exposure:
        shot = self.shot
        return Exposure(
            f"sim-{shot.type.value}.fits", "", self.rig.known.name, shot.type, shot.name, Setup(),
            shot.start.replace(tzinfo=None).isoformat(), 59000.0, shot.exptime, shot.airmass,
            lamps=self.rig.known.lamps[shot.lamp].lit if shot.lamp else (),
        )  # fmt: skip

    def solution(self) -> WaveSolution:
        """Return the true wavelengths and line shape as a solution, to better than a thousandth of a pixel."""
        geometry = self.light.geometry
        ny, nx = geometry.shape
        x, y = np.meshgrid(np.linspace(0, nx - 1, 60), np.linspace(0, ny - 1, 15))
        wave = geometry.wave_of(geometry.u_at(x, y))
        poly = fit2(x.ravel(), y.ravel(), wave.ravel(), (6, 3), domain_x=(0.0, nx - 1.0), domain_y=(0.0, ny - 1.0))
        empty = np.zeros(0)
        table = LineTable(empty, empty, empty, (), empty, empty.astype(bool), empty)
        box = max(self.shot.slit * geometry.across, 1.0)
        fwhm = float(full_width(np.sqrt(geometry.sigma_x**2 + 1 / 12), box)[0])
        return WaveSolution(
            poly, (ny, nx), table, Poly1(np.array([fwhm]), (0.0, nx - 1.0)), ny / 2, 6, 10, 0.0, 0.0, 0.0,
            (float(wave.min()), float(wave.max())), 1.0, (), "truth", box=box,
        )  # fmt: skip


def scene(made: Rig, exposure: Shot, options: NightOptions) -> Scene:
    """Return the scene of an exposure; the read noise is the true one of the first amplifier."""
    light = light_of(made, exposure, options)
    assert light is not None
    return Scene(made, exposure, light, made.silicon.noise[0])


def science(arm: str, seed: int = 1, rows: int = 140, **options) -> Scene:
    """Return a science exposure of an arm with a target in the middle of a narrow window."""
    made, known, asked = rig(arm, seed, **options)
    small = narrow(made, rows)
    middle = small.geometry
    offset = (middle.middle[1] - middle.row_of(0.0)) * middle.scale
    exposure = shot(
        known, asked, type=FrameType.SCIENCE, number=seed, exptime=known.night.science_exptime, airmass=1.15,
        seeing=known.night.seeing, along=offset + 1.3, angle=5.0, name="SIMQ1250+19",
    )  # fmt: skip
    return scene(small, exposure, asked)


def arc(arm: str, seed: int = 1, rows: int = 140) -> Scene:
    """Return an arc of an arm in a narrow window."""
    made, known, asked = rig(arm, seed)
    slit = known.night.arc_slit or known.night.slit
    lamp = known.night.lamp
    exposure = shot(
        known,
        asked,
        type=FrameType.ARC,
        number=seed,
        exptime=known.lamps[lamp].exptime,
        lamp=lamp,
        slit=slit,
        name="arc",
    )
    return scene(narrow(made, rows), exposure, asked)
