"""Which reference stars serve an image."""

from __future__ import annotations

import numpy as np

from nightpipe.base.step import Step, parameter
from nightpipe.model.stars import StarCatalogue


class ReferenceStars(Step):
    """Choose the reference stars of a field, from a stored catalogue or a public service."""

    catalogue: str = parameter("", "the catalogue to use; empty: the one liked best of those that are there")
    online: bool = parameter(False, "ask public services for what is not stored here")
    margin: float = parameter(0.3, "stars this far beyond the field are taken too, in degrees", unit="deg", ge=0, le=5)
    faintest: float = parameter(30.0, "leave out stars fainter in every band", unit="mag")

    def run(self, stars: StarCatalogue) -> StarCatalogue:
        """Return the stars that are bright enough in some band; those of unknown magnitude are kept."""
        if not stars.mags or self.faintest >= 30.0:
            return stars
        table = np.array(list(stars.mags.values()))
        return stars.select(~np.isfinite(table).any(axis=0) | (table <= self.faintest).any(axis=0))
