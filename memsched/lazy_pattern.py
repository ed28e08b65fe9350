"""A regular expression that is compiled at its first use: to compile all those that know secrets takes a process a
quarter of a second, and most texts need few of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property

Match = re.Match[str]


class LazyPattern:
    """As ``re.Pattern``."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.pattern = pattern
        self.flags = flags

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, self.flags)

    def match(self, text: str, at: int = 0) -> Match | None:
        return self.compiled.match(text, at)

    def fullmatch(self, text: str) -> Match | None:
        return self.compiled.fullmatch(text)

    def search(self, text: str) -> Match | None:
        return self.compiled.search(text)

    def finditer(self, text: str) -> Iterator[Match]:
        return self.compiled.finditer(text)

    def sub(self, instead: str | Callable[[Match], str], text: str) -> str:
        return self.compiled.sub(instead, text)
