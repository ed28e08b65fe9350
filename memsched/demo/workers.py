"""``python -m memsched.demo.workers``: `memsched worker`, for as long as the demo that started it is there."""

from memsched.cli import main
from memsched.process import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    main(["worker"])
