"""What enters the keys of products that use data from outside the package."""

from __future__ import annotations

import hashlib

from nightpipe.io import banks, download

CATALOGUES = "catalogues"
"""Name by which a recipe says that it asks the local store of star catalogues."""


def state(name: str) -> str:
    """Return the state of a reference set, of the banks of templates, or of the store of catalogues, as a short text.

    Cones of public services are left out: they are fetched while a recipe runs, and asking for them is a parameter.
    """
    if name == banks.SET:  # those that people imported count like the published one
        return banks.content() or "absent"
    if name != CATALOGUES:
        return download.state(name)
    from nightpipe.io.catalogues.store import INFO, home

    total = hashlib.sha256()
    for path in sorted(home().glob(f"*/{INFO}")):
        total.update(path.parent.name.encode() + path.read_bytes())
    return total.hexdigest()[:16]
