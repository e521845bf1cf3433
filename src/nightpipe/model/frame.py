"""A frame: data, variance and mask that travel together from the first step to the last."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightpipe.base.caveat import Caveat, merged
from nightpipe.maths.strips import marked
from nightpipe.model.detector import Detector
from nightpipe.model.disperser import Disperser
from nightpipe.model.exposure import Exposure, Header
from nightpipe.model.flags import UNUSABLE, Flag

Image = NDArray[np.float32]
Mask = NDArray[np.uint32]


@dataclass(frozen=True)
class RawFrame:
    """The array as read [adu], float32 (ny, nx), overscan and all, with its exposure, detector and merged header."""

    data: Image
    exposure: Exposure
    detector: Detector
    disperser: Disperser | None = None
    header: Header = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """Trimmed and oriented image: for spectra, wavelength increases along x and the slit runs along y.

    `data`, `var` (ny, nx) float32 in `unit` (``"adu"``, ``"electron"``, ``""`` for a flat) and its square, always
    finite; `mask` (ny, nx) uint32 of `Flag` bits decides what counts. `amp` (ny, nx) uint8 numbers the amplifier, or
    is None where there is one. Before electrons, `var` is that of what was subtracted alone: readout and photons join
    there.

    `var` comes from the data. Once a model of the signal exists, `variance_of` gives the better one: `read_var` is the
    variance without this exposure's photons, `photon_var` the variance of one electron of signal (1 divided by the
    flat; None: 1), `flat_var` the relative variance of the flat (None: 0). A flat keeps in `illumination` (ny, nx) the
    slit's share of its `data`, which moves when the slit does.
    """

    data: Image
    var: Image
    mask: Mask
    unit: str
    exposure: Exposure | None = None
    detector: Detector | None = None
    disperser: Disperser | None = None
    header: Header = field(default_factory=dict)
    amp: NDArray[np.uint8] | None = None
    caveats: tuple[Caveat, ...] = ()
    read_var: Image | None = None
    photon_var: Image | None = None
    flat_var: Image | None = None
    illumination: Image | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Return (ny, nx)."""
        ny, nx = self.data.shape
        return ny, nx

    @property
    def good(self) -> NDArray[np.bool_]:
        """Return where the pixels may be measured."""
        good = marked(self.mask, UNUSABLE)
        return np.logical_not(good, out=good)

    def variance_of(self, signal: NDArray[Any]) -> Image:
        """Return the variance [electron^2] of pixels whose expected signal is `signal` [electron], noiseless.

        Frames that do not know their read noise (`read_var` is None) return `var`.
        """
        if self.read_var is None:
            return self.var
        photons = np.maximum(signal, 0) if self.photon_var is None else np.maximum(signal, 0) * self.photon_var
        flat = 0.0 if self.flat_var is None else self.flat_var * np.square(signal)
        return (self.read_var + photons + flat).astype(np.float32)

    def but(self, *, caveats: tuple[Caveat, ...] = (), **changes: Any) -> Frame:
        """Return a copy with `changes`; new caveats are added to the old ones."""
        return finite(replace(self, caveats=merged(self.caveats, caveats), **changes))

    def flagged(self, where: NDArray[np.bool_], flag: Flag) -> Frame:
        """Return a copy with `flag` set where `where` holds."""
        if not where.any():
            return self
        mask = self.mask.copy()
        mask[where] |= np.uint32(flag)
        return replace(self, mask=mask)


def finite(frame: Frame) -> Frame:
    """Return the frame with non-finite data or variance set to zero and flagged `NO_DATA`."""
    with np.errstate(all="ignore"):
        if np.isfinite(frame.data.sum()) and np.isfinite(frame.var.sum()):  # one that is not would spoil the sum
            return frame
    wrong = ~(np.isfinite(frame.data) & np.isfinite(frame.var))
    if not wrong.any():
        return frame
    zero = np.float32(0)
    return replace(
        frame,
        data=np.where(wrong, zero, frame.data),
        var=np.where(wrong, zero, frame.var),
        mask=frame.mask | np.where(wrong, np.uint32(Flag.NO_DATA), np.uint32(0)),
    )


def oriented_as(frame: Frame, detector: Detector) -> Frame:
    """Return `frame` turned to the orientation of `detector`: a master bias serves slits of either direction.

    Transposition and reversal only; no pixel is resampled.
    """
    own = frame.detector
    if own is None or (own.dispersion, own.increasing) == (detector.dispersion, detector.increasing):
        return frame
    names = ("data", "var", "mask", "amp", "read_var", "photon_var", "flat_var")
    arrays: dict[str, Any] = {
        name: _turned(array, own, detector) for name in names if (array := getattr(frame, name)) is not None
    }
    return replace(frame, detector=detector, **arrays)


def _turned(array: NDArray[Any], own: Detector, other: Detector) -> NDArray[Any]:
    raw = array if own.increasing else array[:, ::-1]
    return other.oriented(raw.T if own.dispersion == "y" else raw)
