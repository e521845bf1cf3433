"""The command `classify`, and the import of template banks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from nightpipe.model.classification import Classification

NOTHING, SOME = 12, 11
NO_SPECTRA = frozenset(
    (
        ".png",
        ".pdf",
        ".jpg",
        ".jpeg",
        ".svg",
        ".html",
        ".md",
        ".json",
        ".jsonl",
        ".log",
        ".toml",
        ".output",
        ".py",
        ".npb",
    )
)
"""Endings of files that are passed over in a folder: pictures, pages, and what we and SNID write."""
LINE = "{:<16} {:<8} {:>5} {:>8} {:>7} {:>5} {:>6}  {}"
HEAD = LINE.format("# verdict", "subtype", "P", "z", "error", "phase", "S/N", "spectrum")


def classify(
    spectra: Annotated[
        list[Path], typer.Argument(metavar="SPECTRUM...", help="Spectra: text, FITS or products, or folders of them.")
    ],
    *,
    z: Annotated[float | None, typer.Option("--z", min=-0.01, max=1.0, help="Redshift, where it is known.")] = None,
    z_error: Annotated[float, typer.Option("--z-error", min=0.0, help="Its error: makes --z a prior.")] = 0.0,
    z_max: Annotated[float, typer.Option("--z-max", min=0.0, max=1.0, help="Largest redshift looked for.")] = 1.0,
    phase: Annotated[float | None, typer.Option("--phase", help="Days from maximum light, as a prior.")] = None,
    age: Annotated[float | None, typer.Option("--age", help="Days since first light: no template is older.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a spectrum.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw SPECTRUM_class.png beside each spectrum.")] = False,
    short: Annotated[bool, typer.Option("--short", help="One line a spectrum.")] = False,
    snid: Annotated[bool, typer.Option("--snid", help="Write SPECTRUM_snid.output, as SNID does.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for figures and SNID's outputs.")] = None,
    bank: Annotated[
        list[Path] | None, typer.Option("--bank", help="Banks of templates. Default: all installed.")
    ] = None,
) -> None:
    """Tell what kind of transient each spectrum shows: type and probability, redshift, phase, best templates."""
    from nightpipe.api import classify as api
    from nightpipe.base.errors import NightpipeError
    from nightpipe.io.classifier import json_text

    files = [file for path in spectra for file in (_spectra_in(path) if path.is_dir() else [path])]
    if not files:
        typer.echo(f"no spectra in {', '.join(str(path) for path in spectra)}", err=True)
        raise typer.Exit(NOTHING)
    settings: dict[str, Any] = {"redshift": z, "redshift_error": z_error, "z_max": z_max, "phase": phase, "age": age}
    failed = done = 0
    names: set[str] = set()
    verdicts: Counter[str] = Counter()
    if short:
        typer.echo(HEAD)
    for path, found in api.classify(files, banks=bank or (), **settings):
        if isinstance(found, NightpipeError):
            failed += 1
            typer.echo(f"{path}: {found}", err=True)
            continue
        done += 1
        verdicts[found.verdict] += 1
        lines = [json_text(found, str(path))] if as_json else [in_short(path, found)] if short else told(path, found)
        typer.echo("\n".join(lines))
        _write(_free(out or path.parent, path.stem, names), found, plot=plot, snid=snid)
    if done + failed > 1:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        told_of = f"{done} spectra" + (f": {counts}" if counts else "")
        typer.echo(told_of + (f"; {failed} could not be classified, see above" if failed else ""), err=True)
    if failed:
        raise typer.Exit(SOME if done else NOTHING)


def _spectra_in(folder: Path) -> list[Path]:
    """Return the files below a folder that may be spectra: not hidden ones, nor what is plainly something else."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() not in NO_SPECTRA)
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def in_short(path: Path, found: Classification) -> str:
    """Return the answer in one line of columns: what is not known is a dash."""
    from nightpipe.model.classification import signed

    name = " ".join(part for part in (path.name, found.object) if part)
    notes = ",".join(
        caveat.code.partition(".")[2] for caveat in found.caveats if caveat.code.startswith(("classify.", "spectrum."))
    )
    known, mode = found.answered or found.redshift_given, found.modes[0]
    columns = (
        found.verdict,
        found.kind if found.answered else "-",
        f"{found.probability:.2f}" if found.answered else "-",
        f"{mode.z:.4f}" if known else "-",
        f"{mode.error:.4f}" if known else "-",
        signed(found.phase) if found.answered and found.phase == found.phase else "-",
        f"{found.snr:.1f}",
    )
    return LINE.format(*columns, f"{name}  [{notes}]" if notes else name)


def told(path: Path, found: Classification) -> list[str]:
    """Return the answer in lines for people."""
    from nightpipe.model.classification import signed

    name = " ".join(part for part in (path.name, found.object) if part)
    mode = found.modes[0]
    error = "given" if found.redshift_given else f"+- {mode.error:.4f}"
    caveats = [f"  caveat {caveat}" for caveat in found.caveats]
    if not found.answered:
        return [f"{name}: {found.verdict}, no type can be told", *caveats]
    first = f"{name}: {found.verdict}   {found.kind}, P({found.type}) = {found.probability:.2f}   "
    first += f"z = {mode.z:.4f} {error}"
    if not found.redshift_given:
        first += f" (P = {mode.probability:.2f})"
    if found.phase == found.phase:
        first += f"   phase {signed(found.phase)} +- {found.phase_error:.0f} d"
    if found.host_share > 0:
        first += f"   host {100 * found.host_share:.0f}%"
    others = sorted(found.types.items(), key=lambda item: -item[1])
    lines = [first, "  types:  " + "  ".join(f"{name} {value:.3f}" for name, value in others if value >= 0.001)]
    if len(found.modes) > 1 and not found.redshift_given:
        lines.append("  redshifts:  " + "  ".join(f"{one.z:.4f} ({one.probability:.2f})" for one in found.modes[:4]))
    for match in found.matches[:5]:
        age = f"{match.age:+6.0f} d" if match.age == match.age else " " * 8
        numbers = f"z {match.z:.4f}   rlap {match.rlap:5.1f}   lap {match.lap:.2f}"
        lines.append(f"  {match.object:16} {match.subtype:10} {age}   {numbers}")
    return lines + caveats


def _free(folder: Path, stem: str, names: set[str]) -> Path:
    """Return where the files of a spectrum go, less their ending: the second of a name is numbered."""
    tried, number = str(folder / stem), 1
    while tried in names:
        number += 1
        tried = f"{folder / stem}-{number}"
    names.add(tried)
    return Path(tried)


def _write(place: Path, found: Classification, *, plot: bool, snid: bool) -> None:
    from nightpipe.io.atomic import written
    from nightpipe.io.classifier import snid_output

    if snid:
        with written(place.with_name(f"{place.name}_snid.output")) as stream:
            stream.write(snid_output(found).encode())
    if plot:
        from nightpipe.api.classify import figure
        from nightpipe.plots.style import save

        save(figure(found), place.with_name(f"{place.name}_class.png"))


def import_templates(
    folder: Annotated[
        Path, typer.Argument(help="Folder of *.lnw (SNID), *.hdf5 (SNID-SAGE), or bank.csv and spectra.")
    ],
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the bank. Default: the folder's.")] = "",
) -> None:
    """Import a bank of templates of your own; it is used beside the others."""
    from nightpipe.io.banks import import_bank, read_bank

    path = import_bank(folder, name)
    bank = read_bank(path)
    typer.echo(
        f"{path}: {len(bank)} templates of {len(bank.starts)} objects, {int(bank.has_flux.sum())} with their flux"
    )
