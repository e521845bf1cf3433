"""The reference pages, derived from the code: commands, recipes, steps with every parameter, instruments."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nightpipe.base.recipe import Recipe
from nightpipe.base.step import Step, default_of, unit_of

_NOTE = "<!-- Written by `nightpipe docs`; change the code, not this page. -->\n"


def write_pages(folder: Path) -> list[Path]:
    """Write all reference pages into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def pages() -> dict[str, str]:
    """Return file name and text of each page."""
    from nightpipe.instruments.registry import all_instruments
    from nightpipe.recipes.book import BOOK

    return {
        "commands.md": _commands(),
        "recipes.md": _recipes(BOOK.recipes),
        "steps.md": _steps(BOOK.recipes),
        "instruments.md": _instruments(all_instruments()),
    }


def _commands() -> str:
    from typer.main import get_command

    from nightpipe.cli.main import app

    parts = [_NOTE, "# Commands\n"]
    for path, command in _walk(get_command(app), "nightpipe"):
        parts.append(f"## `{path}`\n\n{(command.help or '').strip()}\n")
        rows = [_option(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            parts.append("| argument | default | what it does |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _walk(command: Any, path: str) -> Iterable[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name in sorted(children):
        yield from _walk(children[name], f"{path} {name}")


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts) if parameter.opts else f"`{parameter.name}`"
    default = parameter.default
    shown = "" if default in {None, ()} or callable(default) or isinstance(default, bool) else f"`{default}`"
    return f"| {names} | {shown} | {_cell(getattr(parameter, 'help', '') or '')} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _recipes(recipes: Iterable[Recipe]) -> str:
    parts = [_NOTE, "# Recipes\n"]
    for recipe in recipes:
        parts.append(f"## `{recipe.name}`\n\n{recipe.summary}\n")
        inputs = ", ".join(
            f"`{name}`"
            + (" (many)" if name in recipe.many else "")
            + (" (optional)" if name in recipe.optional else "")
            for name in recipe.inputs
        )
        outputs = ", ".join(f"`{name}`" for name in recipe.outputs)
        steps = ", ".join(f"[{step.name()}](steps.md#{step.name().lower()})" for step in recipe.steps)
        parts.append(f"- inputs: {inputs}\n- outputs: {outputs}\n- steps: {steps}\n- version: {recipe.version}\n")
    return "\n".join(parts)


def _steps(recipes: Iterable[Recipe]) -> str:
    steps = {step.name(): step for recipe in recipes for step in recipe.steps}
    parts = [
        _NOTE,
        "# Steps and their parameters\n",
        "Set one with `--set Step.parameter=value`, or in a settings file.\n",
    ]
    for name in sorted(steps):
        parts.append(f"## {name}\n\n{' '.join((steps[name].__doc__ or '').split())}\n")
        parts.append(_parameters(steps[name]))
    return "\n".join(parts)


def _parameters(step: type[Step]) -> str:
    if not step.model_fields:
        return "No parameters.\n"
    head = "| parameter | default | unit | range | what it does |\n|---|---|---|---|---|\n"
    rows = [_row(name, info) for name, info in step.model_fields.items()]
    return head + "\n".join(rows) + "\n"


def _row(name: str, info: Any) -> str:
    cells = (f"`{name}`", f"`{default_of(info)}`", unit_of(info), _cell(_range(info)), _cell(info.description or ""))
    return "| " + " | ".join(cells) + " |"


def _range(info: Any) -> str:
    choices = getattr(info.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(choices)
    bounds = []
    for constraint in info.metadata:
        for sign, name in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt")):
            value = getattr(constraint, name, None)
            if value is not None:
                bounds.append(f"{sign} {value}")
    return ", ".join(bounds)


def _instruments(specs: Iterable[Any]) -> str:
    parts = [_NOTE, "# Instruments\n"]
    for spec in specs:
        parts.append(f"## {spec.title} (`{spec.name}`)\n\n{' '.join(spec.doc.split())}\n\nSite: {spec.site}.\n")
        if spec.dispersers:
            parts.append("| disperser | range [A] | lamps |\n|---|---|---|")
            rows = [
                f"| {one.name} | {one.range[0]:.0f} to {one.range[1]:.0f} | {', '.join(one.lamps)} |"
                for one in spec.dispersers
            ]
            parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)
