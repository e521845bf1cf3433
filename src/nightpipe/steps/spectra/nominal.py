"""A wavelength scale when there is no arc: the description's word, and a caveat that says so."""

from __future__ import annotations

import numpy as np

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.maths.poly import Poly1, Poly2
from nightpipe.model.disperser import Disperser
from nightpipe.model.frame import Frame
from nightpipe.model.wave import LineTable, WaveSolution


class NominalWave(Step):
    """Build a linear wavelength scale from the instrument description, for exposures that have no arc."""

    shift: float = parameter(0.0, "add this to the nominal wavelengths", unit="Angstrom")
    stretch: float = parameter(1.0, "multiply the nominal dispersion by this", ge=0.8, le=1.25)

    def run(self, frame: Frame) -> WaveSolution:
        """Return the nominal scale of `frame.disperser`; its error is of the order of the disperser's tolerance.

        Raises
        ------
        NoSolutionError
            The exposure's disperser is unknown, so that there is not even a nominal scale.
        """
        if frame.disperser is None:
            raise NoSolutionError("a disperser that the instrument description knows", "none", "retype the frame")
        ny, nx = frame.shape
        domain_x, domain_y = (0.0, nx - 1.0), (0.0, ny - 1.0)
        half = frame.disperser.dispersion * self.stretch * (nx - 1) / 2
        centre = frame.disperser.centre + self.shift
        poly = Poly2(np.array([[centre], [half]]), domain_x, domain_y)
        return WaveSolution(
            poly=poly,
            shape=(ny, nx),
            lines=_no_lines(),
            fwhm=Poly1(np.array([frame.disperser.fwhm / frame.disperser.dispersion]), domain_x),
            y_ref=(ny - 1) / 2,
            order=1,
            dof=0,
            rms_px=float("nan"),
            loo_px=float("nan"),
            map_rms_px=float("nan"),
            range=(centre - half, centre + half),
            coverage=0.0,
            lamps=(),
            source="nominal",
            caveats=(_caveat(frame.disperser),),
        )


def _no_lines() -> LineTable:
    empty = np.zeros(0)
    return LineTable(empty, empty, empty, (), empty, np.zeros(0, dtype=np.bool_), empty)


def _caveat(disperser: Disperser) -> Caveat:
    error = disperser.centre_tolerance
    return Caveat("wave.nominal", f"no arc: wavelengths are nominal for {disperser.name}, off by up to {error:.0f} A")
