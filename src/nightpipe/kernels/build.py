"""How kernels are compiled, and where the machine code is kept."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function of arrays: without the interpreter's lock, cached, with IEEE division and no bounds checks.

    Multiplications and additions may be fused; nothing else is relaxed, so infinities may serve as sentinels.
    numba looks at its cache folder only while decorating, so the folder is ours just for that moment and the user's
    own numba functions are left alone.
    """
    from numba import config, njit

    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())
    try:
        compiled: F = njit(cache=True, **_options())(function)
    finally:
        config.CACHE_DIR = before
    return compiled


def helper(function: F) -> F:
    """Compile a function that only kernels call: it is part of their machine code, which halves the compilation."""
    from numba import njit

    compiled: F = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_options())(function)
    return compiled


def _options() -> dict[str, Any]:
    return {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


@cache
def cache_folder() -> Path:
    """Return the folder of this source and this processor: ``$NUMBA_CACHE_DIR`` or the user's cache, else temporary.

    numba's own index does not see that a function called from another file has changed, nor would a home folder
    shared by unlike machines be safe: hence a name from the hash of all our sources and of the processor.
    """
    name = _digest()
    for root in _roots():
        if _writable(root / name):
            return root / name
    return Path(tempfile.mkdtemp(prefix=f"nightpipe-kernels-{name}-"))


def _roots() -> tuple[Path, ...]:
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return (Path(given),)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH118
    return (Path(home) / "nightpipe" / "kernels", Path(tempfile.gettempdir()) / f"nightpipe-kernels-{os.getuid()}")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return folder.stat().st_uid == os.getuid()
    except OSError:
        return False


def _digest() -> str:
    digest = hashlib.sha256(f"{sys.version_info[:2]} {_processor()}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    return " ".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    )
