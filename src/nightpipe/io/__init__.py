"""Bytes: the only place that opens FITS files and tables."""
