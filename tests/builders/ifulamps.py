"""Simulated exposures of a lenslet unit without files: frames in electrons as the prelude gives them, and the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from nightpipe.instruments.registry import instrument
from nightpipe.instruments.resolve import detector, disperser, exposure
from nightpipe.model.detector import Noise
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.simulate.ifu.exposures import Ccd, ccd, lit, read
from nightpipe.simulate.ifu.headers import cards, file_name
from nightpipe.simulate.ifu.instrument import EPOCHS
from nightpipe.simulate.ifu.lattice import Lattice, lattice
from nightpipe.simulate.ifu.schedule import IfuOptions, Planner, Shot
from nightpipe.simulate.rig import stream
from nightpipe.steps.detector.combine import CombineFrames
from nightpipe.steps.detector.gain import Electrons
from nightpipe.steps.detector.linearity import Linearity
from nightpipe.steps.detector.overscan import Overscan


@dataclass(frozen=True)
class Afternoon:
    """The lamps of one afternoon: lenslets and detector as they are, the exposures, what the caller asked for."""

    seed: int
    options: IfuOptions
    lenslets: Lattice
    silicon: Ccd
    shots: tuple[Shot, ...]

    @property
    def width(self) -> int:
        """Return the columns of the oriented frame."""
        return 2045 if self.options.epoch == "pixis" else 2048

    def shot(self, kind: str, lamp: str = "") -> Shot:
        """Return the first exposure of a kind."""
        return next(shot for shot in self.shots if (shot.kind, shot.lamp) == (kind, lamp))

    def column(self, k: int, wave: np.ndarray) -> np.ndarray:
        """Return the true column of `wave` for lenslet `k` on the oriented frame."""
        return self.width - 1 - self.lenslets.column(k, wave)

    def row(self, k: int, column: np.ndarray) -> np.ndarray:
        """Return the true row of lenslet `k` at columns of the oriented frame."""
        return self.lenslets.row(k, self.width - 1 - column)

    def index(self, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Return which true lenslet has (q, r), -1 where none."""
        known = {key: k for k, key in enumerate(zip(self.lenslets.q.tolist(), self.lenslets.r.tolist(), strict=True))}
        return np.array([known.get(key, -1) for key in zip(q.tolist(), r.tolist(), strict=True)])

    def electrons(self, kind: str, lamp: str = "", count: int = 3) -> Frame:
        """Return the combination of `count` exposures, as the recipes make it (no bias structure, no flexure)."""
        return _electrons(self.seed, self.options, kind, lamp, count)


@cache
def afternoon(seed: int = 1, **options) -> Afternoon:
    """Return an afternoon; `options` are those of the simulated night."""
    return _afternoon(seed, IfuOptions(**({"size": "small", "flexure": 0.0} | options)))


@cache
def _afternoon(seed: int, asked: IfuOptions) -> Afternoon:
    epoch = EPOCHS[asked.epoch]
    lenslets = lattice(stream(seed, "lattice"), dead=60 if "dead-lenslets" in asked.faults else 3)
    silicon = replace(ccd(epoch, stream(seed, "ccd")), pattern=np.zeros((2048, 1), np.float32))
    shots = Planner(asked, (epoch.speed, epoch.fast), stream(seed, "schedule")).night()
    return Afternoon(seed, asked, lenslets, silicon, shots)


@cache
def _electrons(seed: int, options: IfuOptions, kind: str, lamp: str, count: int) -> Frame:
    made = _afternoon(seed, options)
    shot, epoch = made.shot(kind, lamp), made.silicon.epoch
    light = lit(shot, made.lenslets, options, seed)
    rng = np.random.default_rng(seed)
    header = {"NAXIS": 2, "NAXIS1": epoch.columns, "NAXIS2": 2048, **cards(shot, epoch, options)}
    spec = instrument("sedm")
    one = exposure(spec, [header], f"raw/{file_name(shot)}")
    camera = detector(spec, [header], one)
    measured = ((epoch.gain,), (epoch.noise[shot.speed],))
    noise = Noise(("1",), *measured, (0.0,), (0.0,), *measured, "pairs", "pairs")
    frames = []
    for _ in range(count):
        array, _ = read(made.silicon, shot, None if light is None else light.image, rng, cosmics=False)
        raw = RawFrame(array.astype(np.float32), one, camera, disperser(spec, one, camera), header)
        frames.append(Electrons().run(Linearity().run(Overscan().run(raw)), noise))
    return CombineFrames(reject="none").run(tuple(frames))
