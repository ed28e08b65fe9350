"""Whatever memsched imports, pip installs with it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import memsched

ROOT = Path(memsched.__file__).parents[1]
PACKAGES = ("memsched", "workers")


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for name, wants in project["optional-dependencies"].items() if name != "dev" for each in wants]
    wanted = [*project["dependencies"], *extras]
    named = {re.split(r"[\[<>=!~; ]", each, maxsplit=1)[0] for each in wanted}
    named |= {part for each in wanted for group in re.findall(r"\[(.*?)\]", each) for part in group.split(",")}
    return {_normal(name) for name in named}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_a_declared_dependency() -> None:
    found = {name for package in PACKAGES for path in (ROOT / package).rglob("*.py") for name in imported(path)}
    foreign = found - set(sys.stdlib_module_names) - set(PACKAGES)
    homes = packages_distributions()

    undeclared = {
        name: homes.get(name, [name])
        for name in foreign
        if not {_normal(home) for home in homes.get(name, [name])} & declared()
    }
    assert len(foreign) > 8
    assert undeclared == {}
