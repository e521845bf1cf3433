"""Arcs are identified without a human, and refused when nothing credible is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.arcs import arc, whole_slit
from nightpipe.base.errors import BadFrameError, DataError, NoSolutionError
from nightpipe.instruments.registry import all_instruments
from nightpipe.io.references import line_list
from nightpipe.model.disperser import Disperser
from nightpipe.model.flags import Flag
from nightpipe.steps.spectra.wavecal import Identify

TOLERANCE = 160.0
"""Pixels by which the description's central wavelength may be off; the arcs are off by up to 150."""


def grisms():
    spec = next(spec for spec in all_instruments() if spec.name == "alfosc")
    return {entry.name.split("#")[1]: entry for entry in spec.dispersers}


def disperser(name, binning=1):
    found = grisms()[name]
    return Disperser(
        name=name,
        dispersion=found.dispersion * binning,
        centre=found.centre,
        centre_tolerance=TOLERANCE * found.dispersion,
        dispersion_tolerance=0.02,
        range=tuple(found.range),
        fwhm=found.resolution,
    )


def simulated(name, seed, lamps=("He", "Ne"), **changes):
    binning = 1 if seed % 2 == 0 else 2
    rng = np.random.default_rng([seed, int(name)])
    chosen = disperser(name, binning)
    return arc(chosen, line_list(lamps), rng, n=2052 // binning, shift=150.0 / binning, **changes)


def worst(solution, truth):
    """Return the greatest error between the outermost used lines, in line widths."""
    x = np.linspace(*solution.lines.x[solution.lines.used][[0, -1]], 60)
    return float(np.max(np.abs(solution.poly(x, 10.0) - truth.wave(x))) / truth.frame.disperser.fwhm)


def identified(truth, lamps=("He", "Ne")):
    return Identify().run(truth.frame, truth.slit, line_list(lamps))


@pytest.mark.parametrize("name", ["4", "7", "19"])
def test_grism_is_solved_from_its_description(name):
    truth = simulated(name, 1)
    solution = identified(truth)
    assert worst(solution, truth) < 0.2
    assert solution.dof > 3
    assert solution.loo_px < 0.1 * solution.fwhm(500.0)
    assert solution.rms_px <= solution.loo_px


def test_what_is_reported_is_what_was_used():
    truth = simulated("4", 3)
    solution = identified(truth)
    used = solution.lines.used
    assert solution.dof == used.sum() - solution.order - 1
    assert solution.range == (solution.lines.wave[used].min(), solution.lines.wave[used].max())
    assert 0 < solution.coverage <= 1
    assert np.all(np.diff(solution.lines.wave) > 0)
    assert {"HeI", "NeI"} >= set(solution.lines.species)
    assert abs(float(np.sqrt(np.mean(solution.lines.residual[used] ** 2))) - solution.rms_px) < 1e-9


def test_errors_of_the_scale_are_of_the_size_they_say():
    pulls = []
    for seed in range(4):
        truth = simulated("4", 2 * seed + 1)
        solution = identified(truth)
        x = solution.lines.x[solution.lines.used][2:-2]
        pulls += list((solution.poly(x, 10.0) - truth.wave(x)) / solution.poly.sigma(x, 10.0))
    assert float(np.sqrt(np.mean(np.square(pulls)))) < 2.0


def test_lamp_off_is_a_dead_lamp():
    truth = simulated("4", 1)
    rng = np.random.default_rng(0)
    dark = truth.frame.but(data=rng.normal(0, 5, truth.frame.shape).astype("f4"))
    with pytest.raises(BadFrameError, match="dead lamp"):
        Identify().run(dark, truth.slit, line_list(("He", "Ne")))


def test_burnt_arc_is_refused_with_its_reason():
    truth = simulated("4", 1)
    burnt = truth.frame.flagged(truth.frame.data > 80, Flag.SATURATED)
    with pytest.raises(DataError, match=r"saturated|lines"):
        Identify().run(burnt, truth.slit, line_list(("He", "Ne")))


def test_a_few_burnt_lines_are_named_but_not_used():
    truth = simulated("4", 1)
    limit = np.sort(np.median(truth.frame.data, axis=0))[-8]
    solution = Identify().run(
        truth.frame.flagged(truth.frame.data > limit, Flag.SATURATED), truth.slit, line_list(("He", "Ne"))
    )
    assert worst(solution, truth) < 0.3
    assert any(caveat.code == "wave.saturated" for caveat in solution.caveats)


@pytest.mark.parametrize("seed", [1, 2])
def test_wrong_lamp_is_refused(seed):
    truth = simulated("4", seed)
    with pytest.raises(DataError):
        Identify().run(truth.frame, truth.slit, line_list(("Xe",)))


def test_reversed_dispersion_is_refused():
    truth = simulated("4", 1)
    turned = truth.frame.but(data=np.ascontiguousarray(truth.frame.data[:, ::-1]))
    with pytest.raises(NoSolutionError, match="credible"):
        Identify().run(turned, truth.slit, line_list(("He", "Ne")))


def test_unknown_disperser_is_an_error():
    truth = simulated("4", 1)
    with pytest.raises(NoSolutionError, match="disperser"):
        Identify().run(replace(truth.frame, disperser=None), truth.slit, line_list(("He",)))


def test_centre_can_be_told():
    truth = simulated("4", 1)
    lost = replace(truth.frame, disperser=replace(truth.frame.disperser, centre=4000.0))
    told = float(truth.wave(np.array([512.0]))[0])
    solution = Identify(centre=told).run(lost, whole_slit(lost.shape), line_list(("He", "Ne")))
    assert worst(solution, truth) < 0.2


@pytest.mark.slow
def test_every_grism_from_its_description():
    """At least 99 in 100 of the arcs of every grism are solved, and none is solved wrongly."""
    solved, refused, wrong = 0, [], []
    for name in grisms():
        for seed in range(5):
            truth = simulated(name, seed)
            try:
                off = worst(identified(truth), truth)
            except DataError as error:
                refused.append((name, seed, str(error)))
                continue
            solved += off < 1.0
            if off >= 1.0:
                wrong.append((name, seed, off))
    assert not wrong
    assert solved >= 0.99 * (solved + len(refused)), refused
