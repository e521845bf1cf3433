"""``python -m nightpipe``: the command line."""

from nightpipe.cli.main import main

if __name__ == "__main__":
    main()
