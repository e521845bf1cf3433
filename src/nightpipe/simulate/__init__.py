"""Raw nights with their truth: photons from the sky through a slit onto a detector, in each instrument's own dialect.

Nothing here imports the steps: profile, refraction, dispersion and line strengths are the simulator's own.
"""
