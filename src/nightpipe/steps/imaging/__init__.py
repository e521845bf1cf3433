"""Steps on images of the sky: sources, the point-spread function, photometry, astrometry, stacks."""
