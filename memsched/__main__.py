"""``python -m memsched``: the command line."""

from memsched.cli import main

if __name__ == "__main__":
    main()
