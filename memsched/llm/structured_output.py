"""Structured output: JSON as language models write it: with a preface, in a fence, cut off, with a comma too many, line
by line, as the arguments of a tool call, in a string, or within another object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import json_repair
from pydantic import BaseModel, ValidationError

from memsched.llm.errors import LLMInvalidAnswer

Schema = TypeVar("Schema", bound=BaseModel)

MAX_CHARACTERS = 64_000
"""Of an answer that is looked at, without its padding; repairing takes about 0.1 s for so many."""
_PADDING = re.compile(r"\s{33,}")
_DEEPEST = 6
"""Objects, lists and strings around an object that are looked into."""
_HOLDS_JSON = re.compile(r"\s*(?:```\w*\s*)?[\[{]")
_MAX_PROBLEMS = 5


def parse_json(text: str, schema: type[Schema]) -> Schema:
    """Return the first object in the answer that is of the schema.

    One that says ``may_be_repaired = False`` is not made of what was cut off, is no JSON, or are several answers.
    Raises LLMInvalidAnswer with what is wrong with the first one that is not: places and rules, nothing of its text.
    """
    text = _PADDING.sub(" ", text.strip())
    if len(text) > MAX_CHARACTERS:
        raise LLMInvalidAnswer(f"The answer is longer than {MAX_CHARACTERS} characters.")
    problem = ""
    for candidate in _candidates(text, repaired=getattr(schema, "may_be_repaired", True)):
        try:
            return schema.model_validate(candidate)
        except ValidationError as error:
            problem = problem or _problems(error)
    raise LLMInvalidAnswer(problem or "There is no JSON object in the answer.")


def _candidates(text: str, *, repaired: bool) -> Iterator[Any]:
    """Values that may be meant, the likeliest first."""
    for value in _values(text, repaired=repaired):
        yield value
        if (unpacked := _unpacked(value, repaired=repaired)) != value:
            yield unpacked
        yield from _objects_within(unpacked)


def _values(text: str, *, repaired: bool) -> Iterator[Any]:
    begin, end = text.find("{"), text.rfind("}")
    for part in (text, text[begin : end + 1]):
        try:
            yield json.loads(part)
        except (ValueError, RecursionError):
            continue
    if not repaired:
        return
    several = list(_one_after_another(text))
    if len(several) > 1:
        yield several
    found = _repaired(text)
    if isinstance(found, dict | list):
        yield found


def _one_after_another(text: str) -> Iterator[Any]:
    """The objects that stand in a text one after the other, as in JSON lines; or strings, if it begins with one."""
    decoder = json.JSONDecoder()
    first = '"' if text.startswith('"') else "{"
    at = text.find(first)
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield value
        at = text.find(first, end)


def _unpacked(value: Any, depth: int = 0, *, repaired: bool) -> Any:
    """The value with what its strings hold, where that is JSON: the arguments of a tool call are one."""
    if depth > _DEEPEST:
        return value
    if isinstance(value, dict):
        return {name: _unpacked(each, depth + 1, repaired=repaired) for name, each in value.items()}
    if isinstance(value, list):
        return [_unpacked(each, depth + 1, repaired=repaired) for each in value]
    if not isinstance(value, str):
        return value
    try:
        held = json.loads(value)
    except (ValueError, RecursionError):
        held = _repaired(value) if repaired and _HOLDS_JSON.match(value) else None
    return (
        _unpacked(held, depth + 1, repaired=repaired)
        if isinstance(held, dict | list | str) and held != value
        else value
    )


def _objects_within(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The objects in a value, those of one depth before those within them."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    yield from (each for each in inner if isinstance(each, dict))
    for each in inner if depth < _DEEPEST else ():
        yield from _objects_within(each, depth + 1)


def _repaired(text: str) -> Any:
    try:
        return json_repair.loads(text)
    except (ValueError, RecursionError):
        return None


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}" for problem in found[:_MAX_PROBLEMS]]
    return "; ".join(told)[:1000] + "."
