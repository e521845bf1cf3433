"""Spectra on native pixels: traces, wavelengths, sky, objects, extraction, combination."""
