"""P200/DBSP: one file per arm and exposure, everything as text, lamps as seven bits."""

from __future__ import annotations

from nightpipe.model.exposure import FrameType
from nightpipe.simulate.bench import Bench
from nightpipe.simulate.dialects.base import Cards, Dialect, Layout, alias, sexagesimal
from nightpipe.simulate.schedule import NightOptions, Shot

_BITS = ("D", "FeAr", "Hg", "Ar", "Ne", "He", "InCand")
_TYPES = {
    FrameType.BIAS: "bias",
    FrameType.DARK: "dark",
    FrameType.FLAT: "flat",
    FrameType.ARC: "cal",
    FrameType.STANDARD: "object",
    FrameType.SCIENCE: "object",
}
_ARMS: dict[str, dict[str, str | float]] = {
    "blue": {"GAIN": 0.72, "RON": 2.5, "DETID": "CCD44-82_1", "DETNAM": "CCD44-82", "FPA": "DBSP_BLUE"},
    "red": {"GAIN": 2.8, "RON": 8.5, "DETID": "LBNL_4Kx2K_1", "DETNAM": "LBNL_4Kx2K", "FPA": "DBSP_RED2"},
}
_GRATINGS = {"600/4000": "27d17m00s", "316/7500": "24d38m00s"}
_LIGHT = {"blue": (895, 1254, 565, 3399), "red": (1, 4114, 790, 1229)}
_SECTIONS = {
    "blue": {"BSEC1": "[411:460,1:2835]", "CSEC1": "[1:410,1:2835]", "TSEC1": "[51:410,1:2835]"},
    "red": {"BSEC1": "[4122:4141,1:440]", "CSEC1": "[1:4121,1:440]", "TSEC1": "[8:4121,1:440]"},
}
_SHAPES = {"blue": (2835, 460), "red": (440, 4141)}


class Dbsp(Dialect):
    """Either arm of the Double Spectrograph, as read in 2020."""

    @property
    def described(self) -> str:
        """Return the name of the description, which has both arms."""
        return "dbsp"

    @property
    def side(self) -> str:
        """Return ``blue`` or ``red``."""
        return self.arm.removeprefix("dbsp_")

    def layout(self, shot: Shot, options: NightOptions) -> Layout:  # noqa: ARG002
        """Return the window in which both arms are always read, binned or not."""
        (ny, nx), (bin_x, bin_y) = _SHAPES[self.side], shot.binning
        return Layout((ny // bin_y, nx // bin_x), _LIGHT[self.side])

    def file_name(self, shot: Shot) -> str:
        """Return the arm and a running number."""
        return f"{self.side}{shot.number:04d}.fits"

    def cards(self, shot: Shot, layout: Layout, known: Bench, options: NightOptions) -> tuple[Cards, Cards]:
        """Return the cards of the only header."""
        x1, x2, y1, y2 = layout.window
        grating = options.disperser or known.night.disperser
        begin = shot.start.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        cards: dict[str, str | int | float | tuple[str, str]] = {
            "OBJECT": (_title(shot), "object title"),
            "OBSERVER": ("nightpipe simulator", "observer"),
            "IMGTYPE": (_TYPES[shot.type], "observation type"),
            **_ARMS[self.side],
            "DICHROIC": "D55",
            "APERTURE": (f"{shot.slit:.1f}", "aperture (arcsecs)"),
            "TURRET": "LAMPS" if shot.type is FrameType.ARC else "APERTURE",
            "LAMPS": (_lamp_bits(shot, known), "lamps: D-FeAr-Hg-Ar-Ne-He-InCand"),
            f"{self.side[0].upper()}FILTER": "OPEN",
            "OEXPTIME": shot.exptime,
            "EXPTIME": shot.exptime,
            "UTSHUT": (begin, "UT shutter open"),
            "DATE": shot.middle.strftime("%Y-%m-%dT%H:%M:%S"),
            "NAMPSXY": "1 1",
            "CCDSUM": f"{shot.binning[0]} {shot.binning[1]}",
            **_SECTIONS[self.side],
            "ROISEC": f"[{x1}:{x2},{y1}:{y2}]",
            "DETNUM": "1",
        }
        return {**cards, **_pointing(shot), "ANGLE": _GRATINGS.get(grating, "27d00m00s"), "GRATING": grating}, {}


def _title(shot: Shot) -> str:
    if shot.type is FrameType.ARC:
        return "arcs"
    return alias(shot, "BD+28d") if shot.standard is not None else shot.name


def _lamp_bits(shot: Shot, known: Bench) -> str:
    lit = known.lamps[shot.lamp].lit if shot.lamp in known.lamps else ()
    return "".join(str(int(name in lit)) for name in _BITS)


def _pointing(shot: Shot) -> Cards:
    hour = (shot.sidereal - shot.ra + 180.0) % 360.0 - 180.0
    return {
        "UT": shot.start.strftime("%H:%M:%S.%f")[:-5],
        "OBSLST": sexagesimal(shot.sidereal, hours=True, digits=1),
        "RA": sexagesimal(shot.ra, hours=True),
        "DEC": sexagesimal(shot.dec, plus=True, digits=1),
        "HA": sexagesimal(hour, hours=True, plus=True, digits=1),
        "AIRMASS": f"{shot.airmass:.3f}",
        "TELID": "200",
        "TELFOCUS": "42.14 mm",
        "CASSPA": f"{shot.parallactic - shot.angle:.2f}",
        "PARALLAC": f"{shot.parallactic % 360.0:.2f}",
        "DHE": "SDSU Gen III",
        "SOFTVER": "3.4",
        "HDR_REV": "4.3",
    }
