"""What model servers have in common as to their prefix caches, and what a dialect says of one kind of them.

Servers differ in where a cached prefix may end: after any token, in whole blocks of tokens, or exactly where a request
said so or ended. So what warms one writes at another a prefix that no question can hit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal


class Step(StrEnum):
    """How a server is brought to hold a prefix; each step costs more (``memsched.activation.ladder``)."""

    MARK = "mark"
    """The request says where the prefix ends."""
    ONCE = "once"
    """One request begins with it: for servers that find the longest prefix that they know."""
    TWICE = "twice"
    """Two requests that go on differently: for servers that keep what requests had in common."""
    THRICE = "thrice"
    """The same with three: for those that keep it from the second time on."""
    OFF = "off"
    """Nothing: it was tried, and did not help."""


Ask = Callable[[str, str], Awaitable[Any]]
"""What a server answers to a method and a path beside its ``/v1``. Raises ServerError."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What a server said of its prefix cache, in tokens; None: it did not say, which is not 0.

    Args:
        cached: of the prompt, what it had.
        written: of the prompt, what it has from now on.
    """

    cached: int | None = None
    written: int | None = None


@dataclass(frozen=True, slots=True)
class CacheHint:
    """What of a request a server is to keep.

    Args:
        head: what its first message begins with: the salt line, the instructions, and the activation block.
        salt: a hash of the cube's salt and the adapter, for servers that keep caches apart.
        key: another one, for services that send what has the same key to the same machine.
        adapter: what the server calls the adapter that answers (llama.cpp: its number); None: none does.
        slot: of llama.cpp's server, in which the request shall run.
    """

    head: str
    salt: str
    key: str
    adapter: str | None = None
    slot: int | None = None


@dataclass(slots=True)
class Caching:
    """How one request uses a server's cache, and what the server said of that.

    Args:
        use: what it said; of several that warm, the last.
        prompt_tokens: as it counted them; None: it did not say.
    """

    hint: CacheHint
    step: Step
    use: CacheUse = CacheUse()
    prompt_tokens: int | None = None


class Dialect:
    """One kind of server. This one is of servers of which nothing is known but that they speak OpenAI's language.

    Attributes:
        name: as MEMSCHED_LLM_SERVER has it.
        sends, unproven: for people, what it is sent to warm its cache, and what happens when it tells nothing of it.
        proof, writes: where an answer tells cached and written tokens; the first place that holds a number counts.
        least_tokens: shorter prompts are not cached.
        unit: it caches whole blocks of so many tokens.
        slots: whether it saves and restores what it computed (llama.cpp).
        adapters: whether a request names its adapter as a model of its own, in a field of its own, or not at all.
        first_step: where the ladder begins.
    """

    name: ClassVar[str] = "generic"
    sends: ClassVar[str] = "the head of the prompt, for one token"
    unproven: ClassVar[str] = "unknown: it is warmed all the same, and the ladder stays where it is"
    proof: ClassVar[Sequence[str]] = ("usage.prompt_tokens_details.cached_tokens",)
    writes: ClassVar[Sequence[str]] = ()
    least_tokens: ClassVar[int] = 1
    unit: ClassVar[int] = 1
    slots: ClassVar[bool] = False
    adapters: ClassVar[Literal["none", "by_model", "per_request"]] = "none"

    def first_step(self, _model: str) -> Step:
        return Step.ONCE

    def least(self, _model: str) -> int:
        """The least tokens of a prompt that it caches for this model."""
        return self.least_tokens

    def optional(self, hint: CacheHint) -> list[str]:
        """What of a request a server of this kind may not know, and answers without it as well.

        An adapter is no such thing: who asked for one shall not get the answer of another model.
        """
        names = [*self.fields(hint), *self.mark()]
        return names if hint.adapter is None else [name for name in names if name not in OF_ADAPTERS]

    def fields(self, _hint: CacheHint) -> dict[str, Any]:
        """What a request says of caches and adapters, beside its messages. Who sets such a field themselves wins."""
        return {}

    async def called(self, name: str, _ask: Ask) -> str | None:
        """What a request says to be answered by this adapter; None: this server does not have it.

        Raises ServerError.
        """
        return None if self.adapters == "none" else name

    def plain(self) -> dict[str, Any]:
        """What a request says that uses no cache on purpose: that no adapter answers it."""
        return {}

    def mark(self) -> dict[str, Any]:
        """What a part of a message says that ends a prefix; {}: there is no such thing."""
        return {}

    def shape(self, body: Mapping[str, Any], hint: CacheHint, step: Step) -> dict[str, Any]:
        """The request as this server wants it: it says what is its cube's, and where the head ends."""
        plain = self.plain()
        said = {name: value for name, value in body.items() if name not in plain or value != plain[name]}
        shaped = {**plain, **self.fields(hint), **said}
        if self.adapters == "by_model" and hint.adapter is not None:
            shaped["model"] = hint.adapter
        if step is Step.MARK and (mark := self.mark()):
            shaped["messages"] = _marked(body["messages"], hint.head, mark)
        return shaped

    def about(self) -> dict[str, str]:
        """A line for people: what such a server is sent, what is read as proof, and what happens without one."""
        return {
            "kind": self.name,
            "is_sent": self.sends,
            "proof": self.proof[0],
            "without_proof": self.unproven,
            "least_tokens": str(self.least_tokens),
        }

    def evidence(self, answer: Mapping[str, Any]) -> CacheUse:
        """What an answer (its ``usage`` and ``timings``) says of the cache."""
        return CacheUse(_number_at(answer, self.proof), _number_at(answer, self.writes))


OF_ADAPTERS = frozenset({"lora", "lora_path"})
"""Fields of a request that say which adapter answers, or none."""
_ENDINGS: Mapping[Step, Sequence[str]] = {
    Step.MARK: ("",),
    Step.ONCE: ("",),
    Step.TWICE: ("1", "2"),
    Step.THRICE: ("1", "2", "3"),
    Step.OFF: (),
}
"""What stands behind the head: where a server keeps what requests had in common, that shall be the head and no more."""


def warm_ups(hint: CacheHint, step: Step) -> list[list[dict[str, Any]]]:
    """Messages that make the head a prefix that a question can hit, to be shaped and sent one after the other."""
    return [_beginning(hint.head, ending) for ending in _ENDINGS[step]]


def _beginning(head: str, ending: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": head + ending}, {"role": "user", "content": "."}]


def _marked(messages: Sequence[Mapping[str, Any]], head: str, mark: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages, the first one in two parts, of which the first is the head, and says so."""
    first, *rest = messages
    text = first["content"]
    if not (head and isinstance(text, str) and text.startswith(head)):
        return [dict(each) for each in messages]
    parts: list[dict[str, Any]] = [{"type": "text", "text": head, **mark}]
    if len(text) > len(head):
        parts.append({"type": "text", "text": text[len(head) :]})
    return [{**first, "content": parts}, *(dict(each) for each in rest)]


def _number_at(answer: Mapping[str, Any], places: Sequence[str]) -> int | None:
    """The first of these places, ``a.b.c``, that holds a count; None: none does."""
    for place in places:
        found: Any = answer
        for name in place.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
            return found
    return None
