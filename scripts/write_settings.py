"""Write the list of settings into the files that repeat it: .env.example, docker-compose.yml and docs/operations.md.

    python scripts/write_settings.py            write them (`make settings`)
    python scripts/write_settings.py --check    say which are out of date; the exit code is 1 if one is

The list itself stands in memsched/settings.py, and nowhere else by hand. In the other files the places for it are
marked; what stands around them is kept.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from memsched.cli.config import env_file, meaning
from memsched.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
VARIABLES = {PREFIX + name.upper(): field for name, field in Settings.model_fields.items()}


def out_of_date(root: Path) -> dict[Path, str]:
    """The files whose list is not what it should be, with the text that they should have."""
    writers = {".env.example": _env_example, "docker-compose.yml": _compose_file, "docs/operations.md": _operations}
    found = {}
    for name, write in writers.items():
        file = root / name
        before = file.read_text(encoding="utf-8")
        if (text := write(before)) != before:
            found[file] = text
    return found


def _env_example(_before: str) -> str:
    return env_file()


def _compose_file(before: str) -> str:
    """All variables are passed on; those for which the file has a value of its own stand outside of the place."""
    begin, end = "    # settings: from here on written by `make settings`\n", "    # settings: end\n"
    around = before.replace(_between(before, begin, end), "")
    own = set(re.findall(rf"^    ({PREFIX}\w+):", around, re.MULTILINE))
    return _with(before, begin, end, "".join(f"    {name}:\n" for name in VARIABLES if name not in own))


def _operations(before: str) -> str:
    begin, end = "<!-- settings: written by `make settings` -->\n", "<!-- settings: end -->\n"
    table = "\n| variable | default | meaning |\n|---|---|---|\n"
    for name, field in VARIABLES.items():
        default = f"`{field.default}`" if str(field.default) else "(empty)"
        links = re.sub(r"docs/(\w+\.md)(#[\w-]+)?", r"[\1](\1\2)", meaning(field))
        table += f"| `{name}` | {default} | {links} |\n"
    return _with(before, begin, end, table + "\n")


def _between(text: str, begin: str, end: str) -> str:
    return text.partition(begin)[2].partition(end)[0]


def _with(text: str, begin: str, end: str, list_: str) -> str:
    if begin not in text or end not in text:
        raise SystemExit(f"the place for the list is gone: {begin.strip()} ... {end.strip()}")
    head, _, rest = text.partition(begin)
    return head + begin + list_ + end + rest.partition(end)[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    checking = parser.parse_args().check
    old = out_of_date(ROOT)
    for file, text in old.items():
        name = file.relative_to(ROOT)
        if checking:
            print(f"{name} does not have the settings of memsched/settings.py: run `make settings`", file=sys.stderr)
        else:
            file.write_text(text, encoding="utf-8")
            print(f"{name} is written")
    return 1 if checking and old else 0


if __name__ == "__main__":
    sys.exit(main())
