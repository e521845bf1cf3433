"""Which of several ways to tell a spectrum is the product."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from nightpipe.base.step import Step, parameter
from nightpipe.model.scene import Scene


class ChooseScene(Step):
    """Choose among scenes of one exposure by how well they fit: the simplest that holds, or what the data demand.

    A scene with a host takes the place of the target alone where Bayes's criterion gains more than `gain`, and the
    target does not vanish in it. Left-out lenslets (masked) serve where neither fits about the target and they do, or
    do so much better. A person's `method` goes before all. The reason stands in the scene's `why`.

    A bright target's chi2 shows that no function is the true shape of seeing; a fit holds if what it leaves is below
    `FitScene.mismatch` of the target's light.
    """

    version: ClassVar[int] = 3

    method: Literal["best", "psf", "masked", "scene", "aperture"] = parameter(
        "best", "the method, by a person; best: by the criteria"
    )
    gain: float = parameter(20.0, "by how much Bayes's criterion must fall for a host", ge=0)
    chi2: float = parameter(1.3, "chi2 per element about the target up to which a fit holds", gt=1)
    structure: float = parameter(0.25, "correlation of neighbouring residuals up to which a fit holds", gt=0)
    better: float = parameter(0.8, "share of chi2 below which leaving lenslets out is better", gt=0, le=1)

    def run(self, scenes: tuple[Scene, ...]) -> Scene:
        """Return the scene whose spectrum is the product."""
        chosen, why = self._best({scene.method: scene for scene in scenes}, scenes[0])
        return replace(chosen, why=why)

    def _best(self, known: dict[str, Scene], first: Scene) -> tuple[Scene, str]:
        """Return the best of the scenes, and why it is."""
        if self.method != "best":
            return known.get(self.method, known.get("psf", first)), "a person chose the method"
        plain, rich, masked = known.get("psf"), known.get("scene"), known.get("masked")
        if plain is None:
            return first, "nothing else was fitted"
        if rich is not None and (fall := plain.bic - rich.bic) > self.gain and rich.snr > 1.0:
            return rich, f"with a host Bayes's criterion falls by {fall:.0f}"
        fits = f"chi2 {plain.chi2_near:.2f}, structure {plain.structure:.2f}"
        if self.holds(plain):
            return plain, f"the target alone fits: {fits}"
        if masked is not None and (self.holds(masked) or masked.chi2_near < self.better * plain.chi2_near):
            return masked, f"chi2 {masked.chi2_near:.2f} without others' lenslets, {plain.chi2_near:.2f} with them"
        return plain, f"nothing fits better: {fits}"

    def holds(self, scene: Scene) -> bool:
        """Tell whether a scene fits about the target: to the noise, or to what its shape is not known better than."""
        smooth = scene.structure < self.structure or scene.chi2_near < 1.0 + scene.slack
        return scene.chi2_near < self.chi2 + scene.slack and smooth
