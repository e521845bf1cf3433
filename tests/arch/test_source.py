"""What the source may not contain, and how long things may be."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "nightpipe"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [path for path in FILES if path.name not in ("__init__.py", "__main__.py")]
BANNED_CALLS = {"print", "eval", "exec", "breakpoint", "input"}
BANNED_MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "cloudpickle"}
MAX_FILE, MAX_ENGINE = 500, 2500


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def short(path):
    return str(path.relative_to(SOURCE))


def where(path, node):
    return f"{short(path)}:{node.lineno}"


def test_the_source_is_there():
    assert len(FILES) > 50


def test_banned_calls():
    found = [
        where(path, node)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS
    ]
    assert found == []


def _imported(node):
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]}
    return set()


def test_banned_imports():
    found = [where(path, node) for path in FILES for node in ast.walk(tree(path)) if _imported(node) & BANNED_MODULES]
    assert found == []


def test_no_bare_except_and_no_global():
    found = [
        where(path, node)
        for path in FILES
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.ExceptHandler) and node.type is None) or isinstance(node, ast.Global)
    ]
    assert found == []


def test_files_are_short():
    long = {short(path): lines for path in FILES if (lines := len(path.read_text().splitlines())) > MAX_FILE}
    assert long == {}


def test_the_engine_stays_small():
    assert sum(len(path.read_text().splitlines()) for path in (SOURCE / "engine").rglob("*.py")) < MAX_ENGINE


def _functions():
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path, node


def _length(node):
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_read_in_one_breath():
    lengths = {where(path, node): _length(node) for path, node in _functions()}
    assert statistics.median(lengths.values()) < 10
    assert {name: length for name, length in lengths.items() if length > 80} == {}
    assert sum(length > 40 for length in lengths.values()) <= 0.02 * len(lengths)


def test_every_file_says_what_it_is_for():
    assert [short(path) for path in FILES if not ast.get_docstring(tree(path))] == []


def test_annotations_are_not_evaluated():
    late = [
        short(path)
        for path in MODULES
        if not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree(path).body)
    ]
    assert late == []


def _public(body, owner=""):
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield owner + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, f"{owner}{node.name}.")


def _is_overload(node):
    return any(
        "overload" in ast.dump(decorator) or "setter" in ast.dump(decorator) for decorator in node.decorator_list
    )


@pytest.mark.parametrize("room", sorted({path.relative_to(SOURCE).parts[0] for path in FILES}))
def test_public_names_have_a_docstring(room):
    root = SOURCE / room
    silent = [
        f"{short(path)}:{name}"
        for path in ([root] if root.is_file() else sorted(root.rglob("*.py")))
        for name, node in _public(tree(path).body)
        if not ast.get_docstring(node) and not _is_overload(node)
    ]
    assert silent == []


def test_warnings_are_not_silenced_wholesale():
    found = [
        where(path, node)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "simplefilter"
        and any(isinstance(one, ast.Constant) and one.value == "ignore" for one in node.args)
        and len(node.args) + len(node.keywords) < 2
    ]
    assert found == []
