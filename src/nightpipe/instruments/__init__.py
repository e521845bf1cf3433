"""Instruments: one TOML file each, and what reads a header by it."""
