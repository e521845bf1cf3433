"""Any model survives the store exactly, and the store's files are FITS."""

from __future__ import annotations

import errno
import os
import time

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import StoreError
from nightpipe.io import blocks, codec
from nightpipe.io.atomic import written
from nightpipe.maths.poly import Poly1, Poly2
from nightpipe.model.detector import Amplifier, Detector
from nightpipe.model.exposure import Exposure, FrameType, Setup, Site
from nightpipe.model.frame import Frame, RawFrame
from nightpipe.model.spectrum import SkyModel

DTYPES = st.sampled_from(["f4", "f8", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c16", "f2", "i1", ">f8", ">i4"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40))
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20))
LEAVES = st.one_of(
    SCALARS,
    ARRAYS,
    st.sampled_from(FrameType),
    st.builds(Caveat, st.text(max_size=9), st.text(max_size=9)),
    st.builds(Poly1, ARRAYS, st.tuples(st.floats(), st.floats()), st.none() | ARRAYS),
    st.builds(Setup, binning=st.tuples(st.integers(1, 4), st.integers(1, 4))),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=6), inner, max_size=4),
        st.builds(Poly2, inner, inner, inner, inner),
    ),
    max_leaves=12,
)


def same(a, b) -> bool:
    """Tell whether two values are equal bit by bit, types and NaN included; byte order apart."""
    if isinstance(a, np.ndarray):
        native = a.astype(a.dtype.newbyteorder("="))
        return native.dtype == b.dtype and a.shape == b.shape and native.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if hasattr(a, "__dataclass_fields__"):
        return same(vars(a), vars(b))
    return a == b or (a != a and b != b)  # noqa: PLR0124  # NaN


def frame(shape=(400, 1026)) -> Frame:
    rng = np.random.default_rng(1)
    shot = Exposure(
        "raw/a.fits.gz", "ab", "alfosc", FrameType.SCIENCE, "SN 2020x", Setup(window=(851, 1250, 1, 2102)),
        "2020-03-20T21:00:00.000", 58928.875, 18.0, ra=1.5, site=Site("lapalma", -17.9, 28.8, 2382.0),
    )  # fmt: skip
    return Frame(
        data=rng.normal(size=shape).astype(np.float32),
        var=rng.random(shape, dtype=np.float32),
        mask=rng.integers(0, 2**32, shape, dtype=np.uint32),
        unit="electron",
        exposure=shot,
        detector=Detector("x", (Amplifier("1", (0, 4, 0, 4), (), "y", 1.0, 3.0),), "y", False, 6e4, 5e4, 0.2),
        header={f"KEY{i}": i / 7 for i in range(200)} | {"OBSERVER": "Žižek 'N. N.'", "FLAG": True},
        caveats=(Caveat("flat.missing", "no flat"),),
    )


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_every_value_comes_back_exactly(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.fits"
    codec.save(value, path)
    assert same(value, codec.load(path))


@pytest.mark.parametrize("checksum", [False, True])
def test_a_frame_comes_back_and_others_can_read_its_images(tmp_path, checksum):
    wanted = frame((40, 103))
    codec.save(wanted, tmp_path / "frame.fits", checksum=checksum, durable=True)
    found = codec.load(tmp_path / "frame.fits")
    assert same(wanted, found)
    assert found.data.flags.writeable
    assert found.data.flags.c_contiguous
    with fits.open(tmp_path / "frame.fits", checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["NPMODEL"] == "Frame"
        np.testing.assert_array_equal(hdus["MASK"].data, wanted.mask)
        np.testing.assert_array_equal(hdus["DATA"].data, wanted.data)
        assert ("CHECKSUM" in hdus["DATA"].header) == checksum


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize("size", [1, 7, 719, 2880, 5000])
def test_checksums_are_those_of_the_standard(tmp_path, dtype, size):
    values = (np.random.default_rng(size).random(size) * 250).astype(dtype)
    hdus = [blocks.primary({}), blocks.image("DATA", values), blocks.image("ZEROS", np.zeros(3, np.uint8))]
    (tmp_path / "a.fits").write_bytes(b"".join(b"".join(blocks.summed(hdu)) for hdu in hdus))
    with fits.open(tmp_path / "a.fits", checksum=True) as found:  # a wrong one is a warning
        assert len(found) == 3
        for hdu in found:
            assert hdu.verify_checksum() == hdu.verify_datasum() == 1
        np.testing.assert_array_equal(found["DATA"].data, values)


def test_fields_called_as_the_codec_calls_its_own_do_no_harm(tmp_path):
    image = np.ones((50, 60), np.float32)
    codec.save(SkyModel(image, 2 * image, image > 0, 1.0, 9), tmp_path / "sky.fits")
    assert codec.load(tmp_path / "sky.fits").model[0, 0] == 1.0


def test_sets_of_models_and_raw_frames(tmp_path):
    one = frame((9, 8))
    raw = RawFrame(one.data, one.exposure, one.detector)
    value = {"raw": raw, "frames": (one, one), 3: None}
    codec.save(value, tmp_path / "set.fits")
    assert same(value, codec.load(tmp_path / "set.fits"))


def test_loading_is_quick(tmp_path):
    codec.save(frame(), tmp_path / "frame.fits")
    times = []
    for _ in range(8):
        start = time.process_time()
        codec.load(tmp_path / "frame.fits")
        times.append(time.process_time() - start)
    assert min(times) < 0.010


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"at frames\.0"):
        codec.save({"frames": (object(),)}, tmp_path / "x.fits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["absent", "empty", "short", "other"])
def test_a_damaged_file_is_a_store_error(tmp_path, damage):
    path = tmp_path / "frame.fits"
    codec.save(frame((200, 100)), path)
    if damage == "absent":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "short": whole[: len(whole) // 2], "other": b"not a FITS file"}[damage])
    with pytest.raises(StoreError, match=r"delete the file and run again"):
        codec.load(path)


def test_a_field_of_another_version_is_a_store_error(tmp_path):
    path = tmp_path / "poly.fits"
    codec.save(Poly1(np.zeros(2), (0.0, 1.0)), path)
    path.write_bytes(path.read_bytes().replace(b'"domain"', b'"domaim"'))
    with pytest.raises(StoreError, match="domaim"):
        codec.load(path)


def test_a_failed_write_names_the_folder_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.fits"
    path.write_text("old")

    def fail():
        with written(path) as stream:
            stream.write(b"new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StoreError, match=rf"{tmp_path}.*No space left.*free some space"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="nowhere"):
        codec.save(1, tmp_path / "nowhere" / "x.fits")
