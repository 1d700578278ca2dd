"""``python -m ringroom``: the command line."""

from ringroom.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
