"""From headers to exposures, detectors and dispersers."""

from __future__ import annotations

import pytest

from builders.headers import ALFOSC, DBSP_RED, KAST, SPRAT, but
from nightpipe.base.errors import BadFrameError, ConfigError, MissingCardError, UnknownInstrumentError
from nightpipe.instruments.registry import instrument, recognise
from nightpipe.instruments.resolve import detector, disperser, exposure, overrides
from nightpipe.instruments.spec import Override
from nightpipe.model.exposure import FrameType


def resolve(headers):
    spec = recognise(headers, "raw/a.fits")
    shot = exposure(spec, headers, "raw/a.fits", "ab")
    camera = detector(spec, headers, shot)
    return shot, camera, disperser(spec, shot, camera)


@pytest.mark.parametrize(
    ("headers", "name"), [(ALFOSC, "alfosc"), (KAST, "kast"), (DBSP_RED, "dbsp"), (SPRAT, "sprat")]
)
def test_recognised(headers, name):
    assert recognise(headers).name == name
    assert resolve(headers)[0].instrument == name


def test_unknown_instruments_are_told_by_their_cards():
    with pytest.raises(
        UnknownInstrumentError, match=r"known instrument.*alfosc.*found: INSTRUME=FORS2.*instrument new"
    ):
        recognise(({"INSTRUME": "FORS2"},), "x.fits")


def test_the_facts_of_an_alfosc_exposure():
    shot, camera, grism = resolve(ALFOSC)
    assert shot.type is FrameType.SCIENCE
    assert shot.target == "GQ125005+280041"
    assert shot.setup.label() == "Grism_#4 Slit_1.0 WG345 356_LP 1x2"
    assert shot.setup.window == (851, 1250, 1, 2102)
    assert shot.mjd == pytest.approx(58929.1934, abs=1e-4)  # DATE-AVG of the real frame
    assert (shot.ra, shot.dec) == (192.51324, 28.00935)
    assert shot.site is not None
    assert shot.site.name == "lapalma"
    assert (camera.dispersion, camera.increasing, camera.binning) == ("y", False, (1, 2))
    assert camera.amplifiers[0].data == (0, 400, 0, 1026)
    assert camera.amplifiers[0].overscan == ((0, 400, 1034, 1051),)
    assert camera.pixel_scale == pytest.approx(0.2138)
    assert grism is not None
    assert grism.dispersion == pytest.approx(7.04)
    assert grism.second_order_from == 6900.0  # WG345 pushes it from 5900 to twice its cut


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "science"),
        ({"SHSTAT": "CLOSED", "EXPTIME": 0.002, "ALGRNM": "Open_(Lyot)", "ALAPRTNM": "Open"}, "bias"),
        ({"SHSTAT": "CLOSED", "EXPTIME": 300.0}, "dark"),
        ({"CLAMP1": 1, "CLAMP2": 1}, "arc"),
        ({"CLAMP4": 1}, "arc"),
        ({"CLAMP3": 1}, "flat"),
        ({"CLAMP3": 1, "CLAMP1": 1}, "flat"),
        ({"ALGRNM": "Open_(Lyot)"}, "slitimage"),
        ({"ALGRNM": "Open_(Lyot)", "ALAPRTNM": "Open", "OBJECT": "ALFOSC target acquisition"}, "acquisition"),
        ({"ALGRNM": "Open_(Lyot)", "ALAPRTNM": "Open"}, "image"),
        ({"ALGRNM": "Open_(Lyot)", "ALAPRTNM": "Open", "IMAGETYP": "FLAT,SKY"}, "skyflat"),
        ({"ALGRNM": "Focus_Pyr"}, "focus"),
        ({"ALAPRTNM": "Vert_1.0"}, "science"),
        ({"OBJECT": "EasyFlat count test"}, "test"),
        ({"ALAPRTNM": "Open"}, "unknown"),
    ],
)
def test_alfosc_frames_are_typed_by_lamps_and_shutter(changes, kind):
    assert resolve(but(ALFOSC, **changes))[0].type == kind


def test_a_vertical_slit_disperses_along_x():
    _, camera, _ = resolve(but(ALFOSC, ALAPRTNM="Vert_1.3"))
    assert (camera.dispersion, camera.increasing) == ("x", True)


