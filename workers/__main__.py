"""Worker processes under a supervisor, configured by the environment alone."""

from memsched.cli import main

if __name__ == "__main__":
    main(["worker"])
