"""Structured output: JSON as language models write it: with a preface, in a fence, cut off, with a comma too many, line
by line, or within another object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import json_repair
from pydantic import BaseModel, ValidationError

from memsched.llm.errors import LLMInvalidAnswer

Schema = TypeVar("Schema", bound=BaseModel)

MAX_CHARACTERS = 64_000
"""Of an answer that is looked at; repairing takes about 0.1 s for so many."""
_MAX_PROBLEMS = 5


def parse_json(text: str, schema: type[Schema]) -> Schema:
    """Return the first object in the answer that is of the schema.

    Raises LLMInvalidAnswer with what is wrong with the first one that is not: places and rules, nothing of its text.
    """
    if len(text) > MAX_CHARACTERS:
        raise LLMInvalidAnswer(f"The answer is longer than {MAX_CHARACTERS} characters.")
    problem = ""
    for candidate in _candidates(text):
        try:
            return schema.model_validate(candidate)
        except ValidationError as error:
            problem = problem or _problems(error)
    raise LLMInvalidAnswer(problem or "There is no JSON object in the answer.")


def _candidates(text: str) -> Iterator[Any]:
    """Values that may be meant, the likeliest first."""
    begin, end = text.find("{"), text.rfind("}")
    for part in (text, text[begin : end + 1]):
        try:
            yield json.loads(part)
        except (ValueError, RecursionError):
            continue
    several = list(_one_after_another(text))
    if len(several) > 1:
        yield several
        yield from several
    repaired = _repaired(text)
    if isinstance(repaired, dict | list):
        yield repaired
    values = repaired if isinstance(repaired, list) else repaired.values() if isinstance(repaired, dict) else ()
    yield from (value for value in values if isinstance(value, dict))


def _one_after_another(text: str) -> Iterator[dict[str, Any]]:
    """The objects that stand in a text one after the other, as in JSON lines."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield value
        at = text.find("{", end)


def _repaired(text: str) -> Any:
    try:
        return json_repair.loads(text)
    except (ValueError, RecursionError):
        return None


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    told = [f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}" for problem in found[:_MAX_PROBLEMS]]
    return "; ".join(told)[:1000] + "."
