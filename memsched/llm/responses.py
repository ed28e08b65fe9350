"""The responses of chat completions, read without trusting the server: whole answers and pieces of a stream.

An answer is a text, or a list of parts, of which those that are text count. What a model thought stands in fields of
its own (``reasoning_content``, ``reasoning``), in parts of its own, or in the text (``memsched.thinking``): it is no
part of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from memsched.llm.errors import LLMInvalidAnswer, LLMRefused
from memsched.llm.server_errors import ServerError
from memsched.thinking import Parted, parted

END = object()
"""After the last chunk of a stream whose server said that it is at its end."""
DONE = "[DONE]"
"""What a server sends then."""
TRUNCATED = "length"
_NOTHING = Parted("")
_FILTERED = "content_filter"
_CHUNK = "chat.completion.chunk"
_BROKE_OFF = frozenset({"error", "abort", "aborted", "cancelled", "canceled", "failed", "insufficient_system_resource"})
"""Reasons to end that are none: an answer that has one is no whole answer."""
_CHECK = "Check MEMSCHED_LLM_BASE_URL."


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the server counted."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Args:
        text: what is said; never empty, unless it was of no interest.
        parted: with the thinking that stood before it.
        tokens: None: the server did not count them.
        finish: why it ended.
        told: ``usage`` and ``timings`` as they came: each kind of server says in its own words what it had cached.
    """

    text: str
    tokens: Tokens | None
    finish: str
    parted: Parted = _NOTHING
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a stream.

    Args:
        text: as it came, thinking included.
        tokens: in the one that tells them.
        finish: set in the last one that has text.
        told: as ``Answer`` has it.
    """

    text: str
    tokens: Tokens | None
    finish: str
    told: Mapping[str, Any] = field(default_factory=dict)


_TEXT_PARTS = ("text", "output_text")


def _text_or_none(value: object) -> object:
    """Without what no text may hold: NUL, and half a surrogate pair (of a character that came in two pieces)."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")


def _content(value: object) -> object:
    """A text, or the text of a list of parts."""
    parts = [value] if isinstance(value, dict) else value
    if not isinstance(parts, list):
        return _text_or_none(value)
    texts = [each.get("text") if _is_text_part(each) else _text_or_none(each) for each in parts]
    return _text_or_none("".join(text for text in texts if isinstance(text, str)))


def _is_text_part(part: object) -> bool:
    """Whether a part is text that is said. Gemini marks what is thought."""
    return isinstance(part, dict) and part.get("type", "text") in _TEXT_PARTS and part.get("thought") is not True


_Text = Annotated[str | None, BeforeValidator(_text_or_none)]


def _arguments(value: object) -> object:
    """What tool calls are given, each on a line."""
    functions = [each.get("function") for each in value if isinstance(each, dict)] if isinstance(value, list) else []
    given = [each.get("arguments") for each in functions if isinstance(each, dict)]
    texts = [json.dumps(each) if isinstance(each, dict | list) else each for each in given]
    return "\n".join(text for text in texts if isinstance(text, str))


class _Message(BaseModel):
    content: Annotated[str | None, BeforeValidator(_content)] = None
    refusal: _Text = None
    tool_calls: Annotated[str, BeforeValidator(_arguments)] = ""


class _Choice(BaseModel):
    message: _Message | None = None
    delta: _Message | None = None
    text: _Text = None
    finish_reason: _Text = None
    index: Any = 0

    @property
    def said(self) -> _Message:
        """As servers have it that complete texts, too."""
        return self.delta or self.message or _Message(content=self.text)


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


def _object_or_none(value: object) -> object:
    """An object of JSON, also as the library of a stream has it."""
    told = value.model_dump() if isinstance(value, BaseModel) else value
    return told if isinstance(told, dict) else None


_Told = Annotated[dict[str, Any] | None, BeforeValidator(_object_or_none)]


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Told = None
    timings: _Told = None

    @property
    def tokens(self) -> Tokens | None:
        try:
            usage = _Usage.model_validate(self.usage)
        except ValidationError:
            return None
        return Tokens(usage.prompt_tokens, usage.completion_tokens)

    @property
    def told(self) -> dict[str, Any]:
        return {name: told for name, told in (("usage", self.usage), ("timings", self.timings)) if told}


def read_answer(body: bytes, *, needs_text: bool = True, shows_thinking: bool = False, is_json: bool = False) -> Answer:
    """Return what the body of a 200 answer says.

    Raises ServerError when it is no chat completion; LLMRefused and LLMInvalidAnswer when the server works, but the
    model said nothing, and its text is needed.

    Args:
        shows_thinking: leave in the text what is thinking.
        is_json: JSON was asked for: where the text has none, it is what the model gave a tool.
    """
    try:
        completion = _Completion.model_validate(json.loads(body))
    except (ValueError, RecursionError):
        completion = None
    if completion is None:
        raise ServerError(f"The server did not send a chat completion. {_CHECK}", kind="invalid_answer")
    choice = completion.choices[0] if completion.choices else None
    message = choice.said if choice else _Message()
    finish = (choice.finish_reason if choice else None) or ""
    text = message.content or ""
    found = parted(text)
    if is_json and message.tool_calls and not any(bracket in found.said for bracket in "{["):
        found = replace(found, said=message.tool_calls)
        text = message.tool_calls
    if needs_text:
        _check_finish(finish)
        _check_refusal(message, finish)
        check_empty(found.said, finish)
    return Answer(text if shows_thinking else found.said, completion.tokens, finish, found, completion.told)


def read_piece(chunk: Any) -> Piece:
    """Return what one chunk of a stream says, of several answers the first. Raises ServerError and LLMRefused."""
    if getattr(chunk, "choices", ()) is None and getattr(chunk, "object", "") == _CHUNK:
        return Piece("", None, "")  # with something else than an answer in it
    try:
        completion = _Completion.model_validate(chunk, from_attributes=True)
    except ValidationError:
        completion = None
    if completion is None:
        raise ServerError(f"The server did not stream a chat completion. {_CHECK}", kind="invalid_answer")
    choice = next((each for each in completion.choices if each.index in (None, 0, "0", "")), None)
    delta = choice.said if choice else _Message()
    finish = (choice.finish_reason if choice else None) or ""
    _check_finish(finish)
    _check_refusal(delta, finish)
    return Piece(delta.content or "", completion.tokens, finish, completion.told)


def is_whole_event(data: str) -> bool:
    """Whether the data of a stream's last event are all there."""
    try:
        return data.startswith(DONE) or isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def check_empty(text: str, finish: str) -> None:
    """Raise LLMInvalidAnswer when the answer has no words."""
    if text.strip():
        return
    used_up = "It used up max_tokens before it said anything."
    raise LLMInvalidAnswer(used_up if finish == TRUNCATED else "The answer is empty.")


def _check_finish(finish: str) -> None:
    if finish in _BROKE_OFF:
        raise ServerError(f"The server broke the answer off ({finish}).", kind="server_error")


def _check_refusal(message: _Message, finish: str) -> None:
    if message.refusal:
        raise LLMRefused("The model refused.")
    if finish == _FILTERED:
        raise LLMRefused("A content filter stopped the answer.")
