"""The tables with which a reduction ends, on the terminal and in the report: one for spectra, one for images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nightpipe.api.chain import CHAIN
from nightpipe.api.reduction import Reduction, Target
from nightpipe.model.scene import words
from nightpipe.recipes.names import filed

SPECTRA = ("target", "exposures", "S/N", "wave rms [px]", "caveats", "spectrum")
IMAGES = (
    "target", "camera, filter", "frames", "exptime [s]", 'seeing ["]', 'astrometry ["]', "zero point", "depth",
    "caveats", "stack",
)  # fmt: skip


@dataclass(frozen=True)
class TargetTable:
    """Targets of one kind: `columns` heads, `rows` cells as text, `targets` which one (by number) each row is about."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    targets: tuple[int, ...]


def target_tables(reduction: Reduction) -> tuple[TargetTable, ...]:
    """Return a table of the spectra and one of the images, each only where the night has such targets."""
    kinds: tuple[tuple[str, tuple[str, ...], Callable[[Reduction, Target], tuple[str, ...]], bool], ...] = (
        ("Spectra", SPECTRA, _spectrum, False),
        ("Images", IMAGES, _image, True),
    )
    tables = []
    for title, columns, row, images in kinds:
        mine = [k for k, target in enumerate(reduction.targets) if is_image(reduction, target) == images]
        if mine:
            rows = tuple(row(reduction, reduction.targets[k]) for k in mine)
            table = TargetTable(title, columns, rows, tuple(mine))
            tables.append(_typed(_graded(table, reduction), reduction))
    return tuple(tables)


def _typed(table: TargetTable, reduction: Reduction) -> TargetTable:
    """Return the table with what the spectra show, where any was classified."""
    types = [_types(reduction.targets[k]) for k in table.targets]
    if not any(types):
        return table
    rows = tuple((*row[:1], kind, *row[1:]) for row, kind in zip(table.rows, types, strict=True))
    return replace(table, columns=(table.columns[0], "type", *table.columns[1:]), rows=rows)


def _graded(table: TargetTable, reduction: Reduction) -> TargetTable:
    """Return the table with the quality of the spectra, where any was graded."""
    grades = [_grade(reduction.targets[k]) for k in table.targets]
    if not any(grades):
        return table
    rows = tuple((*row[:2], grade, *row[2:]) for row, grade in zip(table.rows, grades, strict=True))
    return replace(table, columns=(*table.columns[:2], "quality", *table.columns[2:]), rows=rows)


def _grade(target: Target) -> str:
    """Return the quality of a target's spectrum with the reasons for it."""
    why = ", ".join(words(int(target.metrics.get("reasons", 0))))
    return " ".join(part for part in (_number(target, "quality", ".0f"), why and f"({why})") if part)


def _types(target: Target) -> str:
    found = target.classifications
    return found[0].summary if found else ""


def is_image(reduction: Reduction, target: Target) -> bool:
    """Tell whether a target is one of images: whether its stack was made, failed, or the chain was ended before it."""
    last = target.node.partition(":")[0]
    return last in CHAIN or any(one.node.recipe == "imagestack" for one in reduction.lineage(target.node))


def _spectrum(reduction: Reduction, target: Target) -> tuple[str, ...]:
    path = str(target.spectrum.path.relative_to(reduction.out)) if target.spectrum else target.state.value
    return (
        named(target),
        str(len(target.exposures)),
        _number(target, "snr_median", ".1f"),
        _number(target, "wave_rms_px", ".3f"),
        _count(target),
        path,
    )


def named(target: Target) -> str:
    """Return a target's name, with its label where that is an exposure's and says nothing of it."""
    label = target.label or target.name
    return label if filed(target.name) in label else f"{target.name}  {label}"


def _image(reduction: Reduction, target: Target) -> tuple[str, ...]:
    seeing = _number(target, "stack_seeing", ".2f") or _number(target, "seeing", ".2f")
    camera = _camera(reduction, target)
    used = _number(target, "frames_used", ".0f") or "0"
    path = str(target.stack.path.relative_to(reduction.out)) if target.stack else target.state.value
    fields = [one.label for one in reduction.targets if one.name == target.name and _camera(reduction, one) == camera]
    return (
        target.name if len(fields) < 2 else f"{target.name} ({fields.index(target.label) + 1})",
        camera,
        f"{used}/{len(target.exposures)}",
        _number(target, "exptime", ".6g"),
        seeing,
        _places(target),
        _zero_point(target),
        _number(target, "depth", ".2f"),
        _count(target),
        path,
    )


def _camera(reduction: Reduction, target: Target) -> str:
    setups = [one.setup for one in reduction.night.exposures if one.name in target.exposures]
    return " ".join(part for part in (setups[0].arm, setups[0].filter) if part) if setups else ""


def _places(target: Target) -> str:
    """Return the rms against the catalogue, else among the frames: that says nothing of where the field lies."""
    if absolute := _number(target, "astrometry_rms", ".3f"):
        return absolute
    among = _number(target, "registration_rms", ".3f")
    return f"{among} (relative)" if among else ""


def _zero_point(target: Target) -> str:
    value, error = (_number(target, name, ".3f") for name in ("zero_point", "zero_point_error"))
    return f"{value} +- {error}" if value and error else value


def _number(target: Target, name: str, form: str) -> str:
    value = target.metrics.get(name)
    return format(value, form) if isinstance(value, (int, float)) and value == value else ""  # noqa: PLR0124 - nan


def _count(target: Target) -> str:
    return str(len(target.caveats)) if target.caveats else ""
