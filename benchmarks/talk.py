"""Made-up talk of any length, the same in every run: words as unequally frequent as those of a language."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from memsched import ScheduleMessageItem
from memsched.messages import ADD_TASK_LABEL

TURNS_PER_MESSAGE = 25
_WORDS = 6_000
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_SPEAKERS = ("Anna", "Ben", "Carla", "David")
_SMALL = "the a I you we to of in is was it that and for with my on at she he had about".split()


class Talk:
    """A source of sentences. Zipf's law: the n-th word is 1/n as frequent as the first."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        syllables = [a + b for a in "bdfgklmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
        self._words = ["".join(self._random.choices(syllables, k=self._random.randint(2, 4))) for _ in range(_WORDS)]
        self._weights = list(accumulate(1 / (rank + 10) for rank in range(_WORDS)))

    def sentence(self, words: int) -> str:
        content = self._random.choices(self._words, cum_weights=self._weights, k=words)
        small = self._random.choices(_SMALL, k=words)
        return " ".join(f"{one} {other}" for one, other in zip(small, content, strict=True)) + "."

    def messages(self, user_id: str, turns: int) -> Iterator[ScheduleMessageItem]:
        """So many turns in sessions of 50, told in messages of 25."""
        for first in range(0, turns, TURNS_PER_MESSAGE):
            history = [
                {
                    "speaker": _SPEAKERS[number % 2],
                    "content": self.sentence(self._random.randint(3, 14)),
                    "id": f"turn {number}",
                    "timestamp": (_BEGIN + timedelta(minutes=number)).isoformat(),
                }
                for number in range(first, min(turns, first + TURNS_PER_MESSAGE))
            ]
            yield ScheduleMessageItem(
                user_id=user_id,
                mem_cube_id="talk",
                label=ADD_TASK_LABEL,
                content="",
                session_id=f"session {first // 50}",
                chat_history=history,
            )

    def question(self) -> str:
        return "When did " + self.sentence(self._random.randint(2, 5)).rstrip(".") + "?"
