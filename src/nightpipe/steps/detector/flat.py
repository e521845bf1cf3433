"""The flat field: what pixels and slit do to light, without the lamp's own spectrum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import BadFrameError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.fringes import Ripple, ripples
from nightpipe.maths.strips import by_strips
from nightpipe.model.exposure import Header
from nightpipe.model.flags import Flag
from nightpipe.model.frame import Frame, Image
from nightpipe.model.traces import TraceSet
from nightpipe.steps.detector import lamp as parts
from nightpipe.steps.detector.fit import name_of, same_shape
from nightpipe.steps.detector.slitshift import measured_shift, moved, smoothed

_BORDER = 8  # outermost rows of the detector: what they differ by is the readout's, and stays there when the slit moves
_MARGIN = 8  # pixels beyond the slit's edges for which its illumination is kept: the slit may have moved
FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Normalised:
    """One slit's flat: `value` (ny, nx), of which `response` is the pixels' part; `usable` where it was measured,
    and `illumination` the slit's part, 1 where there is no slit.

    `spectrum` (nx,) of the lamp [electron], and the `fraction` (nx,) of it that came through the slit.
    """

    slit: parts.Slit
    value: FloatArray
    illumination: FloatArray
    spectrum: FloatArray
    response: FloatArray
    usable: Bools
    fraction: FloatArray
    fringes: tuple[Ripple, ...] = ()


class NormaliseFlat(Step):
    """Divide a lamp flat by the lamp's spectrum: pixel response times slit illumination is left."""

    knots: int = parameter(32, "knot spacing of the lamp's spectrum along the dispersion", unit="pixel", ge=4)
    order: int = parameter(2, "order along the dispersion of the slit's illumination", ge=0, le=6)
    block: int = parameter(48, "columns averaged for one slit profile", unit="pixel", ge=8)
    width: int = parameter(32, "structure wider than this is no pixel response", unit="pixel", ge=8)
    least_snr: float = parameter(50.0, "least signal-to-noise of a pixel of the flat", gt=0)
    least_light: float = parameter(0.2, "least illumination, relative to the slit's middle", gt=0, lt=1)
    through: float = parameter(0.7, "least fraction of the lamp's light that came through the slit", ge=0, lt=0.9)
    dead: float = parameter(0.5, "a pixel whose response differs from its surroundings' by more is bad", gt=0)
    fringes: float = parameter(0.01, "fringes of a larger amplitude are named", gt=0)

    def run(self, frame: Frame, slit: TraceSet) -> Frame:
        """Return the flat, unit ``""``, one at the slit's median: divide by it to even out pixels and slit.

        So counts are what the median of the slit would have passed: a per cent or so less than its best place, the same
        for target and standard.

        `frame` is the combined lamp [electron]. Where its light is too low, or mostly stray, the pixels' response is
        unknown: they get the slit's illumination, held from the nearest good columns, variance 0 and `NO_FLAT`.
        Pixels outside a measured slit are `OUTSIDE_SLIT` with the value 1. Fringes are divided out with the pixels'
        response, and named in a caveat (``flat.fringes``), as stray light is (``flat.stray``).

        Raises
        ------
        BadFrameError
            The lamp gave too little light anywhere.
        """
        made = [self._normalised(frame, parts.slit_on(trace, frame.shape)) for trace in slit.traces]
        if not any(part.usable.any() for part in made):
            found = f"a median of {float(np.median(frame.data)):.0f} electrons in {name_of(frame)}"
            raise BadFrameError("a flat with light in it", found, "drop it: was the lamp on? Reducing goes on without")
        value, variance, mask = self._joined(frame, made, measured=slit.measured)
        return frame.but(
            data=value.astype(np.float32),
            var=variance.astype(np.float32),
            mask=mask | (frame.mask & np.uint32(Flag.BAD | Flag.NO_DATA)),
            unit="",
            read_var=None,
            photon_var=None,
            illumination=np.prod([part.illumination for part in made], axis=0).astype(np.float32),
            caveats=tuple(caveat for part in made for caveat in self._caveats(part)),
        )

    def _joined(
        self, frame: Frame, made: list[Normalised], *, measured: bool
    ) -> tuple[FloatArray, FloatArray, NDArray[np.uint32]]:
        """Return value, variance and mask of all slits together; between measured slits lies nothing."""
        outside = Flag.NO_FLAT | Flag.OUTSIDE_SLIT if measured else Flag.NO_FLAT
        value, variance = np.ones(frame.shape), np.zeros(frame.shape)
        mask = np.full(frame.shape, np.uint32(outside))
        for part in made:
            inside = part.slit.inside
            value[inside] = part.value[inside]
            mask[inside] = np.where(part.usable, np.uint32(0), np.uint32(Flag.NO_FLAT))[inside]
            mask[part.usable & (np.abs(part.response - 1) > self.dead)] |= np.uint32(Flag.BAD)
            variance[part.usable] = frame.var[part.usable] * (part.value[part.usable] / frame.data[part.usable]) ** 2
        return value, variance, mask

    def _normalised(self, frame: Frame, slit: parts.Slit) -> Normalised:
        good = frame.good & ((frame.mask & np.uint32(Flag.NONLINEAR)) == 0)
        blocks = parts.block_edges(frame.shape[1], self.block)
        shapes, light = parts.profiles(frame.data, good, slit, blocks)
        fraction = parts.through_slit(shapes, light)
        trust = np.clip((fraction - self.through) / (0.95 - self.through), 0, 1)
        shape = parts.illumination(shapes, trust * np.maximum(light, 0), slit, blocks, self.order)
        columns = frame.shape[1]

        def composed(smooth_from: int) -> Normalised:
            lamp = parts.spectrum(frame.data, good, slit, shape, self.knots, smooth_from)
            return self._composed(frame, slit, good, shape, lamp, _along(fraction, blocks), _along(trust, blocks))

        begin = fringes_begin(frame)
        exact = composed(columns)
        if begin >= columns:
            return exact
        smooth = composed(begin)
        seen = self._fringes(smooth, exact, begin)
        return replace(smooth, fringes=seen) if seen else exact

    def _fringes(self, smooth: Normalised, exact: Normalised, begin: int) -> tuple[Ripple, ...]:
        """Return the fringes beyond column `begin`: ripples that mostly stay when each column loses its mean.

        Fringes change their phase along the slit; lines of the lamp, or of the air before it, do not.
        """
        found = [
            tuple(r for r in ripples(part.response, part.usable, least=self.fringes) if r.stop > begin)
            for part in (smooth, exact)
        ]
        highest = [max((ripple.amplitude for ripple in each), default=0.0) for each in found]
        return found[0] if highest[1] > 0.7 * highest[0] else ()

    def _composed(
        self,
        frame: Frame,
        slit: parts.Slit,
        good: Bools,
        shape: FloatArray,
        lamp: FloatArray,
        fraction: FloatArray,
        trust: FloatArray,
    ) -> Normalised:
        model = shape * lamp
        bright = (frame.data > 0) & (frame.data > self.least_snr * np.sqrt(np.maximum(frame.var, 0)))
        usable = slit.inside & good & bright & (shape > self.least_light) & (lamp > 0) & (fraction >= self.through)
        ratio = np.divide(frame.data, model, where=usable, out=np.ones(frame.shape))
        wide = parts.wide(ratio, usable, self.width)
        kept = 1 + (wide - 1) * trust
        response = np.where(usable, ratio / wide, 1.0)
        plain = np.where(shape > self.least_light, shape, 1.0)
        sane = usable & (np.abs(response - 1) <= self.dead)
        value = np.where(sane, shape * response * kept, plain)
        near = np.abs(slit.offset - np.mean(slit.places[[0, -1]])) < np.ptp(slit.places) / 2 + _MARGIN
        slit_part = _held(np.where(near, np.maximum(shape, self.least_light), 1.0), _BORDER)
        return Normalised(slit, value, slit_part, lamp, response, usable, fraction)

    def _caveats(self, part: Normalised) -> list[Caveat]:
        found = [_fringe_caveat(ripple) for ripple in part.fringes]
        stray = (part.fraction < 0.9) & (part.spectrum > 0)
        if stray.any():
            worst = min(1 - float(part.fraction[stray].min()), 1.0)
            text = f"up to {worst:.0%} of the lamp's light at {_ranges(stray)} is stray light: its shape was not used"
            found.append(Caveat("flat.stray", text))
        return found