def test_images_have_no_dispersion_but_bias_frames_are_turned_like_spectra():
    image = but(ALFOSC, ALGRNM="Open_(Lyot)", ALAPRTNM="Open")
    assert resolve(image)[1].dispersion == ""
    assert resolve(image)[2] is None
    assert resolve(but(image, SHSTAT="CLOSED", EXPTIME=0.0))[1].dispersion == "y"


def test_each_grism_of_the_table_resolves():
    for number in (3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20):
        found = resolve(but(ALFOSC, ALGRNM=f"Grism_#{number}"))[2]
        assert found is not None
        assert found.range[0] < found.centre < found.range[1]
        assert found.fwhm >= 2.0 * found.dispersion


def test_an_undescribed_grism_is_an_error_for_spectra_only():
    with pytest.raises(ConfigError, match=r"Grism_#99.*Grism_#3.*NIGHTPIPE_INSTRUMENTS"):
        resolve(but(ALFOSC, ALGRNM="Grism_#99"))
    assert resolve(but(ALFOSC, ALGRNM="Grism_#99", SHSTAT="CLOSED", EXPTIME=0.0))[2] is None


@pytest.mark.parametrize("card", ["EXPTIME", "DATE-OBS"])
def test_a_missing_card_is_named_with_file_and_remedy(card):
    headers = but(ALFOSC, **{card.replace("-", "__"): None})
    with pytest.raises(MissingCardError, match=rf"{card}.*raw/a\.fits.*instrument check"):
        resolve(headers)


@pytest.mark.parametrize(("card", "value"), [("EXPTIME", "long"), ("DATE-OBS", "yesterday"), ("DETWIN1", "all")])
def test_an_unreadable_card_shows_its_value(card, value):
    with pytest.raises(MissingCardError, match=f"{card}.*{value}"):
        resolve(but(ALFOSC, **{card.replace("-", "__"): value}))


def test_a_missing_shutter_card_leaves_a_note_where_another_rule_holds():
    shot, _, _ = resolve(but(ALFOSC, SHSTAT=None))
    assert shot.type is FrameType.SCIENCE
    assert shot.notes == ("may be a dark frame: no card SHSTAT",)


def test_a_missing_card_that_leaves_no_rule_is_an_error_unless_the_type_is_given():
    headers = but(ALFOSC, SHSTAT=None, ALAPRTNM=None)
    with pytest.raises(MissingCardError, match=r"SHSTAT.*may or may not be a dark"):
        resolve(headers)
    assert exposure(instrument("alfosc"), headers, "a.fits", type=FrameType.SCIENCE).type is FrameType.SCIENCE


@pytest.mark.parametrize("value", ["high", "", -1.0, 0.0])
def test_a_gain_that_is_no_number_falls_back_with_a_note(value):
    headers = (ALFOSC[0], {**ALFOSC[1], "GAIN": value})
    shot, camera, _ = resolve(headers)
    assert camera.amplifiers[0].gain == 0.16
    assert any("GAIN" in note and "0.16" in note for note in shot.notes)


def test_an_impossible_airmass_or_position_is_not_used():
    shot, _, _ = resolve(but(ALFOSC, AIRMASS=-99.0, DEC=128.0))
    assert (shot.airmass, shot.ra, shot.dec) == (None, None, None)
    assert len(shot.notes) == 2


def test_kast_coordinates_are_brought_from_the_date_to_j2000():
    shot, camera, grism = resolve(but(KAST, RA="12:37:54.8", DEC=" 24:59:47.0"))
    assert shot.ra == pytest.approx(189.2878, abs=1e-3)
    assert shot.dec == pytest.approx(25.0809, abs=1e-3)
    assert shot.lamps == ("He", "HgCd")  # LAMPNAME is the name of lamp E, which is off
    assert shot.setup.window == (1, 2048, 911, 1260)
    assert [amp.overscan for amp in camera.amplifiers] == [((2050, 2079, 0, 350),), ((2082, 2110, 0, 350),)]
    assert grism is not None
    assert grism.name == "600/4310"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "arc"),
        ({"LAMPSTAF": "off", "LAMPSTAG": "off", "OBJECT": "Feige 66"}, "science"),
        ({"LAMPSTAF": "off", "LAMPSTAG": "off", "LAMPSTA5": "on", "OBJECT": "x"}, "flat"),
        ({"LAMPSTAF": "off", "LAMPSTAG": "off", "OBJECT": "Dome Flat"}, "flat"),
        ({"EXPTIME": 0, "OBSTYPE": "DARK"}, "bias"),
        ({"EXPTIME": 60, "OBSTYPE": "DARK"}, "dark"),
    ],
)
def test_kast_frames(changes, kind):
    assert resolve(but(KAST, **changes))[0].type == kind


