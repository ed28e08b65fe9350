"""The documentation's pages, taken apart: sections, tables, blocks of code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
GUARANTEES = ROOT / "docs" / "guarantees.md"
HANDLERS = ROOT / "docs" / "handlers.md"
MEMORY = ROOT / "docs" / "memory.md"
OPERATIONS = ROOT / "docs" / "operations.md"
POLICY = ROOT / "docs" / "policy.md"
WIRE_FORMAT = ROOT / "docs" / "wire-format.md"


def blocks(page: Path, language: str, under: str = "") -> list[str]:
    """The fenced blocks of one language; of one section, if its heading is given."""
    text = section(page, under) if under else page.read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [str(block) for block in found]


def section(page: Path, title: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    _, found, rest = page.read_text(encoding="utf-8").partition(f"{title}\n")
    assert found, f"{page.name} has no heading {title!r}"
    level = title.count("#")
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without heads and rules."""
    tables = re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE)
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        for table in tables
        for line in table.splitlines()[2:]
    ]


def table(text: str, head: str) -> list[list[str]]:
    """The cells of the one table whose first head cell begins with ``head``."""
    found = [part for part in re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE) if part.startswith(f"| {head}")]
    assert len(found) == 1, f"{len(found)} tables begin with {head!r}"
    return rows(found[0])


def named(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def sources(*patterns: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for pattern in patterns for path in ROOT.glob(pattern))


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))
