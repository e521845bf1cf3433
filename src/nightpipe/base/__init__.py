"""What every layer may use: errors, the step protocol, caveats, the log."""
