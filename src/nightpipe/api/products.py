"""Products: what a reduction leaves under human names, as objects that load, plot and export themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightpipe.base.caveat import Caveat
from nightpipe.base.errors import PlanError, StoreError
from nightpipe.engine.execute import Outcome
from nightpipe.engine.ledger import Ledger
from nightpipe.engine.store import HIDDEN, Store
from nightpipe.io import codec
from nightpipe.io.raw import checksum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPECTRUM, IMAGE, STACK, SOURCES, CLASSIFICATION = "Spectrum", "Frame", "Stack", "Sources", "Classification"
LIGHT_CURVE, DIFFERENCE, SEGMENTS = "LightCurve", "Difference", "Segments"
NEW = ("newsources", "difference")
"""Recipes whose sources are listed as text, too."""
TOGETHER = (SPECTRUM, LIGHT_CURVE)
"""Kinds of which all members go into one file."""


@dataclass(frozen=True)
class Product:
    """One output under its human name.

    `path` is the file that people use, `stored` the files that hold the models, `kind` the model's class. `record` says
    how it was made. `ascii` is set for spectra.
    """

    name: str
    kind: str
    path: Path
    stored: tuple[Path, ...]
    record: Mapping[str, Any] = field(repr=False, default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
    ascii: Path | None = None

    def models(self) -> tuple[Any, ...]:
        """Return the models themselves: frames, spectra, solutions."""
        return tuple(codec.load(path) for path in self.stored)

    @property
    def model(self) -> Any:
        """Return the first model: of a spectrum's product, the brightest object; raises PlanError where it has none."""
        if not self.stored:
            raise PlanError("a product with at least one member", self.name, "see its caveats: nothing was found")
        return codec.load(self.stored[0])

    def plot(self) -> Figure:
        """Draw the product as a figure of matplotlib."""
        from nightpipe.api.figures import draw

        return draw(self.model)

    def to_specutils(self) -> Any:
        """Return the spectrum as `specutils.Spectrum` (needs the extra ``interop``)."""
        from nightpipe.io.interop import to_specutils

        return to_specutils(self.model)

    def to_table(self) -> Any:
        """Return the spectrum as an astropy table with units."""
        from nightpipe.io.interop import to_table

        return to_table(self.model)

    def to_ccddata(self) -> Any:
        """Return the image as `astropy.nddata.CCDData`."""
        from nightpipe.io.interop import to_ccddata

        return to_ccddata(self.model)


@dataclass(frozen=True)
class Publisher:
    """Gives the stored outputs of a run their human names in the output folder, and notes them in the ledger."""

    store: Store
    ledger: Ledger
    who: str = ""

    def publish(self, outcome: Outcome) -> list[Product]:
        """Publish all that a node's plan says; what lies there already from the same key is left alone."""
        if not outcome.state.good:
            return []
        return [self._one(outcome, output, name) for output, name in outcome.node.publish.items()]

    def _one(self, outcome: Outcome, output: str, name: str) -> Product:
        facts = outcome.record["outputs"][output]
        kind = facts["type"][0] if facts["type"] else ""
        stored = tuple(self.store.files(outcome.key, output, outcome.record))
        alone = kind in TOGETHER or not facts["many"] or (kind == SOURCES and len(stored) == 1)
        files = [f"{name}.fits"] if alone else _numbered(name, len(stored))
        text = self.store.out / f"{name}.txt" if kind == SPECTRUM else None
        product = Product(
            name,
            kind,
            self.store.out / files[0] if files else self.store.out / name,
            stored,
            outcome.record,
            outcome.caveats,
            text,
        )
        if not self._lies_there(outcome.key, [*files, *([f"{name}.txt"] if text else [])]):
            self._write(product, outcome, files)
            for file in files:
                self.ledger.product(file, outcome.record, output, checksum(self.store.out / file))
            self._answer(product)
        elif not _answered(product):  # spectra written anew by themselves have lost what they were found to be
            self._answer(product)
        return product

    def _answer(self, product: Product) -> None:
        """Put a classification into the headers of its spectra, which then are other files."""
        if product.kind == CLASSIFICATION and (path := _write_classes(product)).exists():
            record = _record(path)
            self.ledger.product(str(path.relative_to(self.store.out)), record, _output_of(record, path), checksum(path))

    def _lies_there(self, key: str, files: list[str]) -> bool:
        known = self.ledger.key_of(files[0]) if files else key
        return known == key and all((self.store.out / file).exists() for file in files)

    def _write(self, product: Product, outcome: Outcome, files: list[str]) -> None:
        """Write what people read: spectra as tables, a target's images with their wavelengths; the rest is linked."""
        product.path.parent.mkdir(parents=True, exist_ok=True)
        if product.kind == SPECTRUM:
            _write_spectra(product, self.who)
        elif product.kind == DIFFERENCE:
            _write_difference(product, self.who)
        elif product.kind == LIGHT_CURVE:
            _write_curves(product, self.who)
        elif product.kind in (STACK, SOURCES, SEGMENTS):
            _write_images(product, self.who)
        elif product.kind == IMAGE and outcome.node.target:
            for path, file in zip(product.stored, files, strict=True):
                self._write_image(path, outcome, self.store.out / file)
        else:
            for path, file in zip(product.stored, files, strict=True):
                self.store.publish(path, file)

    def _write_image(self, stored: Path, outcome: Outcome, path: Path) -> None:
        from nightpipe.io.export import write_image

        wave = self._wavelengths(outcome)
        write_image(path, codec.load(stored), wave, record=json.dumps(outcome.record), reducer=self.who)

    def _wavelengths(self, outcome: Outcome) -> Any:
        """Return the wavelength solution that went into a run, or None."""
        for origin in outcome.record["provenance"]["inputs"].get("wave", ()):
            files = self.store.files(origin["key"], origin["output"]) if "key" in origin else []
            if files and files[0].exists():
                return codec.load(files[0])
        return None


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}-{number}.fits" for number in range(1, count + 1)]


