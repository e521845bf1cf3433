"""The weather of a night at Palomar: what the cards say of it, and the air that the light comes through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nightpipe.simulate.atmosphere import Air
from nightpipe.simulate.dialects.base import Cards

_LEVEL = 1016.5
"""What the barometer's card reads on a usual day [mbar, reduced to the sea's level]; 625 mmHg are then on the site."""


@dataclass(frozen=True)
class Weather:
    """Air `temperature` [C], relative `humidity` [%], `pressure` [mbar, as the card], wind `speed` and `direction`."""

    temperature: float = 12.0
    humidity: float = 42.0
    pressure: float = _LEVEL
    speed: float = 8.1
    direction: float = 184.0

    @property
    def vapour(self) -> float:
        """Return the pressure of water vapour [mmHg] (Magnus' formula)."""
        return self.humidity / 100.0 * 4.581 * float(np.exp(17.62 * self.temperature / (243.12 + self.temperature)))

    @property
    def dew(self) -> float:
        """Return the dew point [C], the same formula solved."""
        log = float(np.log(max(self.vapour, 0.01) / 4.581))
        return 243.12 * log / (17.62 - log)

    @property
    def air(self) -> Air:
        """Return the air above the telescope."""
        water = float(np.clip(self.vapour / 5.0, 0.3, 2.5))
        return Air(625.0 * self.pressure / _LEVEL, self.temperature, self.vapour, 300.0, 0.07, 1.2, water)


def begun(rng: np.random.Generator) -> Weather:
    """Return the weather at dusk: 6 to 22 C and mostly dry, as public headers of four years have it."""
    return Weather(
        float(7.0 + 17.0 * rng.beta(0.7, 0.45)),
        float(np.clip(rng.normal(24.0, 17.0), 1.5, 75.0)),
        float(rng.normal(_LEVEL, 1.5)),
        float(rng.gamma(1.8, 4.0)),
        float(rng.uniform(0.0, 360.0)),
    )


def later(dusk: Weather, hours: float, rng: np.random.Generator) -> Weather:
    """Return the weather so many hours after dusk: a fifth of a degree less an hour, the wind in gusts."""
    return Weather(
        dusk.temperature - 0.2 * hours + float(rng.normal(0.0, 0.2)),
        float(np.clip(dusk.humidity + 0.6 * hours + rng.normal(0.0, 1.5), 1.0, 90.0)),
        dusk.pressure + 0.1 * hours + float(rng.normal(0.0, 0.1)),
        float(dusk.speed * rng.uniform(0.5, 1.5)),
        float((dusk.direction + rng.normal(0.0, 15.0)) % 360.0),
    )


def cards(now: Weather) -> Cards:
    """Return the cards: outside, inside the dome, at the mirror, and whether the dome may be open."""
    out = now.temperature - 0.2
    return {
        "OUT_AIR": round(out, 1),
        "OUT_HUM": round(now.humidity * 1.02, 1),
        "OUT_DEW": round(now.dew + 0.3, 1),
        "IN_AIR": round(now.temperature, 1),
        "IN_HUM": round(now.humidity, 1),
        "IN_DEW": round(now.dew, 1),
        "MIR_TEMP": round(now.temperature + 0.4, 1),
        "TOP_AIR": round(now.temperature - 0.1, 1),
        "WETNESS": -270.0,
        "WIND_DIR": round(now.direction),
        "WSP_CUR": round(now.speed, 1),
        "BARPRESS": round(now.pressure, 1),
        "SECPRESS": 34.0,
        "ENDBARPR": round(now.pressure, 1),
        "SUNSTAT": "okay",
        "WEASTAT": "okay",
        "OILSTAT": "ready",
        "SUNRISE": "13:20",
        "SUNSET": "02:03",
    }
