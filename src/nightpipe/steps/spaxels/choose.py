"""Which of several ways to tell a spectrum is the product."""

from __future__ import annotations

from typing import Literal

from nightpipe.base.step import Step, parameter
from nightpipe.model.scene import Scene


class ChooseScene(Step):
    """Choose among scenes of one exposure by how well they fit: the simplest that holds, or what the data demand.

    A scene with a host takes the place of the target alone where Bayes's criterion gains more than `gain`, and the
    target does not vanish in it. Left-out lenslets (masked) serve where neither fits about the target and they do. A
    person's `method` goes before all.
    """

    method: Literal["best", "psf", "masked", "scene", "aperture"] = parameter(
        "best", "the method, by a person; best: by the criteria"
    )
    gain: float = parameter(20.0, "by how much Bayes's criterion must fall for a host", ge=0)
    chi2: float = parameter(1.3, "chi2 per element about the target up to which a fit holds", gt=1)
    structure: float = parameter(0.25, "correlation of neighbouring residuals up to which a fit holds", gt=0)

    def run(self, scenes: tuple[Scene, ...]) -> Scene:
        """Return the scene whose spectrum is the product."""
        known = {scene.method: scene for scene in scenes}
        if self.method in known:
            return known[self.method]
        plain, rich, masked = known.get("psf"), known.get("scene"), known.get("masked")
        if plain is None:
            return scenes[0]
        if rich is not None and plain.bic - rich.bic > self.gain and rich.snr > 1.0:
            return rich
        if self.holds(plain) or masked is None:
            return plain
        return masked if self.holds(masked) or masked.chi2_near < plain.chi2_near else plain

    def holds(self, scene: Scene) -> bool:
        """Tell whether a scene fits about the target."""
        return scene.chi2_near < self.chi2 and scene.structure < self.structure
