"""A small long-slit frame with known truth: tilted sky lines, stars with a Moffat profile, photon and read noise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from nightpipe.maths.poly import Poly1, Poly2
from nightpipe.model.detector import Amplifier, Detector
from nightpipe.model.exposure import Exposure, FrameType, Setup
from nightpipe.model.frame import Frame
from nightpipe.model.traces import Trace, TraceSet
from nightpipe.model.wave import LineTable, WaveSolution

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Star:
    """One object: `y` at the middle column, `slope` [pixel per column], `counts` [electron per column]."""

    y: float
    counts: float
    fwhm: float = 5.0
    slope: float = 0.002
    bow: float = 0.0
    beta: float = 4.0
    tilt: float = 0.0
    gradient: float = 0.0

    def centre(self, x: F64, nx: int) -> F64:
        u = x - nx / 2
        return self.y + self.slope * u + self.bow * (u / nx) ** 2

    def spectrum(self, x: F64, nx: int) -> F64:
        return self.counts * (1 + self.tilt * (2 * x / nx - 1))

    def width(self, x: F64, nx: int) -> F64:
        return self.fwhm * (1 + self.gradient * (2 * x / nx - 1))


@dataclass(frozen=True)
class Scene:
    """What is in the frame; `tilt` is the shift of a sky line [pixel] from the bottom to the top of the slit."""

    nx: int = 240
    ny: int = 80
    sky: float = 60.0
    lines: tuple[tuple[float, float], ...] = (
        (41.3, 3000.0),
        (77.8, 400.0),
        (120.4, 9000.0),
        (171.1, 1200.0),
        (176.0, 800.0),
    )
    line_fwhm: float = 2.2
    tilt: float = 0.8
    bow: float = 0.3
    illumination: float = 0.0
    read_noise: float = 5.0
    stars: tuple[Star, ...] = ()
    masked: float = 0.0
    dispersion: float = 4.0
    blue: float = 4000.0
    pixel_scale: float = 0.4
    exptime: float = 600.0
    type: FrameType = FrameType.SCIENCE


@dataclass(frozen=True)
class Truth:
    """The expected counts of sky and stars, and each star's profile (columns sum to one over an endless slit)."""

    sky: F64
    stars: tuple[F64, ...]
    profiles: tuple[F64, ...]
    spectra: tuple[F64, ...]
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    frame: Frame
    wave: WaveSolution
    slit: TraceSet
    truth: Truth
    scene: Scene


def build(scene: Scene | None = None, seed: int = 1) -> Built:
    """Return a noisy frame of the scene, its wavelength solution, slit and truth."""
    scene = scene or Scene()
    rng = np.random.default_rng(seed)
    truth = expected(scene)
    mean = truth.sky + sum(truth.stars, np.zeros_like(truth.sky))
    data = rng.poisson(mean) + rng.normal(0, scene.read_noise, mean.shape)
    mask = np.zeros(mean.shape, dtype=np.uint32)
    if scene.masked > 0:
        hit = rng.random(mean.shape) < scene.masked
        mask[hit] = 1
        data[hit] = 1e5 * rng.random(int(hit.sum()))
    var = np.maximum(data, 0) + scene.read_noise**2
    frame = Frame(
        data.astype(np.float32), var.astype(np.float32), mask, "electron", exposure(scene), detector(scene),
        read_var=np.full(data.shape, scene.read_noise**2, dtype=np.float32),
    )  # fmt: skip
    return Built(frame, wavelengths(scene), slit(scene), truth, scene)


