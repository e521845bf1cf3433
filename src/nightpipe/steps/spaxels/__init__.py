"""Lenslet spectra: geometry, wavelengths, response, flexure, extraction, cubes and what stands in the field."""
