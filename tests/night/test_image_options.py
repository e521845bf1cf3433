"""What people may ask of a night of images, by the command line: parts of a night, parts of the chain, other stacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from typer.testing import CliRunner

from nightpipe.api.summary import read_summary
from nightpipe.cli.main import app
from nightpipe.io.catalogues.store import import_tables
from nightpipe.simulate.night import write_night

pytestmark = pytest.mark.night
SCENE = {"filters": ("r'", "g'"), "exposures": 3, "size": "tiny", "trails": False, "host": 0, "latitude": 20}
OURS = ("--instrument", "generic", "--workers", "1", "--quick")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Simulate a night of two filters and reduce it; return its folder and where the new source is."""
    folder = tmp_path_factory.mktemp("options")
    truth = write_night("generic", folder / "raw", seed=4, **SCENE)
    place = json.loads((truth / "generic.json").read_text())["transient"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTPIPE_DATA", str(folder / "data"))
        import_tables([truth / "refcat.fits"], "refcat2")
        told = run("reduce", folder / "raw", "--out", folder / "out", *OURS)
        assert "Images" in told or "camera, filter" in told
        yield folder, (place["ra"], place["dec"])


def run(*words, status=(0, 10)):
    result = CliRunner().invoke(app, [str(word) for word in words])
    code = getattr(result.exception, "exit_code", result.exit_code) if result.exception else result.exit_code
    assert code in status, f"{result.output}\n{result.exception!r}"
    return result.output


def again(folder, *words, out="out"):
    """Reduce once more; return the summary and how many runs were made now."""
    told = run("reduce", folder / "raw", "--out", folder / out, *OURS, *words)
    (line,) = [line for line in told.splitlines() if "runs done now" in line]
    return read_summary(folder / out), int(line.split(" of ")[0].split()[-1])


def stacks(summary):
    return [target["label"] for target in summary["targets"]]


def frames_of(path):
    with fits.open(path) as hdus:
        return [hdus[0].header[f"FRAME{k}"] for k in range(1, hdus[0].header["NCOMBINE"] + 1)]


def test_a_second_run_does_nothing(night):
    summary, made = again(night[0])
    assert made == 0
    assert stacks(summary) == ["AT2026sim_r", "AT2026sim_g"]


@pytest.mark.parametrize("name", ["g", "g'", "G"])
def test_one_filter_by_band_or_name(night, name):
    summary, made = again(night[0], "--filter", name)
    assert made == 0
    assert stacks(summary) == ["AT2026sim_g"]


def test_one_object(night):
    assert len(stacks(again(night[0], "--object", "AT2026sim")[0])) == 2
    result = CliRunner().invoke(app, ["reduce", str(night[0] / "raw"), "--out", str(night[0] / "out"), *OURS,
                                      "--object", "M82"])  # fmt: skip
    assert "AT2026sim" in str(result.exception)


def test_what_is_not_there_is_told_with_what_is(night):
    for word, value in (("--filter", "z"), ("--camera", "C1")):
        result = CliRunner().invoke(app, ["reduce", str(night[0] / "raw"), "--out", str(night[0] / "out"), *OURS,
                                          word, value])  # fmt: skip
        assert "g', r'" in str(result.exception)


def test_one_camera_of_two(tmp_path):
    write_night("rimas", tmp_path / "raw", exposures=1, window=128, filters=("J", "H"), size="tiny", galaxies=False)
    run("plan", tmp_path / "raw", "--out", tmp_path / "out", "--camera", "C1", "--plan", tmp_path / "plan.txt")
    text = (tmp_path / "plan.txt").read_text()
    assert ".C1.fits" in text
    assert not [line for line in text.splitlines() if line.startswith("image") and ".C0." in line]


def test_the_chain_from_and_to_a_step(night):
    summary, made = again(night[0], "--filter", "g", "--to", "astrometry")
    assert made == 0
    assert summary["targets"][0]["stack"] is None
    assert "astrometry_rms" in summary["targets"][0]["metrics"]
    _, made = again(night[0], "--filter", "g", "--from", "zeropoint")
    assert 4 <= made <= 9  # zero points, stack, photometry and what looks at them; nothing before
    _, made = again(night[0])
    assert made <= 8  # of the other filter what --from took away, no more


def test_all_anew(night):
    _, made = again(night[0], "--redo", "--filter", "r", "--to", "prepare", out="other")
    assert made >= 5
    _, again_made = again(night[0], "--redo", "--filter", "r", "--to", "prepare", out="other")
    assert again_made == made


def test_whose_images_tell_the_sky_and_no_search_for_cosmic_rays(night):
    raw, out = night[0] / "raw", night[0] / "out"
    for wish, recipe in ((["--sky", "night"], True), (["--sky", "none"], False)):
        words = ["reduce", raw, "--out", out, *OURS, "--filter", "r", *wish, "--to", "mastersky", "--silent"]
        run(*words)
        stored = [json.loads(path.read_text())["recipe"] for path in (out / ".nightpipe").rglob("record.json")]
        assert not recipe or "skyframes" in stored
    _, made = again(night[0], "--filter", "r", "--no-cosmics", "--to", "skysub")
    assert made == 3  # each image is measured anew


def test_an_edited_log_is_stacked_again(night):
    folder, _ = night
    log = folder / "out" / "filelog.ecsv"
    again(folder)
    table = Table.read(log, format="ascii.ecsv")
    images = table[table["type"] == "image"]
    assert {"seeing", "ellipticity", "exptime", "zero_point", "depth", "transparency", "airmass"} <= set(table.colnames)
    assert len(images) == 6
    assert set(images["stacked"]) == {"yes"}
    assert np.all((images["seeing"] > 1.5) & (images["seeing"] < 5) & (images["ellipticity"] < 0.3))
    lines = log.read_text().splitlines(keepends=True)
    worst = next(line for line in lines if line.split()[0].endswith("light_0018.fits"))
    mine = folder / "out" / "mine.ecsv"
    mine.write_text("".join(line for line in lines if line != worst))
    run(
        "recipe", "combine", mine, "-o", folder / "combined" / "stack.fits", "--instrument", "generic", "--workers", "1"
    )
    made = sorted(path.name for path in (folder / "combined").glob("*.fits"))
    assert made == ["stack_AT2026sim_g.fits", "stack_AT2026sim_r.fits"]
    counts = {path: len(frames_of(folder / "combined" / path)) for path in made}
    assert sorted(counts.values()) == [2, 3]
    assert "light_0018" not in str([frames_of(folder / "combined" / path) for path in made])


def test_a_frame_is_left_out_of_its_stack_by_the_plan(night):
    folder, _ = night
    plan = folder / "plan.txt"
    run("plan", folder / "raw", "--out", folder / "out", "--instrument", "generic", "--plan", plan)
    lines = [f"# {line}" if line.startswith("image") and "light_0016" in line else line
             for line in plan.read_text().splitlines()]  # fmt: skip
    plan.write_text("\n".join(lines) + "\n")
    summary, made = again(folder, "--plan", plan, "--filter", "r")
    assert made == 9  # of two images each is searched for cosmic rays: both are measured anew, and what hangs on them
    (target,) = summary["targets"]
    assert len(frames_of(folder / "out" / target["stack"])) == 2
    run("decide", "light_0016", "Frame.use=true", "--why", "it was good", "--out", folder / "out")
    summary, _ = again(folder, "--filter", "r")
    assert len(frames_of(folder / "out" / summary["targets"][0]["stack"])) == 3


def test_new_sources_of_a_stack_on_its_own(night):
    folder, (ra, dec) = night
    image = folder / "out" / "AT2026sim" / "AT2026sim_r.fits"
    words = ["findnew", image, folder / "raw-truth" / "refcat.fits", "--band", "r", "--out", folder / "new.txt"]
    told = run(*words, "--bat", ra, dec, 2.0, "--xrt", ra, dec, 5.0)
    rows = [line.split() for line in told.splitlines() if line and line[0] == " "]
    assert abs(float(rows[0][1]) - ra) * 3600 < 2
    assert rows[0][7] == "2"
    assert (folder / "new.png").stat().st_size > 10_000
    bright = run(*words, "--limit", "17.0")
    assert "0 new" in bright
    shifted = run(*words, "--zp", "20.0", "--limit", "30")
    assert shifted != told


def test_a_reference_is_subtracted(night):
    folder, _ = night
    reference = folder / "out" / "AT2026sim" / "AT2026sim_g.fits"
    kept = folder / "reference.fits"
    kept.write_bytes(reference.read_bytes())
    summary, made = again(folder, "--filter", "g", "--reference", kept)
    assert made == 1
    text = Path(folder / "out" / "AT2026sim" / "AT2026sim_g_transients.txt").read_text()
    assert not [line for line in text.splitlines() if line.endswith(" real")]
    assert any("difference" in product for product in summary["targets"][0]["products"])
