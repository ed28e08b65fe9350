"""``python -m memsched.cli``."""

from memsched.cli import main

if __name__ == "__main__":
    main()
