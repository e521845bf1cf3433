"""The command line: thin, quick to start, everything heavy is imported inside the commands."""
