"""Banks of template spectra, and the kinds of transients that they show."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

KINDS = (
    *("Ia", "Ia-91T", "Ia-91bg", "Ia-pec", "Ib", "Ic", "Ic-BL", "IIb", "Ca-rich", "II", "IIn"),
    *("Ibn", "SLSN-I", "SLSN-II", "TDE", "Galaxy", "AGN", "LBV", "Star", "other"),
)
"""The subtypes that are told apart; "other" are kilonovae, luminous fast blue and red transients."""

GROUPS = MappingProxyType(
    {
        **dict.fromkeys(("Ia", "Ia-91T", "Ia-91bg", "Ia-pec"), "Ia"),
        **dict.fromkeys(("Ib", "Ic", "Ic-BL", "IIb", "Ca-rich"), "Ibc"),
        **dict.fromkeys(("II", "IIn", "SLSN-II"), "II"),
        "Ibn": "Ibn",
        "SLSN-I": "SLSN-I",
        "TDE": "TDE",
        **dict.fromkeys(("Galaxy", "AGN", "LBV", "Star", "other"), "notSN"),
    }
)
"""The type of each subtype."""

TYPES = ("Ia", "Ibc", "II", "Ibn", "SLSN-I", "TDE", "notSN")

_ALIASES = MappingProxyType(
    {
        "Ia-norm": "Ia", "Ia-csm": "Ia-pec", "Ia-02cx": "Ia-pec", "Ia-03fg": "Ia-pec", "Ia-02es": "Ia-pec",
        "Ia-Ca-rich": "Ca-rich", "Ia-99aa": "Ia-91T", "Ib-norm": "Ib", "Ib-pec": "Ib", "Ib-Ca-rich": "Ca-rich",
        "Ic-norm": "Ic", "Ic-pec": "Ic", "Ic-broad": "Ic-BL", "Ic-Ca-rich": "Ca-rich", "IIP": "II", "IIL": "II",
        "II-pec": "II", "II-flash": "II", "IIn-pec": "IIn", "Icn": "Ibn", "LRN": "other", "QSO": "AGN",
        "TDE-H-He": "TDE", "TDE-H": "TDE", "TDE-He": "TDE", "TDE-Ftless": "TDE", "M-star": "Star", "C-star": "Star",
        "Gal": "Galaxy", "SN Ia": "Ia", "SN II": "II",
    }
)  # fmt: skip


def kind_of(subtype: str, type_: str = "") -> str:
    """Return the subtype, of those told apart, that a bank's or a catalogue's name means; "other" where none does."""
    for name in (subtype, type_):
        known = _ALIASES.get(name, name)
        if known in KINDS:
            return known
        for start, kind in (("Gal", "Galaxy"), ("AGN", "AGN"), ("II", "II"), ("Ia", "Ia-pec")):
            if name.startswith(start):
                return kind
    return "other"


@dataclass(frozen=True)
class Bank:
    """Template spectra in the rest frame on the grid of `maths.logflux`, the spectra of an object in successive rows.

    `flat` (n, 1024) float32 flattened, `spans` (n, 2) the bins with data; `objects` (n,), `types` and `subtypes` as the
    bank calls them, `kinds` as we do; `phases` (n,) days from maximum light, NaN unknown; `sources` what each came
    from. `level` (n, 1024) is log10 of the continuum, NaN where the bank does not have it.
    """

    flat: F32
    spans: I64
    objects: tuple[str, ...]
    types: tuple[str, ...]
    subtypes: tuple[str, ...]
    phases: NDArray[np.float64]
    sources: tuple[str, ...]
    level: F32 | None = None

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the subtype of each row, of those that are told apart."""
        return tuple(kind_of(sub, type_) for sub, type_ in zip(self.subtypes, self.types, strict=True))

    @property
    def starts(self) -> I64:
        """Return the first row of each object."""
        names = [f"{source} {name}" for source, name in zip(self.sources, self.objects, strict=True)]
        return np.array([row for row in range(len(names)) if row == 0 or names[row] != names[row - 1]], dtype=np.int64)

    @property
    def has_flux(self) -> NDArray[np.bool_]:
        """Return which rows keep their continuum."""
        if self.level is None:
            return np.zeros(len(self), dtype=bool)
        return np.asarray(np.isfinite(self.level).any(axis=1))


def joined(banks: tuple[Bank, ...]) -> Bank:
    """Return several banks as one, row under row."""
    if len(banks) == 1:
        return banks[0]
    missing = [np.full(one.flat.shape, np.nan, np.float32) if one.level is None else one.level for one in banks]
    return Bank(
        np.concatenate([one.flat for one in banks]),
        np.concatenate([one.spans for one in banks]),
        tuple(name for one in banks for name in one.objects),
        tuple(name for one in banks for name in one.types),
        tuple(name for one in banks for name in one.subtypes),
        np.concatenate([one.phases for one in banks]),
        tuple(name for one in banks for name in one.sources),
        np.concatenate(missing) if any(one.level is not None for one in banks) else None,
    )
