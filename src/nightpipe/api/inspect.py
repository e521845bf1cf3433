"""What a product is and why it is as it is, from the record that it carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nightpipe.api.logs import run_lines
from nightpipe.api.products import find
from nightpipe.engine.store import HIDDEN, Store
from nightpipe.io.export import read_spectra
from nightpipe.model.scene import words


def described(out: str | Path, name: str) -> Iterator[str]:
    """Return what a product is, a line each: origin, contents, metrics, caveats, figures; raises PlanError."""
    path, record = find(out, name)
    provenance = record["provenance"]
    yield f"{path}"
    yield f"  {record['recipe']} of {provenance['target'] or provenance['label'] or record['node']}, {record['state']}"
    yield f"  made {record['when']} by nightpipe {record['nightpipe']}"
    for output in record["published"]:
        facts = record["outputs"][output]
        yield f"  holds {output}: {len(facts['files'])} x {', '.join(facts['type']) or 'nothing'}"
    yield from (f"  {fact}" for fact in _facts(path, record))
    for metric, (value, unit) in record["metrics"].items():
        yield f"  {metric} = {value:g} {unit}".rstrip()
    yield from (f"  caveat {one['code']}: {one['text']}" for one in record["caveats"])
    yield from (f"  figure {figure}" for figure in figures_of(path, record))


TOLD = {
    "quality": "quality", "verdict": "a person says", "snr": "signal to noise a bin at 6000 A", "chosen": "chosen",
    "placed": "placed by", "east": "arcsec east of the field's middle", "north": "arcsec north of it",
    "seeing": "seeing [arcsec]", "airmass": "airmass", "response": "flux scale by",
    "standard_age": "hours from the standard", "flux_error": "level of the flux known to",
    "colour_error": "its colour known to",
}  # fmt: skip
"""What a graded spectrum says of itself that people ask for first."""


def _facts(path: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Return what a graded spectrum, a product's first, says of itself."""
    kinds = [kind for output in record["published"] for kind in record["outputs"][output]["type"]]
    if kinds != ["Spectrum"] or path.suffix != ".fits":
        return
    meta = next((one.meta for one in read_spectra(path)), {})
    for name, text in TOLD.items() if "quality" in meta else ():
        value = meta.get(name, "")
        if value != "":
            why = ", ".join(words(int(meta.get("reasons", 0)))) if name == "quality" else ""
            yield f"{text} = {value if isinstance(value, (str, int)) else format(value, '.3g')}" + (why and f" ({why})")


def figures_of(path: Path, record: Mapping[str, Any]) -> list[Path]:
    """Return the figures that lie beside a product and show it or what it was made of."""
    provenance = record["provenance"]
    names = {path.stem, provenance["exposure"] or path.stem, record["node"].replace(":", "_"), f"verify_{path.stem}"}
    nearby = (*sorted(path.parent.glob("*.png")), *sorted(path.parent.glob("figures/*.png")))
    return [figure for figure in nearby if any(figure.stem.startswith(name) for name in names)]


def reasons(out: str | Path, name: str) -> Iterator[str]:
    """Return how a product came about: its run and all that it descends from, nearest first; raises PlanError."""
    path, record = find(out, name)
    yield f"{path}"
    store = Store(_root(path, Path(out)))
    seen: set[str] = set()
    waiting = [record]
    while waiting:
        current = waiting.pop(0)
        if current["key"] not in seen:
            seen.add(current["key"])
            yield ""
            yield from run_lines(current)
            waiting += _parents(store, current)


def _parents(store: Store, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for origins in record["provenance"]["inputs"].values():
        for origin in origins:
            found = store.record(origin["key"]) if "key" in origin else None
            if found is not None:
                yield found


def _root(path: Path, out: Path) -> Path:
    """Return the output folder that a product lies in."""
    return next((folder for folder in path.absolute().parents if (folder / HIDDEN).is_dir()), out)
