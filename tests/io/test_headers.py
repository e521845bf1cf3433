"""Headers read by hand agree with astropy's reading of them."""

from __future__ import annotations

import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from nightpipe.io.headers import NotPlainError, data_length, parsed, scalar

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
VALUES = st.one_of(
    st.booleans(), st.integers(-(10**15), 10**15), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
NAMES = st.from_regex(r"\A[A-Z][A-Z0-9_]{0,6}\Z").filter(
    lambda name: name not in {"END", "COMMENT", "HISTORY", "ZIMAGE"}
)


def block(header: fits.Header) -> bytes:
    return header.tostring(padding=True).encode()


@given(st.dictionaries(NAMES, VALUES, max_size=30))
def test_cards_written_by_astropy_come_back(values):
    header = fits.Header()
    for name, value in values.items():
        header[name] = (value, "what it is / or was")
    again = fits.Header.fromstring(block(header))
    wanted = {name: again[name].strip() if isinstance(again[name], str) else again[name] for name in values}
    assert parsed(block(header)) == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" 'O''Neill / Smith' / observer", "O'Neill / Smith"),
        ("                 1.5D3 / old", 1500.0),
        ("                    T", True),
        ("  -.5", -0.5),
        (" 007", 7),
        (" / a card without value", None),
        ("", None),
        (" 3O sec / a typo", "3O sec"),
        (" 'no end", "no end"),
    ],
)
def test_values_by_hand(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize("card", ["HIERARCH ESO DET ID = 'x'", "CONTINUE  'more'", "ZIMAGE  =                    T"])
def test_what_is_not_plain_is_left_to_astropy(card):
    with pytest.raises(NotPlainError):
        parsed((card.ljust(80) + "END".ljust(80)).ljust(2880).encode())


def test_long_and_hierarchic_cards_are_read_all_the_same(tmp_path):
    from nightpipe.io.raw import read_headers

    hdu = fits.PrimaryHDU()
    hdu.header["LONGTEXT"] = "word " * 30
    hdu.header["HIERARCH ESO DET ID"] = "chip"
    hdu.writeto(tmp_path / "x.fits")
    (header,) = read_headers(tmp_path / "x.fits")
    assert header["LONGTEXT"] == ("word " * 30).strip()
    assert header["ESO DET ID"] == "chip"


def test_the_length_of_data():
    assert data_length({"NAXIS": 0}) == 0
    assert data_length({"NAXIS": 2, "NAXIS1": 100, "NAXIS2": 200, "BITPIX": -32}) == 80_640
    assert data_length({"NAXIS": 2, "NAXIS1": 8, "NAXIS2": 10, "BITPIX": 8, "PCOUNT": 3000, "GCOUNT": 1}) == 5760


@pytest.mark.real
def test_every_real_header_agrees_with_astropy(shared_data):
    from nightpipe.io import raw

    for name in ("alfosc-grism4-2020", "kast-blue-2015", "sprat-2018"):
        for path in sorted((shared_data(name) / "raw").iterdir())[::4]:
            with fits.open(path) as hdus:
                assert raw.read_headers(path) == tuple(raw._plain(hdu.header) for hdu in hdus)
