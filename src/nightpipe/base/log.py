"""One logger for the package; the command line decides what is shown."""

from __future__ import annotations

import logging


def logger(name: str = "nightpipe") -> logging.Logger:
    """Return the package's logger or a child of it."""
    return logging.getLogger(name if name.startswith("nightpipe") else f"nightpipe.{name}")
