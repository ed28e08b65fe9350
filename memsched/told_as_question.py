"""What somebody tells as a question: "Did you know that I moved?"; in English, German and Spanish."""

from __future__ import annotations

import json
import re
from importlib.resources import files

_WORDS = json.loads(files(__package__).joinpath("told_as_question_words.json").read_text(encoding="utf-8"))
_MAY_TELL: re.Pattern[str] = re.compile(_WORDS["may_tell"], re.IGNORECASE)
_TOLD: re.Pattern[str] = re.compile(_WORDS["pattern"], re.IGNORECASE)


def as_told(text: str) -> str:
    """A text with what it tells as a question as what it is: "Did you know that I moved?" says so."""
    if "?" not in text or _MAY_TELL.search(text) is None:
        return text
    return _TOLD.sub(lambda asked: next(filter(None, asked.groups())) + ".", text)
