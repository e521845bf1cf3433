"""Imagers: how their frames are read, several cameras on one detector, where their pixels lie on the sky."""

from __future__ import annotations

import pytest

from nightpipe.instruments.registry import instrument, recognise
from nightpipe.instruments.resolve import band, detector, exposure, parts
from nightpipe.model.exposure import FrameType

COMMON = {"SIMPLE": True, "NAXIS": 2, "EXPTIME": 60.0, "DATE-OBS": "2013-07-04T03:52:58.976"}
RATIR_IR = COMMON | {
    "NAXIS1": 2048, "NAXIS2": 2048, "INSTRUME": "RATIR", "CCD_NAME": "C3", "BINNING": "1x1", "SEXVSNM": "GRB 130702A",
    "STRCURA": 217.0, "STRCUDE": 60.0, "STRAPRAO": 0.1, "STRAPDEO": -0.05, "STRRQRA": 217.0, "STRRQDE": 60.0,
}  # fmt: skip


def shots(header, path="night/frame.fits"):
    spec = recognise([header], path)
    return [(exposure(spec, own, name), detector(spec, own, exposure(spec, own, name)))
            for name, own in parts(spec, (header,), path)]  # fmt: skip


def test_one_detector_behind_two_filters_is_two_cameras():
    found = shots(RATIR_IR)
    assert [one.setup.filter for one, _ in found] == ["J", "H"]
    assert [one.name for one, _ in found] == ["frame_J", "frame_H"]
    assert {one.file for one, _ in found} == {"night/frame.fits"}
    assert {one.type for one, _ in found} == {FrameType.IMAGE}
    (_, j), (_, h) = found
    assert j.amplifiers[0].data[3] <= h.amplifiers[0].data[2]
    assert j.dispersion == ""
    assert j.camera.mirrored
    assert j.camera.centre == ((1996 - 1) / 2, (950 - 1) / 2)


def test_the_aperture_of_ratir_moves_the_pointing_not_the_object():
    (one, _), _ = shots(RATIR_IR)
    assert one.ra == pytest.approx(217.0 + 0.1 / 0.5)
    assert one.dec == pytest.approx(59.95)
    assert (one.object_ra, one.object_dec) == (217.0, 60.0)
    assert one.band == "J"


def test_what_was_cut_before_is_one_camera():
    header = RATIR_IR | {"NAXIS1": 1936, "NAXIS2": 843, "FILTER": "H", "GAIN": 1.2}
    ((one, camera),) = shots(header)
    assert (one.name, one.band) == ("frame", "H")
    assert camera.camera.centre == (919, -219)


@pytest.mark.parametrize("binning", [2, 3])
def test_lmi_trims_by_its_header(binning):
    nx, ny = 6144 // binning, 6160 // binning
    header = COMMON | {
        "NAXIS1": nx + 32, "NAXIS2": ny, "INSTRUME": "LMI", "OBSTYPE": "OBJECT", "FILTER1": "SDSS-R", "FILTER2": "OPEN",
        "CCDSUM": f"{binning} {binning}", "TRIMSEC": f"[1:{nx},1:{ny}]", "BIASSEC": f"[{nx + 3}:{nx + 30},1:{ny}]",
        "RA": "12:30:00", "DEC": "-05:00:00", "GAIN": 2.89, "OBJNAME": "GRB",
    }  # fmt: skip
    ((one, camera),) = shots(header)
    assert one.setup.binning == (binning, binning)
    assert one.band == "r"
    assert one.ra == pytest.approx(187.5)
    assert camera.amplifiers[0].data == (0, nx, 0, ny)
    assert camera.amplifiers[0].overscan == ((nx + 2, nx + 30, 0, ny),)
    assert camera.pixel_scale == pytest.approx(0.12 * binning)
    assert camera.field[0] == pytest.approx(6144 * 0.12 / 60, rel=0.01)


def test_the_rainbow_camera_is_four_cameras():
    header = COMMON | {"NAXIS1": 2048, "NAXIS2": 2048, "CAM_NAME": "RC Cam", "IMGTYPE": "Science", "GAIN": 1.77,
                       "OBJECT": "ZTF19abc r", "ADCSPEED": 0.1}  # fmt: skip
    del header["DATE-OBS"]
    found = shots(header | {"UTC": "2019:168:05:10:03.2"})
    assert [one.band for one, _ in found] == ["u", "g", "r", "i"]
    assert {one.target for one, _ in found} == {"ZTF19abc"}
    assert {one.start for one, _ in found} == {"2019-06-17T05:10:03.200"}
    centres = [camera.camera.centre for _, camera in found]
    assert len(set(centres)) == 4


@pytest.mark.parametrize(
    ("name", "filters", "bands"),
    [
        ("generic", ("r'", "R", "SDSS r", "Cousins R", "V", "sdss_g", "Ha"), ("r", "R", "r", "R", "V", "g", "")),
        ("arcsat", ("sdss_z", "V", "air"), ("z", "V", "")),
        ("alfosc", ("g'_SDSS 480_145", "V_Bes 530_80"), ("g", "V")),
    ],
)
def test_bands_of_filters(name, filters, bands):
    assert tuple(band(instrument(name), one) for one in filters) == bands


@pytest.mark.parametrize(
    ("ra", "dec", "place"),
    [("12:30:00", "-00:30:00", (187.5, -0.5)), (187.5, -0.5, (187.5, -0.5)), (None, None, (None, None))],
)
def test_a_generic_camera_reads_coordinates_as_they_are_written(ra, dec, place):
    spec = instrument("generic")
    header = COMMON | {"NAXIS1": 100, "NAXIS2": 80, "XPIXSZ": 13.0, "FOCALLEN": 4000.0}
    header |= {} if ra is None else {"RA": ra, "DEC": dec}
    one = exposure(spec, [header], "x.fits")
    assert (one.ra, one.dec) == place
    assert one.type is FrameType.IMAGE
    camera = detector(spec, [header], one)
    assert camera.scale == pytest.approx(206.265 * 13 / 4000)
    assert camera.amplifiers[0].data == (0, 100, 0, 80)


@pytest.mark.parametrize(("target", "known"), [("AT2020abc", True), ("SP0946+139", False)])
def test_alfosc_knows_the_object_of_an_image_where_its_header_can_be_believed(target, known):
    header = {
        "SIMPLE": True, "NAXIS": 2, "NAXIS1": 2148, "NAXIS2": 2102, "INSTRUME": "ALFOSC_FASU", "OBS_MODE": "IMAGING",
        "IMAGETYP": "OBJECT", "TCSTGT": target, "EXPTIME": 60.0, "DATE-OBS": "2020-03-20T22:00:00", "OBJRA": 12.5,
        "OBJDEC": 5.25, "RA": 187.4, "DEC": 5.2, "ALGRNM": "Open", "ALAPRTNM": "Open", "SHSTAT": "OPEN",
        "CCDNAME": "CCD14", "DETXBIN": 1, "DETYBIN": 1, "FAFLTNM": "r'_SDSS 618_148",
    }  # fmt: skip
    ((one, _),) = shots(header)
    assert one.type is FrameType.IMAGE
    assert (one.object_ra, one.object_dec) == ((187.5, 5.25) if known else (None, None))
