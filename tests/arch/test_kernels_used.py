"""Which compiled kernels a plan makes ready beforehand: all that its steps call, by the imports in the sources."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from nightpipe import kernels
from nightpipe.recipes.book import BOOK

SOURCE = Path(__file__).parents[2] / "src"


@cache
def imports() -> dict[str, set[str]]:
    """Return by module what of ours it imports, inside functions as well."""
    modules = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in SOURCE.rglob("*.py")}
    found = defaultdict(set)
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("nightpipe"):
                full = (f"{node.module}.{one.name}" for one in node.names)
                found[name] |= {one if one in modules else node.module for one in full}
    return found


def called(starts: list[str]) -> set[str]:
    """Return the modules of compiled kernels that are reached from `starts`."""
    seen, left = set(), list(starts)
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += imports()[name]
    return {name.rpartition(".")[2] for name in seen if name.startswith("nightpipe.kernels.")} & set(kernels.MODULES)


@pytest.mark.parametrize("package", kernels.USED)
def test_every_package_of_steps_names_the_kernels_it_calls(package):
    steps = [name for name in list(imports()) if name.startswith(f"nightpipe.steps.{package}.")]
    assert steps
    assert set(kernels.USED[package]) == called(steps)


@pytest.mark.parametrize("recipe", BOOK.recipes, ids=lambda one: one.name)
def test_a_recipe_calls_no_kernel_that_its_steps_do_not(recipe):
    packages = {step.__module__.split(".")[2] for step in recipe.steps}
    own = called([step.__module__ for step in recipe.steps])
    assert own <= set(kernels.used(packages))


def test_modules_keep_their_order():
    assert kernels.used(["post", "detector"]) == ("combine", "cosmics", "evidence", "resample")
