"""What an OpenAI-compatible server sends, read without trusting it: whole answers and pieces of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from memsched.llm.errors import LLMRefused, LLMRubbish
from memsched.llm.server_errors import Failure, Verdict, rubbish

TRUNCATED = "length"
_FILTERED = "content_filter"


@dataclass(frozen=True, slots=True)
class Answer:
    """text: never empty. tokens: (input, output) as the server counted them, or None. finish: why it ended."""

    text: str
    tokens: tuple[int, int] | None
    finish: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a stream. finish: set in the last one that has text. tokens: in the one that tells them."""

    text: str
    tokens: tuple[int, int] | None
    finish: str


def _text_or_none(value: object) -> object:
    return value if isinstance(value, str) else None


_Text = Annotated[str | None, BeforeValidator(_text_or_none)]


class _Message(BaseModel):
    content: _Text = None
    refusal: _Text = None


class _Choice(BaseModel):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: _Text = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


def _usage_or_none(value: object) -> _Usage | None:
    try:
        return _Usage.model_validate(value, from_attributes=True)
    except ValidationError:
        return None


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: Annotated[_Usage | None, BeforeValidator(_usage_or_none)] = None

    @property
    def tokens(self) -> tuple[int, int] | None:
        return None if self.usage is None else (self.usage.prompt_tokens, self.usage.completion_tokens)


def read_answer(body: bytes) -> Answer | Failure:
    """The body of a 200 answer."""
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError:
        return rubbish("The server did not send a chat completion. Check MEMSCHED_LLM_BASE_URL.")
    choice = completion.choices[0] if completion.choices else None
    message = (choice.message if choice else None) or _Message()
    finish = (choice.finish_reason if choice else None) or ""
    if refusal := _refusal(message, finish):
        return refusal
    if not (message.content or "").strip():
        return empty(finish)
    assert message.content is not None
    return Answer(message.content, completion.tokens, finish)


def read_piece(chunk: Any) -> Piece | Failure:
    """One chunk of a stream, as the openai library gives it."""
    try:
        completion = _Completion.model_validate(chunk, from_attributes=True)
    except ValidationError:
        return rubbish("The server did not stream a chat completion. Check MEMSCHED_LLM_BASE_URL.")
    choice = completion.choices[0] if completion.choices else None
    delta = (choice.delta if choice else None) or _Message()
    finish = (choice.finish_reason if choice else None) or ""
    return _refusal(delta, finish) or Piece(delta.content or "", completion.tokens, finish)


def empty(finish: str) -> Failure:
    """The server works; the model said nothing."""
    reason = "It used up max_tokens before it said anything." if finish == TRUNCATED else "The answer is empty."
    return Failure(LLMRubbish(reason), Verdict.ALIVE)


def _refusal(message: _Message, finish: str) -> Failure | None:
    if message.refusal:
        return Failure(LLMRefused("The model refused."), Verdict.ALIVE)
    if finish == _FILTERED:
        return Failure(LLMRefused("A content filter stopped the answer."), Verdict.ALIVE)
    return None
