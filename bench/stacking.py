"""Ten dithered frames into one: ours, and what reproject takes for the resampling of one of them."""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

FRAMES = 10


def run(table_class, *, small):
    from builders import imagefield as field

    size = 1024 if small else 4096
    rng = np.random.default_rng(1)
    shape = (size, size)
    places = [
        field.wcs(shape, dx=rng.uniform(-30, 30), dy=rng.uniform(-30, 30), turn=rng.uniform(-0.3, 0.3), distortion=4.0)
        for _ in range(FRAMES)
    ]
    stars = field.light(rng, size // 4, places[0], shape, low=500, high=20000, margin=80)
    with tempfile.TemporaryDirectory() as folder:
        frames = [_stored(folder, _made(field, rng, place, stars), k) for k, place in enumerate(places)]
        solved = [field.astrometry(place) for place in places]
        table = table_class(f"{FRAMES} frames of {size} x {size}: resample, clip, combine, with variance and mask")

        stack, seconds, memory = _alone(folder, frames, solved)
        table.rows.append(("nightpipe StackImages", seconds, ""))
        told, off = _fluxes(field, stack, stars)
        table.note(f"peak memory of its process {memory:.2f} GB; {told}")
        if not small:
            table.judge("CPU s", seconds, 25.0)
            table.judge("GB", memory, 1.0)
            table.judge("flux off by", off, 0.001)
        table.time("reproject_interp, data alone, 1/10", lambda: _peer(frames[0], places[0], stack), needs="reproject",
                   repeat=1)  # fmt: skip
        table.show()


def _alone(folder, frames, solved):
    """Stack in a process of its own: its memory is that of the step, not of making the frames."""
    job, done = Path(folder) / "job", Path(folder) / "done"
    job.write_bytes(pickle.dumps((frames, solved)))
    subprocess.run([sys.executable, __file__, job, done], check=True)
    return pickle.loads(done.read_bytes())


def in_a_child(job, done):
    from nightpipe.steps.imaging.stack import StackImages

    frames, solved = pickle.loads(Path(job).read_bytes())
    start = time.process_time()
    stack = StackImages().run(frames, solved, seeing=[1.0] * FRAMES)
    seconds, memory = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    Path(done).write_bytes(pickle.dumps((stack, seconds, memory)))


def _made(field, rng, place, stars):
    electrons = field.expected((place_size := _size(place), place_size), place, stars, fwhm=3.5, exptime=100.0)
    return field.observed(rng, electrons, cosmics=place_size // 2)


def _size(place):
    return 1024 if place.crpix[0] < 1000 else 4096


def _stored(folder, frame, number):
    """Return the frame with its arrays in files, as they lie on a disk: only windows of them are read."""
    parts = {}
    for name in ("data", "var", "mask"):
        path = Path(folder) / f"{name}{number}.npy"
        np.save(path, getattr(frame, name))
        parts[name] = _OnDisk(path)
    return replace(frame, read_var=None, exposure=replace(frame.exposure, path=f"/raw/f{number}.fits"), **parts)


class _OnDisk:
    """An array in a file that is mapped only while a window of it is read."""

    def __init__(self, path):
        self.path = path
        self.shape = np.load(path, mmap_mode="r").shape

    def __getitem__(self, window):
        return np.array(np.load(self.path, mmap_mode="r")[window])


def _fluxes(field, stack, stars):
    x, y = stack.wcs.to_pixel(stars.ra, stars.dec)
    alone = [k for k in range(len(x)) if np.sort(np.hypot(x - x[k], y - y[k]))[1] > 30]
    bright = [k for k in alone if stars.rate[k] > 3000][:150]
    ratio = [field.aperture(stack.data, x[k], y[k], 12) / stars.rate[k] for k in bright]
    error = np.std(ratio) / np.sqrt(len(ratio))
    return f"{len(ratio)} stars: flux / truth {np.mean(ratio):.5f} +- {error:.5f}", abs(np.mean(ratio) - 1)


def _peer(frame, place, stack):
    from astropy.wcs import WCS
    from reproject import reproject_interp

    def header(wcs):
        made = WCS(naxis=2)
        made.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        made.wcs.crval, made.wcs.crpix = wcs.crval, [p + 1 for p in wcs.crpix]
        made.wcs.cd = np.array(wcs.cd)
        return made

    return reproject_interp((frame.data[:], header(place)), header(stack.wcs), stack.data.shape, order="bicubic")


if __name__ == "__main__":
    import stacking

    stacking.in_a_child(*sys.argv[1:])
