"""The tables of the end: spectra and images have their own columns, and nothing that was not measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from nightpipe.api.columns import IMAGES, SPECTRA, target_tables
from nightpipe.api.products import CLASSIFICATION, STACK, Product
from nightpipe.api.reduction import Target
from nightpipe.engine.execute import State

OUT = Path("/out")


def target(name, metrics, products=()):
    return Target(name, f"{name}_label", State.OK, ("e1", "e2"), products, (), metrics, node=name)


def reduction(targets, stacks=()):
    setup = SimpleNamespace(arm="C1", filter="i")
    runs = {one: SimpleNamespace(node=SimpleNamespace(recipe="imagestack")) for one in stacks}
    night = SimpleNamespace(exposures=(SimpleNamespace(name="e1", setup=setup),))
    return SimpleNamespace(
        targets=targets, night=night, out=OUT, lineage=lambda node: [runs[node]] if node in runs else []
    )


def test_a_night_with_both_has_two_tables():
    product = Product("M82/M82", STACK, OUT / "M82/M82.fits", ())
    metrics = {"frames_used": 1, "exptime": 60.0, "stack_seeing": 1.234, "astrometry_rms": 0.0412, "depth": 22.345}
    metrics |= {"registration_rms": 0.02, "zero_point": 25.1234, "zero_point_error": 0.0041}
    targets = (target("star", {"snr_median": 51.26}), target("M82", metrics, (product,)))
    found = target_tables(reduction(targets, ("M82",)))
    assert [table.columns for table in found] == [SPECTRA, IMAGES]
    assert [table.targets for table in found] == [(0,), (1,)]
    assert found[0].rows == (("star_label", "2", "51.3", "", "", "ok"),)
    row = ("M82", "C1 i", "1/2", "60", "1.23", "0.041", "25.123 +- 0.004", "22.34", "", "M82/M82.fits")
    assert found[1].rows == (row,)


def test_what_was_not_measured_is_blank_and_places_without_a_catalogue_are_called_relative():
    (table,) = target_tables(reduction((target("M82", {"registration_rms": 0.1}),), ("M82",)))
    assert table.rows == (("M82", "C1 i", "0/2", "", "", "0.100 (relative)", "", "", "", "ok"),)


def test_a_chain_that_was_ended_before_the_stack_is_one_of_images():
    ended = replace(target("M82", {"seeing": 1.3}), node="measure:M82_1")
    (table,) = target_tables(reduction((ended,)))
    assert table.columns == IMAGES
    assert table.rows[0][4] == "1.30"


def test_no_target_no_table():
    assert target_tables(reduction(())) == ()


def test_a_graded_spectrum_tells_its_quality_and_why():
    one, other = target("a", {"quality": 2, "reasons": (1 << 0) | (1 << 13)}), target("b", {"quality": 0, "reasons": 0})
    (table,) = target_tables(reduction((one, other)))
    assert table.columns[2] == "quality"
    assert [row[2] for row in table.rows] == ["2 (faint, pointing)", "0"]


def test_a_spectrum_that_was_classified_tells_its_type():
    found = SimpleNamespace(summary="Ia (0.99), z 0.051")
    kept = SimpleNamespace(kind=CLASSIFICATION, models=lambda: (found,))
    (table,) = target_tables(reduction((target("SN", {}, (kept,)), target("star", {}))))
    assert table.columns[:3] == ("target", "type", "exposures")
    assert [row[1] for row in table.rows] == ["Ia (0.99), z 0.051", ""]
