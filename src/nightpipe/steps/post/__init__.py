"""After extraction: sensitivity, flux calibration, barycentre."""
