"""Raw nights of a lenslet spectrograph with their truth: SEDM's short, tilted, interleaved spectra on one detector.

Nothing here imports the steps: dispersion law, lattice, PSF and refraction are the simulator's own.
"""
