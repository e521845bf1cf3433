"""Raw imaging nights with their truth: stars and galaxies through moving air onto real detectors.

Nothing here imports the steps: counts, colours, PSF, distortion and sky are the simulator's own.
"""
