"""The client of a language model: deadline, concurrency limit, retries, circuit breaker, structured output."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from memsched.deadline import Deadline
from memsched.lexicon import estimate_tokens
from memsched.llm.capabilities import Capabilities
from memsched.llm.circuit_breaker import Call, CircuitBreaker
from memsched.llm.endpoint import Endpoint, Purpose
from memsched.llm.errors import LLMError, LLMInvalidAnswer, LLMTimeout, LLMUnavailable, llm_error
from memsched.llm.local import LocalServer
from memsched.llm.metrics import Counters
from memsched.llm.prompts import ASK_FOR_JSON, Message, second_try
from memsched.llm.responses import END, TRUNCATED, Answer, Tokens, check_empty, read_answer, read_piece
from memsched.llm.server_errors import NOT_UNDERSTOOD, ServerError
from memsched.llm.structured_output import parse_json
from memsched.logs import get_logger
from memsched.settings import Settings, headers_in
from memsched.thinking import Parted, Thinking, ThinkingFilter

log = get_logger(__name__)
Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(slots=True)
class _Request:
    """One call.

    Args:
        body: what it asks, in OpenAI's words.
        unsupported: parameters of the body that the server does not take.
        needs_text: whether the model must say something.
        thinking: what becomes of what it thinks.
    """

    task: str
    body: dict[str, Any]
    deadline: Deadline
    unsupported: frozenset[str]
    retries: int = 0
    needs_text: bool = True
    thinking: Thinking = "hide"

    @property
    def prompt_tokens(self) -> int:
        return estimate_tokens("".join(message["content"] for message in self.body["messages"]))


_LOOK_SECONDS = 5.0
_PLAIN_ANSWERS = 3
"""So many in a row without thinking, and the next one is taken for one without."""
_MODELS_SHOWN = 20


def _configured(settings: Settings, purpose: Purpose) -> tuple[Endpoint, dict[str, Any], dict[str, str]]:
    """Where a model is, and what else each request to it says, as body and as headers. Raises SettingsError."""
    url, key = settings.llm_base_url, settings.llm_api_key
    if purpose == "llm":
        endpoint = Endpoint.checked("llm", url, key, settings.llm_model)
        return endpoint, settings.llm_extra_body, headers_in(settings.llm_headers.get_secret_value())
    same = settings.reader_base_url in ("", url)
    key = settings.reader_api_key if settings.reader_api_key.get_secret_value() or not same else key
    endpoint = Endpoint.checked(purpose, settings.reader_base_url or url, key, settings.reader_model)
    return endpoint, settings.reader_extra_body, headers_in(settings.reader_headers.get_secret_value())


@dataclass(slots=True)
class _Habits:
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


class LLM:
    """A language model. Every method raises LLMError, and nothing else, when the model is of no use.

    For one event loop. A call's budget_seconds (default: llm_budget_seconds) cover all of it: waiting for one of the
    llm_concurrency slots, retries, and the second try after an answer that does not fit.

    Args:
        clock: seconds, monotonic, for the circuit breaker.
    """

    def __init__(
        self, settings: Settings, purpose: Purpose = "llm", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Not above: it imports the openai library, for which only those wait who configured a model.
        from memsched.llm.openai_client import OpenAIClient

        self._endpoint, self._extra_body, headers = _configured(settings, purpose)
        self.model = self._endpoint.model
        self.budget_seconds = settings.llm_budget_seconds
        self.breaker = CircuitBreaker(settings.llm_breaker_failures, settings.llm_breaker_seconds, clock)
        self.counters = Counters(settings.llm_input_price, settings.llm_output_price)
        self._client = OpenAIClient(self._endpoint, headers, LocalServer.of(settings, purpose))
        self._slots = asyncio.Semaphore(settings.llm_concurrency)
        self._max_retries = settings.llm_max_retries
        self._capabilities = Capabilities()
        self._habits = _Habits()

    @classmethod
    def from_settings(cls, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Self | None:
        """None when no model is configured. Raises SettingsError. Takes most of a second: call it at the start."""
        return cls(settings, clock=clock) if settings.llm_model else None

    @classmethod
    def reader_from_settings(cls, settings: Settings) -> Self | None:
        """The model that reads, if it is one of its own. As ``from_settings``."""
        return cls(settings, "reader") if settings.reader_model else None

    async def look_for_model(self) -> None:
        """Ask the server which models it has, and tell in the log if this one is not among them, or it cannot be asked.

        Nothing else comes of it: the server may come later, and not every server names all that it has.
        """
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                models = await self._client.models()
        except (TimeoutError, ServerError) as error:
            kind = error.kind if isinstance(error, ServerError) else "timeout"
            if kind in ("unreachable", "timeout", "misconfigured") and not self._client.closed:
                log.warning(
                    "the language model's server does not answer now; it is asked again when it is needed",
                    action="llm.not_there",
                    server=self._endpoint.address,
                    kind=kind,
                    error=str(error),
                )
            return
        if {self.model, f"{self.model}:latest"}.isdisjoint(models):
            log.warning(
                "the language model's server does not name the model that is set",
                action="llm.model_not_there",
                server=self._endpoint.address,
                model=self.model,
                known=sorted(models)[:_MODELS_SHOWN],
                advice=f"Check {self._endpoint.variable('model')}; Ollama loads a model with: ollama pull {self.model}",
            )

    @property
    def is_private(self) -> bool:
        """Whether its server is on this machine or in a private network: probably nobody takes money for tokens."""
        return self._endpoint.is_private

    async def aclose(self) -> None:
        """Calls that are running end with LLMUnavailable, and so do later ones."""
        await self._client.aclose()

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        budget_seconds: float | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        task: str = "complete",
        sampling: Mapping[str, Any] | None = None,
        thinking: Thinking = "hide",
    ) -> str:
        """Return the model's answer: text that is not empty.

        Args:
            task: for the counters, from a small fixed set.
            sampling: more of the request: ``top_p`` and the like.
        """
        request = self._request(task, messages, budget_seconds, max_tokens, temperature)
        request.body |= sampling or {}
        request.thinking = thinking
        with self._counted(task):
            return (await self._ask(request)).text

    async def warm(self, prefix: str) -> None:
        """Have the server read the beginning of a prompt, so that its prefix cache holds it.

        One token is asked for, and thrown away. It is not repeated when it fails: a chat warms the cache as well.
        """
        beginning: list[Message] = [{"role": "system", "content": prefix}, {"role": "user", "content": "."}]
        request = self._request("warm", beginning, None, 1, 0.0)
        request.body["max_tokens"] = 1
        request.needs_text, request.retries = False, self._max_retries
        with self._counted("warm"):
            await self._ask(request)

    async def complete_json(
        self,
        prompt_messages: Sequence[Message],
        schema: type[Schema],
        *,
        budget_seconds: float | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        task: str = "complete_json",
    ) -> Schema:
        """Return the model's answer as an object of ``schema``; the prompt says what the JSON should look like.

        One that does not fit is shown to the model with what is wrong, once. Raises LLMInvalidAnswer when the next does
        not fit either.
        """
        messages = list(prompt_messages)
        if not any("json" in message["content"].lower() for message in messages):
            # OpenAI refuses to be in JSON mode when no message speaks of JSON.
            messages.append({"role": "system", "content": ASK_FOR_JSON})
        request = self._request(task, messages, budget_seconds, max_tokens, temperature)
        request.body["response_format"] = {"type": "json_object"}
        with self._counted(task):
            answer = await self._ask(request)
            try:
                return parse_json(answer.text, schema)
            except LLMInvalidAnswer as error:
                misfit = error
            log.info(
                "the language model's answer does not fit; it is asked again",
                action="llm.misfit",
                task=task,
                problem=misfit.reason,
            )
            if request.deadline.passed:
                raise misfit
            request.body["messages"] += _plain(second_try(answer.text, misfit.reason))
            request.retries = 0
            self.counters.retries += 1
            return parse_json((await self._ask(request)).text, schema)

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        budget_seconds: float | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        task: str = "stream",
        sampling: Mapping[str, Any] | None = None,
        thinking: Thinking = "hide",
    ) -> AsyncGenerator[str, None]:
        """Yield the model's answer in pieces. An error after the first piece means that the answer broke off.

        Thinking that has no beginning cannot be told from an answer until it ends: it is given, unless ``thinking`` is
        "hold" or an earlier answer of this model began so.

        The reader's own time between two pieces is not taken from the budget.
        Close it (``contextlib.aclosing``) when you do not read it to its end: it holds one of the slots.
        """
        request = self._request(task, messages, budget_seconds, max_tokens, temperature)
        request.body |= {"stream_options": {"include_usage": True}, **(sampling or {})}
        request.thinking = thinking
        with self._counted(task):
            begun = False
            while True:
                try:
                    async with self._slot(request), contextlib.aclosing(self._pieces(request)) as pieces:
                        async for piece in pieces:
                            begun = True
                            left = request.deadline.left
                            yield piece
                            request.deadline = Deadline(left)
                    return
                except ServerError as error:
                    failure = error
                if begun:
                    raise llm_error(failure)
                await self._prepare_retry(request, failure)

    async def _ask(self, request: _Request) -> Answer:
        while True:
            try:
                async with self._slot(request):
                    return await self._send(request)
            except ServerError as error:
                failure = error
            await self._prepare_retry(request, failure)

    async def _prepare_retry(self, request: _Request, failure: ServerError) -> None:
        """Change the request, or wait for the backoff. Raises LLMError when another try would not help."""
        if failure.status in NOT_UNDERSTOOD:
            complaint, unsupported = failure.complaint, request.unsupported
            less = self._capabilities.without_refused(request.body, unsupported, complaint)
            if less is not None:
                request.unsupported = less
                return
        if not failure.retriable or request.retries >= self._max_retries or self._client.closed:
            raise llm_error(failure)
        delay = failure.delay(request.retries)
        # Waiting longer than the budget, or for a breaker that will say no, would only cost the caller time.
        if delay >= request.deadline.left or self.breaker.seconds_left > delay:
            raise llm_error(failure)
        log.info(
            "a call of the language model failed; it is repeated",
            action="llm.retry",
            task=request.task,
            kind=failure.kind,
            status=failure.status,
            delay_seconds=round(delay, 3),
        )
        await asyncio.sleep(delay)
        self.counters.retries += 1
        request.retries += 1

    async def _send(self, request: _Request) -> Answer:
        """One request, without retries."""
        body = self._capabilities.adapt(request.body, request.unsupported)
        with self.breaker.call() as call, self._judged(call):
            async with asyncio.timeout(request.deadline.left):
                read = await self._client.chat(body)
            shows = request.thinking == "show"
            answer = read_answer(read, needs_text=request.needs_text, shows_thinking=shows)
            call.succeeded()
        if request.needs_text and "response_format" not in request.body:  # in JSON mode many do not think
            self._habits.learn(answer.parted)
        self._capabilities.learn(request.unsupported)
        self._count(request, answer)
        return answer

    async def _pieces(self, request: _Request) -> AsyncGenerator[str, None]:
        """One streamed request, without retries."""
        body = self._capabilities.adapt(request.body, request.unsupported)
        texts: list[str] = []
        tokens: Tokens | None = None
        finish, ended = "", False
        thinking = ThinkingFilter(holds=self._habits.holds(request.thinking))
        with self.breaker.call() as call, self._judged(call):
            try:
                async with contextlib.aclosing(self._client.stream_chat(body)) as chunks:
                    while True:
                        # No time limit may be around a yield: it would cancel the reader.
                        async with asyncio.timeout(request.deadline.left):
                            chunk = await anext(chunks, None)
                        if chunk is None:
                            break
                        if chunk is END:
                            ended = True
                            continue
                        piece = read_piece(chunk)
                        tokens, finish = piece.tokens or tokens, piece.finish or finish
                        if piece.text:
                            texts.append(piece.text)
                            said = thinking.feed(piece.text)
                            if said := piece.text if request.thinking == "show" else said:
                                yield said
                if not finish and not ended:
                    broken = f"{self._endpoint.address} ended the answer in the middle."
                    raise ServerError(broken, kind="unreachable")
                check_empty(thinking.parted.said, finish)
                self._habits.learn(thinking.parted)
                if (rest := thinking.end()) and request.thinking != "show":
                    yield rest
            except GeneratorExit:
                if texts:  # nobody wants the rest, but there was an answer
                    call.succeeded()
                raise
            finally:
                if texts:
                    self._count(request, Answer("".join(texts), tokens, finish))
            call.succeeded()
        self._capabilities.learn(request.unsupported)

    @contextlib.contextmanager
    def _judged(self, call: Call) -> Iterator[None]:
        """Tell the circuit breaker what the failure of a request says about the server."""
        self.counters.requests += 1
        started = time.monotonic()
        try:
            yield
            return
        except TimeoutError:
            waited = time.monotonic() - started
        except ServerError as error:
            if error.kind == "refused":
                call.succeeded()
            elif error.kind != "closed":
                call.failed(error.reason)
            raise
        except LLMError:  # the server works; the model said nothing
            call.succeeded()
            raise
        finally:
            self.counters.latency_seconds += time.monotonic() - started
        advice = "(see MEMSCHED_LLM_BUDGET_SECONDS)"
        timeout = LLMTimeout(f"{self._endpoint.address} was given {waited:.1f} s {advice}.")
        # A task with little time (reranking) shall not have the model left alone by those with more.
        if waited >= self.budget_seconds / 2:
            call.failed(timeout.reason)
        raise timeout

    @contextlib.asynccontextmanager
    async def _slot(self, request: _Request) -> AsyncIterator[None]:
        """One of llm_concurrency calls at once. Raises LLMUnavailable at once while the circuit breaker is open."""
        if self._client.closed:
            raise LLMUnavailable("This client was closed.", kind="closed")
        self.breaker.check()
        try:
            async with asyncio.timeout(request.deadline.left):
                await self._slots.acquire()
        except TimeoutError:
            waiting = "All places were taken (MEMSCHED_LLM_CONCURRENCY) for all of the time budget."
            raise LLMTimeout(waiting) from None
        try:
            if request.deadline.passed:
                raise LLMTimeout("The time budget was used up before the model could be asked.")
            yield
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def _counted(self, task: str) -> Iterator[None]:
        self.counters.calls[task] += 1
        try:
            yield
        except LLMError as error:
            self.counters.failures[error.kind] += 1
            raise

    def _count(self, request: _Request, answer: Answer) -> None:
        self.counters.truncated += answer.finish == TRUNCATED
        tokens = answer.tokens or Tokens(request.prompt_tokens, estimate_tokens(answer.text))
        self.counters.used_tokens(tokens.input, tokens.output, cached=tokens.cached, estimated=answer.tokens is None)

    def _request(
        self, task: str, messages: Sequence[Message], budget: float | None, max_tokens: int | None, temperature: float
    ) -> _Request:
        body: dict[str, Any] = {"model": self.model, "messages": _plain(messages), "temperature": temperature}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        body |= self._extra_body
        deadline = Deadline(self.budget_seconds if budget is None else budget)
        return _Request(task, body, deadline, self._capabilities.unsupported)


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Half of a surrogate pair, which strangers may send, cannot be encoded."""
    return [
        {"role": message["role"], "content": message["content"].encode(errors="replace").decode()}
        for message in messages
    ]
