"""Where light runs on the detector: a slit is one trace, an echelle about thirty, an IFU about 1,500."""

from __future__ import annotations

from dataclasses import dataclass

from nightpipe.base.caveat import Caveat
from nightpipe.maths.poly import Poly1


@dataclass(frozen=True)
class Trace:
    """One strip of light: `centre`, `lower`, `upper` are y [pixel] as functions of x [pixel].

    For a slit or an order `lower` and `upper` are its edges; for an object they are centre -+ half the FWHM.
    `kind` is ``"slit"``, ``"order"``, ``"spaxel"`` or ``"object"``.
    """

    name: str
    kind: str
    centre: Poly1
    lower: Poly1
    upper: Poly1


@dataclass(frozen=True)
class TraceSet:
    """The traces of one setup; `measured` is False where they were assumed (the whole window is the slit)."""

    traces: tuple[Trace, ...]
    measured: bool
    caveats: tuple[Caveat, ...] = ()

    def __len__(self) -> int:
        return len(self.traces)
