"""A master of twenty 4k frames that lie on the disk as they were read: clipped mean, in strips of rows."""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FRAMES, STRIP = 20, 256
HEAD = 128  # bytes before the pixels of such a file


def run(table_class, *, small):
    size = 1024 if small else 4096
    table = table_class(f"master of {FRAMES} frames of {size} x {size} from files of 16 bits")
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        for k in range(FRAMES):
            frame = rng.normal(1000, 5, (size, size)).astype(np.float32)
            frame.reshape(-1)[rng.integers(0, frame.size, frame.size // 2000)] += 500
            np.save(Path(folder) / f"f{k:02d}.npy", np.rint(frame).astype(np.uint16))
        subprocess.run([sys.executable, __file__, folder], check=True)
        value, reading, combining, memory = pickle.loads((Path(folder) / "done").read_bytes())
    table.rows.append(("read and combine", reading + combining, f"peak memory of its process {memory:.2f} GB"))
    table.note(f"mean {value.mean():.4f}, scatter {value.std():.4f} of {5 / np.sqrt(FRAMES):.4f}")
    if not small:
        table.judge("CPU s", reading + combining, 1.0)
        table.judge("GB", memory, 1.0)
    table.rows.append(("of it clipped_mean", combining, ""))
    table.rows.append(("of it reading", reading, ""))
    table.show()


def in_a_child(folder):
    """Combine and leave what came out, the CPU seconds of reading and combining, and the peak memory [GB]."""
    from nightpipe.kernels import warm
    from nightpipe.kernels.combine import clipped_mean

    warm()
    paths = sorted(Path(folder).glob("*.npy"))
    ny, nx = np.load(paths[0], mmap_mode="r").shape
    value, strip = np.empty((ny, nx), np.float32), np.empty((FRAMES, STRIP, nx), np.uint16)
    reading = combining = 0.0
    for top in range(0, ny, STRIP):
        start = time.process_time()
        for path, rows in zip(paths, strip, strict=True):
            with path.open("rb", buffering=0) as file:
                file.seek(HEAD + 2 * top * nx)
                file.readinto(rows.data)
        middle = time.process_time()
        value[top : top + STRIP] = clipped_mean(strip, low=5.0, high=4.5).value
        reading, combining = reading + middle - start, combining + time.process_time() - middle
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    (Path(folder) / "done").write_bytes(pickle.dumps((value, reading, combining, memory)))


if __name__ == "__main__":
    in_a_child(sys.argv[1])
