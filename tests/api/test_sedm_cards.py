from __future__ import annotations

from builders.fieldscene import grade
from nightpipe.api.legacy import graded_cards
from nightpipe.model.scene import Reason


def test_the_cards_of_quality_are_those_of_the_fluxed_spectrum_and_a_verdict_has_its_own():
    from dataclasses import replace

    known = grade(0, 0)
    cards = graded_cards(known, {"quality": 2, "reasons": int(Reason.OLD_STANDARD)})
    assert (cards["QUALITY"], cards["QWHY"], cards["POSOK"]) == (2, "old_standard", True)
    assert "VERDICT" not in cards
    outside = graded_cards(replace(known, quality=3, reasons=int(Reason.OUTSIDE), verdict="bogus target"), {})
    assert (outside["QUALITY"], outside["POSOK"], outside["VERDICT"]) == (3, False, "bogus target")
