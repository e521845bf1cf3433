"""A product's identity: the hash of recipe, step versions, parameters and inputs; never of origins, paths or times."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from nightpipe.base.plain import canonical, to_plain
from nightpipe.base.recipe import Recipe
from nightpipe.engine.plan import RawInput
from nightpipe.io.states import state

NOT_HASHED = ("path", "notes")
LENGTH = 40


def raw_key(raw: RawInput) -> str:
    """Return the key of a raw frame: its file's content and how its header was read, wherever the file lies."""
    exposure = {name: value for name, value in to_plain(raw.exposure).items() if name not in NOT_HASHED}
    return digest({"raw": exposure, "detector": raw.detector, "disperser": raw.disperser})


def node_key(recipe: Recipe, parameters: Mapping[str, Any], inputs: Mapping[str, Sequence[str]]) -> str:
    """Return the key of a recipe's run on inputs of these keys."""
    sets = {name: state(name) for name in recipe.sets}
    return digest(
        {
            "recipe": [recipe.name, recipe.version, list(recipe.outputs)],
            "steps": {step.name(): step.version for step in recipe.steps},
            "parameters": dict(parameters),
            "inputs": {name: list(keys) for name, keys in inputs.items()},
            "data": {folder: data_digest(folder) for folder in recipe.data},
        }
        | ({"sets": sets} if sets else {})
    )


def digest(value: Any) -> str:
    """Return the hash of a plain value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:LENGTH]


@lru_cache(maxsize=32)
def data_digest(folder: str) -> str:
    """Return the hash of a folder of packaged reference data: names and contents of all files below it."""
    root = Path(str(resources.files("nightpipe") / "data"))
    total = hashlib.sha256()
    for file in sorted((root / folder).rglob("[!._]*")):
        if file.is_file():
            name = file.relative_to(root).as_posix()
            total.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:LENGTH]