def _write_spectra(product: Product, who: str) -> None:
    """Write one FITS file, an extension for each object, and each object as text."""
    from nightpipe.io.export import write_spectra
    from nightpipe.io.text import write_ascii

    spectra = product.models()
    write_spectra(product.path, spectra, record=json.dumps(product.record), reducer=who)
    for number, spectrum in enumerate(spectra, start=1):
        suffix = f"_obj{number}" if number > 1 else ""
        write_ascii(product.path.with_name(f"{product.path.stem}{suffix}.txt"), spectrum)


def _write_classes(product: Product) -> Path:
    """Put the answers into the headers of the spectra that were classified, FITS and text, under our keys and those of
    SNID; return the FITS file.
    """
    from nightpipe.io.classifier import KEYWORDS, snid_keywords, text_keywords
    from nightpipe.io.export import write_cards
    from nightpipe.io.text import write_keys

    table = _classified(product)
    spectrum = table.with_name(table.name.removesuffix(".fits"))
    for found in product.models():
        if table.exists():
            write_cards(table, found.object, snid_keywords(found), KEYWORDS)
        for text in sorted(spectrum.parent.glob(f"{spectrum.name}.txt")) + sorted(
            spectrum.parent.glob(f"{spectrum.name}_obj*.txt")
        ):
            if f"# OBJECT: {found.object}\n" in text.read_text(encoding="ascii"):
                write_keys(text, text_keywords(found), KEYWORDS)
    return table


def _classified(product: Product) -> Path:
    """Return the file of the spectra that a classification is about."""
    return product.path.parent / f"{product.path.name.partition('_class')[0]}.fits"


def _answered(product: Product) -> bool:
    """Tell whether the spectra that a classification is about have its answers in their headers."""
    from nightpipe.io.classifier import snid_keywords
    from nightpipe.io.export import cards_of

    if product.kind != CLASSIFICATION or not (table := _classified(product)).exists():
        return True
    return all(set(snid_keywords(found)) <= cards_of(table, found.object) for found in product.models())


def _write_difference(product: Product, who: str) -> None:
    from nightpipe.io.newlist import write_difference

    write_difference(product.path, product.model, record=json.dumps(product.record), reducer=who)


def _write_curves(product: Product, who: str) -> None:
    """Write the light curves of all places into one table, as FITS and ECSV."""
    from nightpipe.io.lightcurves import write_light_curves

    write_light_curves(product.path, product.models(), record=json.dumps(product.record), reducer=who)


def _write_images(product: Product, who: str) -> None:
    """Write a stack with its celestial system, its sources as FITS and ECSV, or which pixels belong to which."""
    from nightpipe.io.images import write_segments, write_sources, write_stack
    from nightpipe.io.newlist import write_new_list

    path, record = product.path, json.dumps(product.record)
    if product.kind == STACK:
        write_stack(path, product.model, record=record, reducer=who)
    elif product.kind == SEGMENTS:
        write_segments(path, product.model, record=record)
    else:
        write_sources(path, product.model, record=record)
        if product.record["recipe"] in NEW:
            write_new_list(path.with_suffix(".txt"), product.model, f"{path.stem}: {len(product.model)} sources")


def human_products(out: Path) -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """Return path, record, output and checksum of each product that lies in an output folder, for the ledger."""
    for path in product_files(out):
        if text := codec.load_record(path):
            record = json.loads(text)
            yield str(path.relative_to(out)), record, _output_of(record, path), checksum(path)


def product_files(out: Path) -> list[Path]:
    """Return the FITS files below an output folder, the store left out."""
    return [path for path in sorted(out.rglob("*.fits")) if HIDDEN not in path.parts]


def _output_of(record: Mapping[str, Any], path: Path) -> str:
    named = {name: output for output, name in record.get("provenance", {}).get("publish", {}).items()}
    found = [output for name, output in named.items() if path.stem.startswith(Path(name).name)]
    return found[0] if found else (record.get("published") or [""])[0]


def find(out: str | Path, name: str) -> tuple[Path, dict[str, Any]]:
    """Return path and record of a product, given its path or human name; raises StoreError, PlanError."""
    path = Path(name)
    for candidate in (path, Path(out) / name, Path(out) / f"{name}.fits"):
        if candidate.is_file():
            return candidate, _record(candidate)
    known = [str(one.relative_to(out)) for one in product_files(Path(out))]
    raise PlanError("a product", name, f"one of {', '.join(known[:12])}" if known else "name its file")


def load_models(out: str | Path, name: str) -> tuple[Any, ...]:
    """Return the models of a product, given its path or human name; raises PlanError, StoreError."""
    path, record = find(out, name)
    root = next((folder for folder in path.absolute().parents if (folder / HIDDEN).is_dir()), Path(out))
    output = _output_of(record, path)
    models = tuple(codec.load(file) for file in Store(root).files(record["key"], output, record))
    if not models:
        raise PlanError("a product with at least one member", name, "see its caveats: nothing was found")
    return models


def _record(path: Path) -> dict[str, Any]:
    text = codec.load_record(path if path.suffix != ".txt" else path.with_suffix(".fits"))
    if not text:
        raise StoreError("a product of nightpipe", f"{path} carries no record", "name a FITS file in the output folder")
    record: dict[str, Any] = json.loads(text)
    return record