def expected(scene: Scene) -> Truth:
    """Return the noiseless counts."""
    y, x = np.mgrid[: scene.ny, : scene.nx].astype(float)
    level = scene.sky * (1 + 0.3 * np.sin(x / 60.0))
    sigma = scene.line_fwhm / 2.3548
    u = x - shift(scene, y)
    for centre, counts in scene.lines:
        edges = ((u - 0.5 - centre) / sigma / np.sqrt(2), (u + 0.5 - centre) / sigma / np.sqrt(2))
        level = level + counts * 0.5 * (erf(edges[1]) - erf(edges[0]))
    level = level * (1 + scene.illumination * (2 * y / (scene.ny - 1) - 1))
    columns = np.arange(scene.nx, dtype=float)
    profiles = tuple(profile(star, scene) for star in scene.stars)
    spectra = tuple(star.spectrum(columns, scene.nx) for star in scene.stars)
    stars = tuple(p * s[None, :] for p, s in zip(profiles, spectra, strict=True))
    return Truth(level, stars, profiles, spectra)


def shift(scene: Scene, y: F64) -> F64:
    """Return by how many pixels a sky line is displaced at row `y` from where it is in the middle of the slit."""
    v = 2 * y / (scene.ny - 1) - 1
    return scene.tilt / 2 * v + scene.bow * v**2


def profile(star: Star, scene: Scene) -> F64:
    """Return the star's Moffat profile integrated over the pixels, shape (ny, nx)."""
    columns = np.arange(scene.nx, dtype=float)
    centre, fwhm = star.centre(columns, scene.nx), star.width(columns, scene.nx)
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / star.beta) - 1)
    fine = (np.arange(scene.ny * 11) - 5) / 11.0
    values = (1 + ((fine[:, None] - centre[None, :]) / alpha[None, :]) ** 2) ** -star.beta
    wide = np.linspace(-400, 400, 80001)
    norm = np.array([np.trapezoid((1 + (wide / a) ** 2) ** -star.beta, wide) for a in alpha[:: scene.nx - 1]])
    norm = norm[0] / alpha[0] * alpha
    return values.reshape(scene.ny, 11, scene.nx).mean(axis=1) / norm[None, :]


def wavelengths(scene: Scene) -> WaveSolution:
    """Return the exact wavelength solution of the scene."""
    half = scene.dispersion * (scene.nx - 1) / 2
    coef = np.zeros((2, 3))
    coef[:2, 0] = scene.blue + half, half
    coef[0, :] -= scene.dispersion * np.array([scene.bow / 2, scene.tilt / 2, scene.bow / 2])
    poly = Poly2(coef, (0, scene.nx - 1), (0, scene.ny - 1))
    none = np.zeros(0)
    table = LineTable(none, none, none, (), none, np.zeros(0, dtype=bool), none)
    red = scene.blue + scene.dispersion * scene.nx
    return WaveSolution(
        poly, (scene.ny, scene.nx), table, Poly1(np.array([scene.line_fwhm]), (0, scene.nx - 1)), scene.ny / 2, 1,
        10, 0.01, 0.01, 0.01, (scene.blue - 10, red), 1.0, ("HeNe",), "builder",
    )  # fmt: skip


def slit(scene: Scene) -> TraceSet:
    """Return the slit: the whole frame."""
    domain = (0.0, scene.nx - 1.0)
    flat = [Poly1(np.array([value, 0.0]), domain) for value in ((scene.ny - 1) / 2, -0.5, scene.ny - 0.5)]
    return TraceSet((Trace("slit", "slit", *flat),), measured=True)


def detector(scene: Scene) -> Detector:
    amplifier = Amplifier("A", (0, scene.nx, 0, scene.ny), (), "y", 1.0, scene.read_noise)
    return Detector("test", (amplifier,), "x", True, 6e4, 5e4, scene.pixel_scale)


def exposure(scene: Scene) -> Exposure:
    return Exposure(
        "raw/test001.fits", "0" * 64, "test", scene.type, "target", Setup(mode="slit"), "2020-03-20T00:00:00",
        58928.0, scene.exptime, 1.2,
    )  # fmt: skip


def with_star(counts: float, **changes: float) -> Scene:
    """Return the usual scene with one star near the middle."""
    return replace(Scene(), stars=(Star(y=41.3, counts=counts, **changes),))
