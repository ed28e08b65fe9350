"""What the site has beside the pages in docs/: the files of the repository that the pages link to, as pages.

The pages are written for a reader of the repository, so they link to ../CONTRIBUTING.md or ../examples/x.py. Here these
files become pages of the site, and the links lead there; the link check of the build then covers them too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}
_EXAMPLES = {f"examples/{path.name}": f"examples/{path.stem}.md" for path in sorted((ROOT / "examples").glob("*.py"))}
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the files of the repository that are pages of the site."""
    for source, page in _PAGES.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=_in_docs((ROOT / source).read_text(encoding="utf-8"))))
    for source, page in _EXAMPLES.items():
        code = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=f"# {source}\n\n```python\n{code}```\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Lead the links out of docs/ to the pages that those files are here."""
    return _LINK.sub(_led_to_page, markdown)


def _led_to_page(match: re.Match[str]) -> str:
    target, anchor = match.group(1), match.group(2) or ""
    for source, page in (_PAGES | _EXAMPLES).items():
        if target == f"../{source}":
            return f"]({page}{anchor})"
    return match.group(0)


def _in_docs(markdown: str) -> str:
    """A page of the repository's root, as if it stood in docs/."""

    def led(match: re.Match[str]) -> str:
        target, anchor = match.group(1), match.group(2) or ""
        if target.startswith(("http:", "https:")):
            return match.group(0)
        inside = target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
        return f"]({inside}{anchor})"

    return _LINK.sub(led, markdown)
