"""nightpipe: from the raw frames of a night to calibrated and delivered spectra and photometry."""

from __future__ import annotations

__version__ = "0.1.0"
