"""What things are: frames, traces, wavelength solutions, spectra, and the facts about exposures."""
