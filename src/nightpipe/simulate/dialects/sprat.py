"""LT/SPRAT: a robotic telescope's long header; no overscan, so that darks carry the pedestal."""

from __future__ import annotations

from nightpipe.model.exposure import FrameType
from nightpipe.simulate.bench import Bench
from nightpipe.simulate.dialects.base import Cards, Dialect, Layout, Value, sexagesimal
from nightpipe.simulate.schedule import NightOptions, Shot

_TYPES = {
    FrameType.BIAS: ("b", "BIAS"),
    FrameType.DARK: ("d", "DARK"),
    FrameType.FLAT: ("w", "LAMPFLAT"),
    FrameType.ARC: ("a", "ARC"),
    FrameType.STANDARD: ("s", "STANDARD"),
    FrameType.SCIENCE: ("e", "EXPOSE"),
}


class Sprat(Dialect):
    """SPRAT with its only grism in the red-optimised or blue-optimised position."""

    def layout(self, shot: Shot, options: NightOptions) -> Layout:  # noqa: ARG002
        """Return the array, which is always the same."""
        bin_x, bin_y = shot.binning
        return Layout((254 // bin_y, 1024 // bin_x), (1, 1024, 1, 254))

    def file_name(self, shot: Shot) -> str:
        """Return ``v_e_20180810_12_1_0_0.fits``: kind, night, run, exposure, and the zero that says raw."""
        return f"v_{_TYPES[shot.type][0]}_{shot.start:%Y%m%d}_{shot.number}_1_0_0.fits"

    def cards(
        self,
        shot: Shot,
        layout: Layout,  # noqa: ARG002
        known: Bench,
        options: NightOptions,
    ) -> tuple[Cards, Cards]:
        """Return the cards of the only header."""
        begin = shot.start.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        name = {FrameType.ARC: f"ARC: Xe for {shot.name}"}.get(shot.type, shot.name)
        position = options.disperser or known.night.disperser
        mjd = shot.start.timestamp() / 86400.0 + 40587.0
        cards: dict[str, Value | tuple[Value, str]] = {
            "ORIGIN": "Liverpool JMU",
            "INSTRUME": ("SPRAT", "Instrument used."),
            "CONFNAME": position,
            "DETECTOR": "E2V CCD30-11 10333-02-26",
            "FILTER1": "4020longpass",
            "FILTER2": "clear",
            "PRESCAN": 0,
            "POSTSCAN": 0,
            "GAIN": (2.45, "[electrons/count]"),
            "EPERDN": 2.45,
            "CCDXPIXE": 0.000026,
            "CCDYPIXE": 0.000026,
            "CCDSCALE": 0.442,
            "SLITPOS": "IN",
            "GRATPOS": "IN",
            "GRATROT": "0",
            "GRATSET": position,
            "WAVSET": 5555.0,
            "WAVCENT": 5555.0,
            "WAVDISP": 4.71,
            "WAVRESOL": 18.0,
            "WAVSHORT": 4020,
            "WAVLONG": 7960,
            "GRATID": "Wasatch600",
            "LAMP1TYP": "Xe",
            "LAMP1SET": shot.type is FrameType.ARC,
            "LAMP2TYP": "W",
            "LAMP2SET": shot.type is FrameType.FLAT,
            "TELESCOP": "Liverpool Telescope",
            "TELMODE": "ROBOTIC",
            "PROPID": "SIM18A00",
            "LATITUDE": 28.7624,
            "LONGITUD": -17.8792,
            "RA": sexagesimal(shot.ra, hours=True, digits=3),
            "DEC": sexagesimal(shot.dec, digits=2),
            "RADECSYS": "FK5",
            "EQUINOX": 2000.0,
            "LST": sexagesimal(shot.sidereal, hours=True),
            "CAT-RA": sexagesimal(shot.ra, hours=True, digits=3),
            "CAT-DEC": sexagesimal(shot.dec, digits=2),
            "CAT-NAME": shot.name,
            "OBJECT": name,
            "AZIMUTH": shot.azimuth,
            "ALTITUDE": shot.altitude,
            "AIRMASS": round(shot.airmass, 6),
            "ROTSKYPA": round(shot.parallactic - shot.angle, 4),
            "REFPRES": 770.0,
            "REFTEMP": 283.15,
            "OBSTYPE": _TYPES[shot.type][1],
            "DATE": f"{shot.start:%Y-%m-%d}",
            "DATE-OBS": begin,
            "UTSTART": begin[11:],
            "MJD": round(mjd, 6),
            "CCDXBIN": shot.binning[0],
            "CCDYBIN": shot.binning[1],
            "CCDWMODE": False,
            "EXPTIME": float(shot.exptime),
            "RUNNUM": shot.number,
            "EXPNUM": 1,
            "CCDATEMP": 213.671,
        }  # fmt: skip
        return cards, {}
