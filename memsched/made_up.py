"""What somebody makes up, or asks to be made up: nobody states it of themselves.

"Write a poem in which I am a pirate", "in the game I am a wizard"; in English, German, Spanish and Chinese.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files

_WORDS = json.loads(files(__package__).joinpath("made_up_words.json").read_text(encoding="utf-8"))
_MADE_UP = re.compile("|".join(f"(?:{each})" for each in _WORDS["patterns"]), re.IGNORECASE)


def without_made_up(text: str) -> str:
    """The text without it, and without the order."""
    return _MADE_UP.sub(" ", text)
