"""Which way of telling a spectrum becomes the product, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from nightpipe.model.scene import Scene
from nightpipe.steps.spaxels.choose import ChooseScene


@dataclass(frozen=True)
class Judged:
    """What the choice looks at."""

    method: str = "psf"
    chi2_near: float = 1.05
    structure: float = 0.1
    snr: float = 20.0
    bic: float = 1000.0
    why: str = ""
    slack = Scene.slack
    mismatch: float = 0.01


PLAIN = Judged()
HOST, MASKED = replace(PLAIN, method="scene", bic=1500.0), replace(PLAIN, method="masked", chi2_near=1.02)


def test_the_target_alone_is_enough_where_it_fits():
    chosen = ChooseScene().run((PLAIN, MASKED, HOST))
    assert chosen.method == "psf"
    assert chosen.why == "the target alone fits: chi2 1.05, structure 0.10"


@pytest.mark.parametrize(("snr", "holds"), [(20.0, False), (150.0, True)])
def test_a_bright_target_need_not_fit_to_its_noise(snr, holds):
    """A chi2 of 2.2 is one per cent of the light of a target at 150 sigma, and a host's at 20."""
    assert ChooseScene().holds(replace(PLAIN, chi2_near=2.2, structure=0.4, snr=snr)) is holds


def test_a_host_must_gain_by_the_criterion():
    chosen = ChooseScene().run((PLAIN, replace(HOST, bic=900.0)))
    assert chosen.method == "scene"
    assert "falls by 100" in chosen.why
    assert ChooseScene().run((PLAIN, replace(HOST, bic=900.0, snr=0.5))).method == "psf"


@pytest.mark.parametrize(("chi2", "method"), [(1.1, "masked"), (1.9, "psf"), (1.5, "masked")])
def test_lenslets_are_left_out_only_where_that_is_much_better(chi2, method):
    poor = replace(PLAIN, chi2_near=2.0)
    chosen = ChooseScene().run((poor, replace(MASKED, chi2_near=chi2), HOST))
    assert chosen.method == method
    assert "2.00" in chosen.why


def test_a_persons_method_goes_before_all():
    chosen = ChooseScene(method="masked").run((PLAIN, MASKED))
    assert chosen.method == "masked"
    assert chosen.why == "a person chose the method"
    assert ChooseScene(method="aperture").run((PLAIN,)).method == "psf"
