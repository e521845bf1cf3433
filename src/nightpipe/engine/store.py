"""Where results lie: by key, complete or not there; products checksummed, intermediates within a disk budget."""

from __future__ import annotations

HIDDEN = ".nightpipe"
