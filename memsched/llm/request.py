"""One request to a language model: what it asks, where it goes, and how such a model answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memsched.deadline import Deadline
from memsched.lexicon import estimate_tokens
from memsched.llm.endpoint import Endpoint, Purpose
from memsched.llm.prompts import Message
from memsched.llm.servers.base import Caching, Dialect
from memsched.settings import Settings, headers_in
from memsched.thinking import Parted, Thinking

_PLAIN_ANSWERS = 3
"""So many in a row without thinking, and the next one is taken for one without."""


@dataclass(slots=True)
class Request:
    """One call.

    Args:
        body: what it asks, in OpenAI's words.
        unsupported: parameters of the body that the server does not take.
        needs_text: whether the model must say something.
        thinking: what becomes of what it thinks.
        optional: what of the body is about caches and adapters, which not every server knows.
        caching: the head and the adapter, and where it is told what the server said of its cache.
        dialect: in which these two are said to the server, before each try.
        sent: the body as it was last sent, with them.
    """

    task: str
    body: dict[str, Any]
    deadline: Deadline
    unsupported: frozenset[str]
    retries: int = 0
    needs_text: bool = True
    thinking: Thinking = "hide"
    optional: Sequence[str] = ()
    caching: Caching | None = None
    dialect: Dialect | None = None
    sent: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt_tokens(self) -> int:
        return estimate_tokens("".join(map(_text_of, self.body["messages"])))


@dataclass(slots=True)
class Habits:
    """How a model's latest answers began.

    Args:
        plain: so many in a row were without thinking.
        unopened: whether one had thinking with an end and no beginning, since there were many plain ones.
    """

    plain: int = 0
    unopened: bool = False

    def learn(self, answer: Parted) -> None:
        self.plain = 0 if answer.thinks else self.plain + 1
        self.unopened = answer.unopened or (self.unopened and self.plain < _PLAIN_ANSWERS)

    def holds(self, thinking: Thinking) -> bool:
        """Whether an answer may begin with such thinking, so that nothing of it can be given before its end."""
        return self.unopened or (thinking == "hold" and self.plain < _PLAIN_ANSWERS)


def configured(settings: Settings, purpose: Purpose) -> tuple[Endpoint, dict[str, Any], dict[str, str]]:
    """Where a model is, and what else each request to it says, as body and as headers. Raises SettingsError."""
    url, key = settings.llm_base_url, settings.llm_api_key
    if purpose == "llm":
        endpoint = Endpoint.checked("llm", url, key, settings.llm_model)
        return endpoint, settings.llm_extra_body, headers_in(settings.llm_headers.get_secret_value())
    same = settings.reader_base_url in ("", url)
    key = settings.reader_api_key if settings.reader_api_key.get_secret_value() or not same else key
    endpoint = Endpoint.checked(purpose, settings.reader_base_url or url, key, settings.reader_model)
    return endpoint, settings.reader_extra_body, headers_in(settings.reader_headers.get_secret_value())


def _text_of(message: Mapping[str, Any]) -> str:
    """What a message says, also where it is in parts."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Half of a surrogate pair, which strangers may send, cannot be encoded."""
    return [
        {"role": message["role"], "content": message["content"].encode(errors="replace").decode()}
        for message in messages
    ]
