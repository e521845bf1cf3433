"""Errors that say what was wanted, what was found and what to do."""

from __future__ import annotations


class NightpipeError(Exception):
    """An error for people: what was wanted, what was found, what to do about it."""

    def __init__(self, wanted: str, found: str = "", remedy: str = "") -> None:
        self.wanted = wanted
        self.found = found
        self.remedy = remedy
        super().__init__(wanted, found, remedy)

    def __str__(self) -> str:
        """One sentence per part; parts that were not given are left out."""
        parts = [self.wanted]
        if self.found:
            parts.append(f"found: {self.found}")
        if self.remedy:
            parts.append(f"try: {self.remedy}")
        return "; ".join(parts)


class DataError(NightpipeError):
    """The data's fault: the run is *unprocessable*, and no change of ours would help."""


class UnreadableFileError(DataError):
    """A file that is truncated, empty, or not FITS."""


class MissingCardError(DataError):
    """A header card that the reduction cannot do without is absent or unusable."""


class UnknownInstrumentError(DataError):
    """No instrument description recognises the header."""


class BadFrameError(DataError):
    """A frame whose pixels cannot serve: saturated arc, dead lamp, wrong size, empty flat."""


class NoSolutionError(DataError):
    """A fit that found nothing credible: no wavelength solution, no trace."""


class ConfigError(NightpipeError):
    """A parameter, settings file, decision or instrument description that cannot be used."""


class PlanError(NightpipeError):
    """Nothing can be planned from these frames, or an edited plan contradicts itself."""


class StoreError(NightpipeError):
    """The output folder cannot be written: read-only, full, damaged."""


class LockedError(NightpipeError):
    """Another process reduces into the same output folder."""


class ReferenceMissingError(NightpipeError):
    """A reference set is absent; the remedy names the command that brings it."""
