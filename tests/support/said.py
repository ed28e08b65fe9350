"""What somebody said, without a store: as the rule of revisions takes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    speaker: str = ""
    kind: str = "turn"
