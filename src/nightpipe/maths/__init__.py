"""Functions that are true without a telescope: arrays in, arrays out."""
