"""Shane/Kast: two amplifiers side by side, the overscan of both behind the light, lamps by letter."""

from __future__ import annotations

from nightpipe.model.exposure import FrameType
from nightpipe.simulate.bench import Bench
from nightpipe.simulate.dialects.base import Cards, Dialect, Layout, Value, precessed, sexagesimal
from nightpipe.simulate.schedule import NightOptions, Shot

_OVERSCAN = 32
_TITLES = {FrameType.BIAS: "Bias", FrameType.DARK: "Dark", FrameType.FLAT: "Dome Flat", FrameType.ARC: "Arcs"}
_LINE_LAMPS = {
    "A": "Spare1", "B": "Spare2", "C": "Spare3", "D": "Spare_Ar", "E": "Dim_Neon", "F": "He", "G": "Hg-Cd",
    "H": "Hg-A", "I": "Spare9", "J": "Neon", "K": "Laser",
}  # fmt: skip
_FLAT_LAMPS = {"1": "Blue", "2": "Red", "3": "Spare3", "4": "Spare4", "5": "Sup_Blue"}


class Kast(Dialect):
    """Either arm of the Kast double spectrograph."""

    @property
    def described(self) -> str:
        """Return the name of the description, which has both arms."""
        return "kast"

    def layout(self, shot: Shot, options: NightOptions) -> Layout:  # noqa: ARG002
        """Return the array as read: the blue arm along x, the red one along y."""
        bin_x, bin_y = shot.binning
        nx, ny = (2048, 350) if self.arm == "kast_blue" else (340, 2725)
        return Layout((ny // bin_y, nx // bin_x + 2 * _OVERSCAN), (1, nx, 1, ny))

    def file_name(self, shot: Shot) -> str:
        """Return ``b12.fits`` or ``r12.fits``."""
        return f"{self.arm[5]}{shot.number}.fits"

    def cards(self, shot: Shot, layout: Layout, known: Bench, options: NightOptions) -> tuple[Cards, Cards]:
        """Return the cards of the only header."""
        begin, end = (moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-4] for moment in (shot.start, shot.middle))
        ny, nx = layout.shape
        disperser = options.disperser or known.night.disperser
        blue = self.arm == "kast_blue"
        bin_x, bin_y = shot.binning
        ra, dec = precessed(shot.ra, shot.dec, shot.start.year - 2000 + shot.start.month / 12)  # of date
        cards: dict[str, Value | tuple[Value, str]] = {
            "CRVAL1U": (0 if blue else 342, "COLUMN ORIGIN"),
            "CRVAL2U": (1260 if blue else 600, "ROW ORIGIN"),
            "CDELT1U": bin_x,
            "CDELT2U": -bin_y if blue else bin_y,
            "OBSNUM": shot.number,
            "AMPSROW": 2,
            "AMPSCOL": 1,
            "OBSTYPE": "DARK" if shot.type in (FrameType.BIAS, FrameType.DARK) else "OBJECT",
            "EXPTIME": shot.exptime,
            "PROGRAM": "NEWCAM",
            "VERSION": "kastb" if blue else "kastr",
            "DATE": end,
            "DATASEC": f"[1:{nx - 2 * _OVERSCAN},1:{ny}]",
            "READ-SPD": 80,
            "DATE-BEG": (begin, "OBSERVATION BEGIN"),
            "DATE-OBS": (begin, "observation date (begin)"),
            "DATE-END": end,
            "ROVER": (0, "NUMBER OF OVERSCAN ROWS"),
            "COVER": (_OVERSCAN, "NUMBER OF OVERSCAN COLUMNS"),
            "DEC": f" {sexagesimal(dec, digits=1)}       ",
            "RA": f"{sexagesimal(ra, hours=True, digits=1)}        ",
            "HA": sexagesimal((shot.sidereal - shot.ra + 180.0) % 360.0 - 180.0, hours=True, digits=1),
            "OBJECT": f"{_TITLES.get(shot.type, shot.name):<18s}",
            "OBSERVER": "nightpipe simulator",
            "GAIN": (1, "DCS GAIN INDEX"),
            "AIRMASS": round(shot.airmass, 3),
            "TUB": round(shot.parallactic % 360.0),
            "DECKER_N": "Spect             ",
            "SLIT_N": f"{shot.slit:.1f} arcsec        ",
            "BSPLIT_N": "d55               ",
            "GRISM_N": disperser if blue else "600/4310",
            "GRATNG_N": "1200/5000" if blue else disperser,
            "GRTILT_P": 25499,
            "BLFILT_N": "Open",
            "RDFILT_N": "Open",
            "LOFILT_N": "Open",
            "UPFILT_N": "Open",
            "USFILT_N": "WaveplateOut",
        }  # fmt: skip
        return {**cards, **_lamps(shot, known)}, {}


def _lamps(shot: Shot, known: Bench) -> Cards:
    lit = known.lamps[shot.lamp].lit if shot.lamp in known.lamps else ()
    cards: dict[str, str] = {}
    for letter, name in _LINE_LAMPS.items():
        cards |= {f"LAMPNAM{letter}": f"{name:<18s}", f"LAMPSTA{letter}": "on" if name in lit else "off"}
    for digit, name in _FLAT_LAMPS.items():
        on = shot.type is FrameType.FLAT and name == "Sup_Blue"
        cards |= {f"LAMPNAM{digit}": f"{name:<18s}", f"LAMPSTA{digit}": "on" if on else "off"}
    return cards
