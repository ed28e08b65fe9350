"""Whole answers of models' servers, as SDKs give them: the message in one is a turn.

OpenAI's chat completions (``choices``) and responses (``output``, a list), Gemini's (``candidates``), Bedrock's
(``output.message``). Anthropic's and Ollama's are messages, or have one as ``message``, as others' messages have.
Why a model ended is told by both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memsched.errors import InvalidMessage
from memsched.memory.ingest.turns.forms import FIELDS, STOPS, is_empty, named, spelled

_MESSAGE_OF = {"choices": "message", "candidates": "content"}
"""Where an answer lists what the model said, one or several times, and what there is the message."""
_KEPT = (*FIELDS["id"], *FIELDS["time"], *FIELDS["stop"], "stopReason")
"""Of an answer, for its message; the rest is of the server and the request."""


def is_answer(fields: Any) -> bool:
    """Whether an object is the whole answer of a server, and no message itself."""
    if not isinstance(fields, Mapping) or not all(is_empty(fields.get(name)) for name in ("role", "content", "type")):
        return False
    if any(isinstance(fields.get(name), list) for name in _MESSAGE_OF):
        return True
    output = fields.get("output")
    if isinstance(output, Mapping):
        return isinstance(output.get("message"), Mapping)
    return isinstance(output, list) and all(isinstance(each, Mapping) and "type" in each for each in output)


def message_of(answer: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The message in a whole answer. Raises InvalidMessage where there is none, or several to choose from."""
    kept = {name: answer[name] for name in _KEPT if not is_empty(answer.get(name))}
    name = next((each for each in _MESSAGE_OF if isinstance(answer.get(each), list)), None)
    if name is not None:
        return {**kept, "role": "assistant", **_one_of(answer[name], name, where)}
    output = answer["output"]
    if isinstance(output, Mapping):
        return {**kept, "role": "assistant", **output["message"]}
    said = [each.get("content") for each in output if each["type"] == "message"]
    parts = [part for content in said for part in (content if isinstance(content, list) else [content])]
    return {**kept, "role": "assistant", "content": parts or [{"type": each["type"]} for each in output]}


def _one_of(several: list[Any], name: str, where: str) -> dict[str, Any]:
    inner = _MESSAGE_OF[name]
    if not several:
        raise InvalidMessage(f"{where}.{name} is empty: the model answered nothing; leave it out")
    if len(several) > 1:
        raise InvalidMessage(f"{where} has {len(several)} {name}: give the one that was used, {name}[0].{inner}")
    given = several[0] if isinstance(several[0], Mapping) else {}
    message, ended = given.get(inner), dict(named(given, "stop"))
    if isinstance(message, Mapping):
        return {**ended, **{key: value for key, value in message.items() if value is not None}}
    if isinstance(text := given.get("text"), str):  # of a completion without a chat
        return {**ended, "content": text}
    if "delta" in given:
        raise InvalidMessage(f"{where} is a piece of a stream: give the whole answer, when it is at its end")
    raise InvalidMessage(f"{where}.{name}[0] has no {inner}: the model answered nothing; leave it out")


def broke_off(fields: Mapping[str, Any]) -> bool:
    """Whether a model's message says that an error or a filter ended it."""
    within = [fields, *(value for _, value in named(fields, "stop_within") if isinstance(value, Mapping))]
    return any(_reason(given) in STOPS for each in within for _, given in named(each, "stop"))


def _reason(given: Any) -> str:
    if isinstance(given, Mapping):
        given = next((value for _, value in named(given, "stop_reason")), None)
    return spelled(given.rpartition(".")[2]) if isinstance(given, str) else ""
