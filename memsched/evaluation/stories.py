"""Reads theme stories: weeks of one person's messages in which one theme is hot and another takes over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from memsched.errors import MemschedError
from memsched.messages import ADD_TASK_LABEL, ANSWER_TASK_LABEL, QUERY_TASK_LABEL

CHATTER = "chat"
MOST_STREWN = 6
_STREWN_OVER = timedelta(days=25)
_LABELS = (ADD_TASK_LABEL, QUERY_TASK_LABEL, ANSWER_TASK_LABEL)


class NotAStory(MemschedError):
    """The file does not hold a theme story."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message.

    Args:
        theme: what it is about: a letter of the story's, or ``chat``.
        is_open: whether it is an open matter that the request at the end is about.
        spoken_by: its speaker, where more than one person share the cube; else "".
    """

    at: datetime
    role: str
    label: str
    text: str
    theme: str
    is_open: bool
    spoken_by: str


@dataclass(frozen=True, slots=True)
class Check:
    """After how many messages which theme is hot."""

    messages: int
    hot: str


@dataclass(frozen=True, slots=True)
class Story:
    """One story.

    Args:
        request: the vague question after the last message.
        is_trap: whether the request shares words with a theme that is over.
        hot: the theme that is hot at the end.
        always: places of lines that shall be near in any case: they count neither for nor against precision.
    """

    name: str
    language: str
    lines: list[Line]
    request: str
    requested_at: datetime
    is_trap: bool
    hot: str
    checks: list[Check]
    always: frozenset[int]


def read_stories(folder: Path) -> list[Story]:
    """All stories of a folder, one in a JSON file each, by name. Raises NotAStory, saying what is wrong where."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise NotAStory(f"{folder}: there is no JSON file." if folder.is_dir() else f"{folder} is no folder.")
    stories = []
    for file in files:
        try:
            stories.append(_story(json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotAStory(f"{file}: {type(error).__name__}: {error}.") from error
    return stories


def with_one_offs(story: Story, count: int) -> Story:
    """The same story with some one-off messages in its last 25 days, at even distances: chatter as long as the rest.

    Args:
        count: how many, ``MOST_STREWN`` at most.
    """
    told = json.loads(files("memsched.evaluation").joinpath("one_offs.json").read_text(encoding="utf-8"))
    texts = told.get(story.language, told["en"])[:count]
    begin = max(story.lines[0].at, story.requested_at - _STREWN_OVER)
    step = (story.requested_at - begin) / max(1, count)
    new = [
        Line(begin + step * (number + 0.5), "user", ADD_TASK_LABEL, text, CHATTER, is_open=False, spoken_by="")
        for number, text in enumerate(texts)
    ]
    lines = sorted([*story.lines, *new], key=lambda line: line.at)
    place_of = {id(line): place for place, line in enumerate(lines)}
    places = [place_of[id(line)] for line in story.lines]
    return replace(
        story,
        lines=lines,
        checks=[replace(check, messages=places[check.messages - 1] + 1) for check in story.checks],
        always=frozenset(places[place] for place in story.always),
    )


def _story(document: Mapping[str, Any]) -> Story:
    begin = datetime.fromisoformat(document["begin"]).replace(tzinfo=UTC)
    lines = [
        Line(
            at=_moment(begin, each["day"], each["time"]),
            role=each["role"],
            label=each["label"],
            text=each["text"],
            theme=each["theme"],
            is_open=bool(each.get("open")),
            spoken_by=each.get("speaker", ""),
        )
        for each in document["messages"]
    ]
    if unknown := {line.label for line in lines}.difference(_LABELS):
        raise ValueError(f"unknown label {min(unknown)!r}")
    expected = document["expect"]
    return Story(
        name=document["id"],
        language=document["lang"],
        lines=lines,
        request=document["request"],
        requested_at=_moment(begin, document["request_day"], document["request_time"]),
        is_trap=document.get("request_shares_words_with") is not None,
        hot=expected["hot_at_the_end"],
        checks=[Check(each["after"] + 1, each["hot"]) for each in expected["checks"]],
        always=frozenset(document.get("always") or ()),
    )


def _moment(begin: datetime, day: int, clock: str) -> datetime:
    hours, minutes = map(int, clock.split(":"))
    return begin + timedelta(days=day, hours=hours, minutes=minutes)
