"""Which reference image a new one is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nightpipe.base.errors import NoSolutionError
from nightpipe.base.step import Step, parameter
from nightpipe.model.stack import Stack


class ChooseReference(Step):
    """Choose the reference image that covers most of the new one, of its band where both tell it."""

    files: str = parameter("", "images to choose from, ; between; @ and a checksum may follow a name")
    least: float = parameter(0.3, "least share of the new image that a reference must cover", gt=0, le=1)

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the files' names without their checksums."""
        return tuple(part.strip().partition("@")[0] for part in self.files.split(";") if part.strip())

    def run(self, stack: Stack, references: Sequence[Stack], bands: Sequence[str]) -> Stack:
        """Return the best of `references`; `bands` may be empty. Raises NoSolutionError: none covers the field."""
        own = _band(stack)
        shares = [_share(stack, one) for one in references]
        fit = [k for k, share in enumerate(shares) if share >= self.least and own in ("", bands[k] or own)]
        if not fit:
            told = ", ".join(
                f"{one.frames[0]} ({band or 'no band'}) {share:.0%}"
                for one, band, share in zip(references, bands, shares, strict=True)
            )
            raise NoSolutionError(
                f"a reference in {own or 'any band'} that covers {self.least:.0%} of the field", told or "none",
                "name another image: --reference FILE",
            )  # fmt: skip
        return references[max(fit, key=lambda k: (bool(bands[k]), shares[k]))]


def _band(stack: Stack) -> str:
    shot = stack.exposure
    return "" if shot is None else shot.band or shot.setup.filter


def _share(stack: Stack, other: Stack, steps: int = 25) -> float:
    """Return the share of an image's good pixels that another one shows, on a coarse grid."""
    ny, nx = stack.data.shape
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(0, nx - 1, steps), np.linspace(0, ny - 1, steps)))
    seen = stack.mask[np.round(y).astype(int), np.round(x).astype(int)] == 0
    px, py = other.wcs.to_pixel(*stack.wcs.to_sky(x, y))
    my, mx = other.data.shape
    with np.errstate(invalid="ignore"):
        inside = (px >= -0.5) & (px <= mx - 0.5) & (py >= -0.5) & (py <= my - 0.5)
    return float((inside & seen).sum() / max(int(seen.sum()), 1))