class FlatField(Step):
    """Divide by the flat field, its slit illumination moved to where the slit lies in this frame."""

    reach: float = parameter(6.0, "look this far for the slit's dust; 0 leaves the flat as it is", unit="pixel", ge=0)
    significance: float = parameter(5.0, "least significance of the dust in this frame", unit="sigma", gt=0)

    def run(self, frame: Frame, flat: Frame) -> Frame:
        """Return `frame` over `flat`, its variance ``(var + result^2 * flat.var) / flat^2``.

        The slit's dust and roughness are looked for in the frame's own light. Where they are seen, the flat's slit
        illumination is moved there (header ``NPSLITDY`` [pixel]); where not, its fine structure is left out, since
        nobody knows where it lies. The flat's flags (`NO_FLAT`, `BAD`, `OUTSIDE_SLIT`) are passed on.

        Raises
        ------
        BadFrameError
            The two have different shapes.
        """
        same_shape(frame, flat, "flat", units=False)
        value, header = self._placed(frame, flat)
        data, var, photon_var, flat_var = by_strips(
            _divided, frame.data, frame.var, value, flat.var, 1.0 if frame.photon_var is None else frame.photon_var
        )
        passed = np.uint32(Flag.NO_FLAT | Flag.BAD | Flag.OUTSIDE_SLIT | Flag.NO_DATA)
        (mask,) = by_strips(lambda own, other: (own | (other & passed),), frame.mask, flat.mask)
        return frame.but(
            data=data,
            var=var,
            mask=mask,
            read_var=_over_squared(frame.read_var, value),
            photon_var=photon_var,
            flat_var=flat_var,
            header=frame.header | header,
            caveats=flat.caveats,
        )

    def _placed(self, frame: Frame, flat: Frame) -> tuple[NDArray[Any], Header]:
        """Return the flat's value with the slit where this frame has it, and what to note."""
        if flat.illumination is None or self.reach == 0:
            return flat.data, {"NPFLAT": True}
        shift = measured_shift(frame, flat, reach=self.reach, significance=self.significance)
        slit = smoothed(flat.illumination) if shift is None else moved(flat.illumination, shift)
        noted: Header = {"NPFLAT": True} if shift is None else {"NPFLAT": True, "NPSLITDY": round(shift, 3)}
        return flat.data / flat.illumination * slit, noted


