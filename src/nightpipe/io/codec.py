"""Any model as a FITS file and back, exactly: arrays as images, all the rest as JSON; no pickle."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nightpipe.model
from nightpipe.base.errors import StoreError
from nightpipe.io import blocks
from nightpipe.io.atomic import written
from nightpipe.model.exposure import FrameType

FORMAT = 1
RECORD = "RECORD"
OWN_HDU = 8192
"""Arrays of at least so many bytes get an image extension of their own; smaller ones share one, for speed."""

_ENUMS: dict[str, type[Enum]] = {"FrameType": FrameType}
Arrays = list[tuple[str, NDArray[Any]]]
_OUTSIDE_MODEL = ("nightpipe.base.caveat", "nightpipe.maths.poly", "nightpipe.maths.telluric")


def save(model: Any, path: str | Path, *, durable: bool = False, checksum: bool = False, record: str = "") -> None:
    """Write a model (frozen dataclass, or a tuple or dict of them) under a temporary name and rename it.

    `durable` waits until the bytes lie on the disk, `checksum` adds the FITS checksums, `record` (JSON: where it comes
    from) travels along in an extension of its own, for `load_record`. Raises `StoreError`, naming the
    folder, when it cannot be written, and TypeError for a value that has no form in the file.
    """
    arrays: Arrays = []
    tree = _encode(model, (), arrays)
    hdus = _hdus(type(model).__name__, tree, arrays, record)
    with written(Path(path), durable=durable) as stream:
        for hdu in hdus:
            stream.writelines(blocks.summed(hdu) if checksum else hdu)


def load(path: str | Path) -> Any:
    """Return the model that `save` wrote; arrays are native, contiguous and writable.

    Raises `StoreError` when the file is absent, damaged, or of another version of the models.
    """
    try:
        hdus = blocks.read(Path(path).read_bytes())
        document, packed = json.loads(_content(hdus[-2].array)), _content(hdus[-1].array)
        return _decode(document["tree"], [_array(entry, hdus, packed) for entry in document["arrays"]])
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        remedy = "delete the file and run again; it will be made anew"
        raise StoreError(f"a stored model in {path}", found, remedy) from error


def _content(array: NDArray[Any] | None) -> bytes:
    return b"" if array is None else array.tobytes()


def load_record(path: str | Path) -> str:
    """Return the record (JSON) that a product of ours carries, or an empty text where there is none."""
    from astropy.io import fits  # spectra for users are written by astropy, and may be compressed

    try:
        with fits.open(path, memmap=False, uint=False, do_not_scale_image_data=True) as hdus:
            return str(hdus[RECORD].data.tobytes().decode()) if RECORD in hdus else ""
    except (OSError, TypeError, ValueError):
        return ""


@cache
def models() -> dict[str, type]:
    """Return all classes that can be stored, by name: the dataclasses of `nightpipe.model` and of their parts."""
    names = [f"nightpipe.model.{info.name}" for info in pkgutil.iter_modules(nightpipe.model.__path__)]
    found: dict[str, type] = {}
    for module in map(importlib.import_module, (*names, *_OUTSIDE_MODEL)):
        own = (item for item in vars(module).values() if isinstance(item, type) and item.__module__ == module.__name__)
        found |= {item.__name__: item for item in own if is_dataclass(item)}
    return found


def _encode(value: Any, place: tuple[str, ...], arrays: Arrays) -> Any:
    """Return the JSON form of a value; arrays go to `arrays`, labelled by their `place`."""
    if isinstance(value, np.ndarray):
        arrays.append((".".join(place).upper(), value))
        return {"$array": len(arrays) - 1}
    if isinstance(value, Enum):
        return {"$enum": [type(value).__name__, value.value]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return _encode_group(value, place, arrays)


def _encode_group(value: Any, place: tuple[str, ...], arrays: Arrays) -> Any:
    if isinstance(value, (tuple, list)):
        items = [_encode(item, (*place, str(index)), arrays) for index, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {"$dict": [[key, _encode(item, (*place, str(key)), arrays)] for key, item in value.items()]}
    name = type(value).__name__
    if models().get(name) is not type(value):
        raise TypeError(f"{name} at {'.'.join(place) or 'the top'} is not a model that can be stored")
    parts = {
        field.name: _encode(getattr(value, field.name), (*place, field.name), arrays)
        for field in fields(models()[name])
    }
    return {"$model": [name, parts]}


def _decode(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """Return the value of a JSON form; a group is an object with one key that names its kind."""
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "$array":
        return arrays[content]
    return _GROUPS[kind](content, arrays)


def _decode_model(content: Any, arrays: list[NDArray[Any]]) -> Any:
    name, parts = content
    return models()[name](**{field: _decode(part, arrays) for field, part in parts.items()})


_GROUPS: dict[str, Callable[[Any, list[NDArray[Any]]], Any]] = {
    "$model": _decode_model,
    "$tuple": lambda content, arrays: tuple(_decode(item, arrays) for item in content),
    "$dict": lambda content, arrays: {key: _decode(item, arrays) for key, item in content},
    "$enum": lambda content, _: _ENUMS[content[0]](content[1]),
}


def _hdus(name: str, tree: Any, arrays: Arrays, record: str) -> list[list[bytes | memoryview]]:
    """Return the file's HDUs: a primary one, the large arrays, and last the document and the small arrays in one."""
    images: list[list[bytes | memoryview]] = []
    packed, index = bytearray(), []
    for label, array in arrays:
        entry = {"dtype": array.dtype.newbyteorder("=").str, "shape": list(array.shape)}
        if array.nbytes >= OWN_HDU:
            index.append(entry | {"hdu": len(images) + 1})
            images.append(blocks.image(label, array))
        else:
            index.append(entry | {"at": len(packed)})
            packed += array.astype(array.dtype.newbyteorder("="), copy=False).tobytes()
    text = json.dumps({"tree": tree, "arrays": index}).encode()
    if record:
        images.append(blocks.image(RECORD, _bytes(record.encode())))
    images += [blocks.image("NP_MODEL", _bytes(text)), blocks.image("NP_PACKED", _bytes(bytes(packed) or b"\0"))]
    return [blocks.primary({"NPFORMAT": FORMAT, "NPMODEL": name[:60]}), *images]


def _bytes(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, np.uint8)


def _array(entry: dict[str, Any], hdus: list[blocks.Block], packed: bytes) -> NDArray[Any]:
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    if "at" in entry:
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(packed, dtype, count, entry["at"]).reshape(shape).copy()
    stored = hdus[entry["hdu"]].array
    if stored is None:
        raise ValueError(f"no image in HDU {entry['hdu']}")
    return blocks.original(stored, dtype, shape)
