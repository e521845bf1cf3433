"""What a fit to the small field of lenslets might have found: for figures and exporters."""

from __future__ import annotations

import numpy as np

from builders import field
from nightpipe.model.scene import Body, Grade, Placed, Scene, Slices


def scene(how="guider", east=1.0, north=-0.5, method="psf"):
    """Return what a fit might have found."""
    _, _, e, n = field.places()
    b, full = 6, field.WAVE
    wave = np.linspace(4200.0, 8800.0, b)
    expected = np.stack([east + 0.2 * (6000.0 / wave - 1.0), north + 0.6 * (6000.0 / wave - 1.0)], axis=1)
    blank = np.ones((b, e.size))
    slices = Slices(wave, blank, blank, blank, blank, blank, expected[:, 0] + 0.01, expected[:, 1] - 0.01,
                    np.full((b, 2), 0.02), expected)  # fmt: skip
    radius = np.linspace(0.2, 5.0, 40)
    model = 500.0 * np.exp(-0.5 * (radius / 0.9) ** 2)
    return Scene(
        method=method, target=Body("target", east, north), others=(Body("host", 2.5, 1.0, 1.8, 1.0, 0.6, 30.0),),
        place=Placed(east + 0.2, north, np.diag([0.09, 0.09]), how), wave=full, fwhm_line=np.full(full.size, 60.0),
        sky=np.ones(full.size), names=("fwhm",), values=np.array([0.5]), covariance=np.array([[0.01]]),
        flux_covariance=np.eye(full.size), modes=np.zeros((1, full.size)), reference=6000.0, fwhm=1.9, rho=-0.2,
        airmass=1.2, parallactic=40.0, lift=1.1, refraction_chi2=0.9, chi2=1e5, dof=100000, chi2_near=1.05,
        structure=0.02, snr=20.0, used=np.hypot(e - east, n - north) < 4.0, coverage=np.ones(full.size),
        rejected=3, slices=slices, radius=radius,
        profile=model + 5.0, profile_error=np.full(radius.size, 6.0), profile_model=model,
    )  # fmt: skip


def grade(quality=0, reasons=0):
    """Return a grade."""
    return Grade(quality, reasons, {"snr": 20.0})
