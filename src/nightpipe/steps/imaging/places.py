"""Where forced photometry looks: the place that the header is about, and places that a person gives."""

from __future__ import annotations

from nightpipe.base.errors import ConfigError
from nightpipe.base.step import Step, parameter
from nightpipe.instruments.values import angle
from nightpipe.model.exposure import Exposure
from nightpipe.model.spot import Spot


class ForcedPlaces(Step):
    """Choose the places at which light is measured whether it is seen or not."""

    places: str = parameter("", "places to measure, ; between: NAME=RA,DEC in degrees or 12:34:56.7,-01:23:45")
    header: bool = parameter(True, "measure also at the coordinates of the object that the headers give")
    unsolved: bool = parameter(False, "measure also where no catalogue tells where the images lie")

    def run(self, exposure: Exposure) -> tuple[Spot, ...]:
        """Return the places of one field, that of the header first. Raises ConfigError: a text that is no place."""
        own: tuple[Spot, ...] = ()
        if self.header and exposure.object_ra is not None and exposure.object_dec is not None:
            own = (Spot(exposure.target or "object", exposure.object_ra, exposure.object_dec),)
        given = [part.strip() for part in self.places.split(";") if part.strip()]
        return own + tuple(_spot(text, number) for number, text in enumerate(given, start=1))


def _spot(text: str, number: int) -> Spot:
    name, _, place = text.rpartition("=")
    ra, _, dec = place.partition(",")
    try:
        spot = Spot(name.strip() or f"place {number}", angle(ra, "", hours=True) % 360.0, angle(dec, "", hours=False))
    except ValueError as error:
        raise ConfigError("a place: NAME=RA,DEC", text, "write for example SN=150.1234,+2.2051") from error
    if abs(spot.dec) > 90:
        raise ConfigError("a declination from -90 to 90 degrees", f"{spot.dec:g} in {text}", "mind the order: RA,DEC")
    return spot