def fringes_begin(frame: Frame) -> int:
    """Return the column from which on the detector may fringe, by the nominal wavelengths; 0 where nobody knows."""
    disperser = frame.disperser
    if disperser is None or not disperser.dispersion:
        return 0
    if disperser.fringes_from == 0:
        return frame.shape[1]
    from_centre = (disperser.fringes_from - disperser.centre_tolerance - disperser.centre) / disperser.dispersion
    return int(np.clip((frame.shape[1] - 1) / 2 + from_centre, 0, frame.shape[1]))


def _held(image: FloatArray, rows: int) -> FloatArray:
    """Return the image with its outermost rows replaced by the next inner one."""
    inner = np.clip(np.arange(len(image)), rows, max(len(image) - 1 - rows, rows))
    return image[np.minimum(inner, len(image) - 1)]


def _along(values: FloatArray, blocks: list[tuple[int, int]]) -> FloatArray:
    """Interpolate one value a block to all columns."""
    centres = [(start + stop - 1) / 2 for start, stop in blocks]
    return np.interp(np.arange(blocks[-1][1]), centres, values)


def _divided(data: Image, var: Image, value: Image, flat_var: Image, photon_var: Any) -> tuple[Image, ...]:
    """Return data, variance, the variance of an electron and the relative one of the flat, after the division."""
    value = _dividing(value)
    data, square = data / value, value**2
    every = data, (var + data**2 * flat_var) / square, photon_var / value, flat_var / square
    return tuple(part.astype(np.float32) for part in every)


def _over_squared(image: Image | None, divisor: Image) -> Image | None:
    if image is None:
        return None
    (made,) = by_strips(lambda part, by: ((part / _dividing(by) ** 2).astype(np.float32),), image, divisor)
    return made


def _dividing(value: Image) -> Image:
    """Return the flat, one where it is nothing that could divide."""
    return np.where(value > 0, value, np.float32(1)).astype(np.float32)


def _ranges(where: Bools) -> str:
    """Return the stretches of columns in words."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    return ", ".join(f"x = {a} to {b - 1}" for a, b in zip(edges[::2], edges[1::2], strict=True))


def _fringe_caveat(ripple: Ripple) -> Caveat:
    text = f"fringes of {ripple.amplitude:.1%} amplitude from x = {ripple.start} to {ripple.stop - 1} pixel"
    return Caveat("flat.fringes", f"{text}: the flat divides them out as far as they stand still")