def test_kast_red_has_an_epoch():
    red = but(KAST, VERSION="kastr", GRATNG_N="300/7500", GRTILT_P=8000, DATE__BEG="2019-05-20T01:35:27.67")
    red = but(red, NAXIS1=424, NAXIS2=2725, CRVAL1U=200, CRVAL2U=700, CDELT2U=1)
    _, camera, grating = resolve(red)
    assert [amp.data for amp in camera.amplifiers] == [(0, 312, 0, 2725), (312, 360, 0, 2725)]
    assert (camera.dispersion, camera.increasing) == ("y", True)
    assert grating is not None
    assert grating.dispersion == pytest.approx(2.55)
    old = but(KAST, VERSION="kastr", GRATNG_N="300/7500", DSENSOR="Ret 400x1200")
    old = but(old, NAXIS1=1232, NAXIS2=200, AMPSROW=1, CRVAL2U=0, CDELT2U=1)
    _, camera, grating = resolve(old)
    assert camera.name == "Reticon"
    assert grating is not None
    assert grating.dispersion == pytest.approx(4.60)


def test_dbsp_wavelengths_follow_the_grating_angle():
    _, camera, grating = resolve(DBSP_RED)
    assert grating is not None
    assert grating.centre == pytest.approx(7725.7, abs=5.0)  # solved on the real HeNeAr arc
    assert grating.dispersion == pytest.approx(1.5423, rel=0.002)
    assert camera.bad == ((475, 724, 0, 440),)
    steeper = resolve(but(DBSP_RED, ANGLE="25d38m00s"))[2]
    assert steeper is not None
    assert steeper.centre > grating.centre + 500.0


def test_a_window_along_the_dispersion_moves_the_centre():
    whole = resolve(ALFOSC)[2]
    part = resolve((but(ALFOSC, DETWIN1="[851:1250, 1:1002]")[0], {**ALFOSC[1], "NAXIS2": 501}))[2]
    assert whole is not None
    assert part is not None
    assert part.centre == pytest.approx(whole.centre + 525 * 3.52)  # lower rows are redder


def test_dbsp_lamps_are_bits():
    assert resolve(DBSP_RED)[0].lamps == ("Ar", "He", "Ne")
    assert resolve(but(DBSP_RED, LAMPS="0100000"))[0].lamps == ("FeAr",)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "science"),
        ({"OBSTYPE": "STANDARD"}, "standard"),
        ({"OBSTYPE": "ARC", "LAMP1SET": True}, "arc"),
        ({"OBSTYPE": "DARK"}, "dark"),
        ({"EXTNAME": "L1_IMAGE"}, "reduced"),
        ({"OBJECT": "UNKNOWN", "BITPIX": -32}, "reduced"),
        ({"GRATPOS": "OUT"}, "image"),
    ],
)
def test_sprat_frames(changes, kind):
    assert resolve(but(SPRAT, **changes))[0].type == kind


def test_an_array_without_light_is_a_bad_frame():
    headers = (but(ALFOSC, DETWIN1="[1:40, 1:2102]")[0], {**ALFOSC[1], "NAXIS1": 40})
    with pytest.raises(BadFrameError, match=r"light-sensitive.*40x1051"):
        resolve(headers)


def test_overrides_follow_the_setup():
    shot = resolve(ALFOSC)[0]
    spec = instrument("alfosc")
    rules = (
        Override(when={"disperser": "Grism_#4"}, set={"Identify.order": 4}),
        Override(when={"disperser": "Grism_#5"}, set={"Identify.order": 9}),
        Override(set={"FindSources.threshold": 6.0}),
    )
    assert overrides(spec.model_copy(update={"overrides": rules}), shot) == {
        "Identify.order": 4,
        "FindSources.threshold": 6.0,
    }
