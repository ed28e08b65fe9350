"""One client of an OpenAI-compatible chat server: a time budget, few calls at once, repetition, a circuit breaker."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

import structlog
from pydantic import BaseModel

from memsched.llm.capabilities import Dialect
from memsched.llm.circuit_breaker import Breaker, Trial
from memsched.llm.errors import LLMError, LLMTimeout, LLMUnavailable
from memsched.llm.metrics import Counters, estimate_tokens
from memsched.llm.openai_client import openai_client
from memsched.llm.prompts import ASK_FOR_JSON, Message, second_try
from memsched.llm.responses import TRUNCATED, Answer, empty, read_answer, read_piece
from memsched.llm.server_errors import NOT_UNDERSTOOD, Failure, Failures, Verdict, rubbish
from memsched.llm.structured_output import Misfit, fitted
from memsched.settings import Settings

__all__ = ["LLM", "Message", "estimate_tokens"]

log = structlog.get_logger(__name__)
Schema = TypeVar("Schema", bound=BaseModel)

_BACKOFF_SECONDS = 0.25
_BACKOFF_CAP_SECONDS = 8.0


class _Request:
    """What one call asks, in OpenAI's words, and when it must be over (loop.time())."""

    def __init__(self, task: str, deadline: float, body: dict[str, Any]) -> None:
        self.task = task
        self.deadline = deadline
        self.body = body

    @property
    def remaining(self) -> float:
        return self.deadline - asyncio.get_running_loop().time()

    @property
    def prompt_tokens(self) -> int:
        return estimate_tokens("".join(message["content"] for message in self.body["messages"]))


class LLM:
    """A language model. Every method raises LLMError, and nothing else, when the model is of no use.

    budget_seconds (default: llm_budget_seconds) covers all of a call: waiting for a free place, repetitions, and the
    second try after an answer that does not fit. For one event loop. clock: seconds, monotonic, for the breaker.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._client = openai_client(settings)
        # Where the library imports the rest of itself: not within the first call's time.
        self._completions = self._client.chat.completions
        self._slots = asyncio.Semaphore(settings.llm_concurrency)
        self._failures = Failures(settings)
        self._dialect = Dialect()
        self._closed = False
        self.model = settings.llm_model
        self.budget_seconds = settings.llm_budget_seconds
        self.breaker = Breaker(settings.llm_breaker_failures, settings.llm_breaker_seconds, clock)
        self.counters = Counters(settings.llm_input_price, settings.llm_output_price)

    @classmethod
    def from_settings(cls, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Self | None:
        """None when no model is configured. Raises SettingsError. Takes most of a second: call it at the start."""
        return cls(settings, clock=clock) if settings.llm_model else None

    async def aclose(self) -> None:
        """Calls that are running end with LLMUnavailable, and so do later ones."""
        self._closed = True
        await self._client.close()

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        budget_seconds: float | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        task: str = "complete",
    ) -> str:
        """The model's answer: text that is not empty. task: for the counters, from a small fixed set."""
        request = self._request(task, messages, budget_seconds, max_tokens, temperature)
        with self._counted(task):
            return (await self._ask(request)).text

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
        """The model's answer as an object of ``schema``; the prompt says what the JSON should look like.

        One that does not fit is shown to the model with what is wrong, once. Raises LLMRubbish when the next does not
        fit either.
        """
        messages = list(prompt_messages)
        if not any("json" in message["content"].lower() for message in messages):
            # OpenAI refuses to be in JSON mode when no message speaks of JSON.
            messages.append({"role": "system", "content": ASK_FOR_JSON})
        request = self._request(task, messages, budget_seconds, max_tokens, temperature)
        request.body["response_format"] = {"type": "json_object"}
        with self._counted(task):
            answer = await self._ask(request)
            first = fitted(answer.text, schema)
            if not isinstance(first, Misfit):
                return first
            log.info(
                "the language model's answer does not fit; it is asked again",
                action="llm.misfit",
                task=task,
                problem=first.problem,
            )
            if request.remaining <= 0:
                raise first.error()
            request.body["messages"] += _plain(second_try(answer.text, first.problem))
            self.counters.retries += 1
            second = fitted((await self._ask(request)).text, schema)
            if isinstance(second, Misfit):
                raise second.error()
            return second

    async def stream(
        self,
        messages: Sequence[Message],
        *,
        budget_seconds: float | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        task: str = "stream",
    ) -> AsyncGenerator[str, None]:
        """The model's answer in pieces. An error after the first piece means that the answer broke off.

        The reader's own time between two pieces is not taken from the budget.
        Close it (``contextlib.aclosing``) when you do not read it to its end: it holds one of the places.
        """
        request = self._request(task, messages, budget_seconds, max_tokens, temperature)
        request.body |= {"stream": True, "stream_options": {"include_usage": True}}
        loop = asyncio.get_running_loop()
        with self._counted(task):
            begun = False
            without, repeated = self._dialect.without, 0
            while True:
                failure: Failure | None = None
                async with self._place(request):
                    with self.breaker.trial() as trial:
                        pieces = self._pieces(request, without, trial)
                        async with contextlib.aclosing(pieces):
                            async for piece in pieces:
                                if isinstance(piece, Failure):
                                    failure = piece
                                    break
                                begun = True
                                given_at = loop.time()
                                yield piece
                                request.deadline += loop.time() - given_at
                if failure is None:
                    return
                if begun:
                    raise failure.error
                without, repeated = await self._before_next(request, failure, without, repeated)

    async def _ask(self, request: _Request) -> Answer:
        without, repeated = self._dialect.without, 0
        while True:
            async with self._place(request):
                with self.breaker.trial() as trial:
                    outcome = await self._send(request, without)
                    self._judge(trial, outcome)
            if isinstance(outcome, Answer):
                self._dialect.learn(without)
                self._count(request, outcome)
                return outcome
            without, repeated = await self._before_next(request, outcome, without, repeated)

    async def _before_next(
        self, request: _Request, failure: Failure, without: frozenset[str], repeated: int
    ) -> tuple[frozenset[str], int]:
        """What to leave out of the next request, and how many repetitions that makes; after a wait.

        Raises the failure's error when another request would not help.
        """
        if failure.status in NOT_UNDERSTOOD:
            sent = self._dialect.apply(request.body, without)
            if (less := self._dialect.next_without(sent, without, failure.complaint)) is not None:
                return less, repeated
        if not failure.repeat or repeated >= self._settings.llm_max_retries or self._closed:
            raise failure.error
        delay = failure.retry_after
        if delay is None:
            cap = min(_BACKOFF_CAP_SECONDS, _BACKOFF_SECONDS * 2**repeated)
            delay = random.uniform(cap / 2, cap)
        # Waiting longer than the budget, or for a breaker that will say no, would only cost the caller time.
        if delay >= request.remaining or self.breaker.seconds_left > delay:
            raise failure.error
        log.info(
            "a call of the language model failed; it is repeated",
            action="llm.retry",
            task=request.task,
            kind=failure.error.kind,
            status=failure.status,
            delay_seconds=round(delay, 3),
        )
        await asyncio.sleep(delay)
        self.counters.retries += 1
        return without, repeated + 1

    async def _send(self, request: _Request, without: frozenset[str]) -> Answer | Failure:
        """One request. What goes wrong is returned: an exception would carry the library's, with all it knows."""
        from openai import OpenAIError

        started = asyncio.get_running_loop().time()
        self.counters.requests += 1
        try:
            async with asyncio.timeout_at(request.deadline):
                response = await self._completions.with_raw_response.create(
                    **self._dialect.apply(request.body, without)
                )
        except TimeoutError:
            return self._timeout(started)
        except OpenAIError as error:
            return self._failures.of(error)
        except RuntimeError:
            return self._closing()
        finally:
            self.counters.latency_seconds += asyncio.get_running_loop().time() - started
        return read_answer(response.http_response.content)

    async def _pieces(
        self, request: _Request, without: frozenset[str], trial: Trial
    ) -> AsyncGenerator[str | Failure, None]:
        """One streamed request; a failure is its last piece."""
        loop = asyncio.get_running_loop()
        started, texts, tokens, finish = loop.time(), [], None, ""
        self.counters.requests += 1
        failure: Failure | None = None
        try:
            chunks = self._chunks(request, without, started)
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    if isinstance(chunk, Failure):
                        failure = chunk
                        break
                    piece = read_piece(chunk)
                    if isinstance(piece, Failure):
                        failure = piece
                        break
                    tokens, finish = piece.tokens or tokens, piece.finish or finish
                    if piece.text:
                        texts.append(piece.text)
                        yield piece.text
            if failure is None and not finish:
                broken = LLMUnavailable(f"{self._failures.address} ended the answer in the middle.")
                failure = Failure(broken, Verdict.FAILED, repeat=True)
            if failure is None and not "".join(texts).strip():
                failure = empty(finish)
        except GeneratorExit:
            if texts:  # nobody wants the rest, but there was an answer
                trial.succeeded()
            raise
        finally:
            self.counters.latency_seconds += loop.time() - started
            if texts:
                self._count(request, Answer("".join(texts), tokens, finish))
        outcome = failure or Answer("".join(texts), tokens, finish)
        self._judge(trial, outcome)
        if failure is not None:
            yield failure
        else:
            self._dialect.learn(without)

    async def _chunks(self, request: _Request, without: frozenset[str], started: float) -> AsyncGenerator[Any, None]:
        """The stream as the library gives it. No time limit may be around a yield: it would cancel the reader."""
        from openai import OpenAIError

        stream: Any = None
        try:
            async with asyncio.timeout_at(request.deadline):
                stream = await self._completions.create(**self._dialect.apply(request.body, without))
            chunks = aiter(stream)
            while True:
                async with asyncio.timeout_at(request.deadline):
                    chunk = await anext(chunks)
                yield chunk
        except StopAsyncIteration:
            return
        except TimeoutError:
            yield self._timeout(started)
        except OpenAIError as error:
            yield self._failures.of(error)
        except RuntimeError:
            yield self._closing()
        except ValueError:  # a line that is no JSON
            yield rubbish("The server did not stream a chat completion. Check MEMSCHED_LLM_BASE_URL.")
        finally:
            if stream is not None:
                await stream.close()

    def _closing(self) -> Failure:
        """The library's client says that it was closed; any other RuntimeError is passed on."""
        if not self._closed:
            raise  # noqa: PLE0704 (called while one is handled)
        return Failure(LLMUnavailable("This client was closed.", kind="closed"), Verdict.NOTHING)

    def _timeout(self, started: float) -> Failure:
        waited = asyncio.get_running_loop().time() - started
        # A task with little time (reranking) shall not have the model left alone by those with more.
        fair = waited >= self.budget_seconds / 2
        return Failure(
            LLMTimeout(f"{self._failures.address} was given {waited:.1f} s (see MEMSCHED_LLM_BUDGET_SECONDS)."),
            Verdict.FAILED if fair else Verdict.NOTHING,
        )

    @contextlib.asynccontextmanager
    async def _place(self, request: _Request) -> AsyncIterator[None]:
        """One of llm_concurrency places. Raises LLMUnavailable at once while the model is left alone."""
        if self._closed:
            raise LLMUnavailable("This client was closed.", kind="closed")
        self.breaker.check()
        try:
            async with asyncio.timeout_at(request.deadline):
                await self._slots.acquire()
        except TimeoutError:
            waiting = "All places were taken (MEMSCHED_LLM_CONCURRENCY) for all of the time budget."
            raise LLMTimeout(waiting) from None
        try:
            if request.remaining <= 0:
                raise LLMTimeout("The time budget was used up before the model could be asked.")
            yield
        finally:
            self._slots.release()

    @staticmethod
    def _judge(trial: Trial, outcome: Answer | Failure) -> None:
        if isinstance(outcome, Answer) or outcome.verdict is Verdict.ALIVE:
            trial.succeeded()
        elif outcome.verdict is Verdict.FAILED:
            trial.failed(str(outcome.error))

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
        tokens = answer.tokens or (request.prompt_tokens, estimate_tokens(answer.text))
        self.counters.used_tokens(*tokens, estimated=answer.tokens is None)

    def _request(
        self, task: str, messages: Sequence[Message], budget: float | None, max_tokens: int | None, temperature: float
    ) -> _Request:
        seconds = self.budget_seconds if budget is None else budget
        body: dict[str, Any] = {
            "model": self.model,
            "messages": _plain(messages),
            "temperature": temperature,
        }
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        return _Request(task, asyncio.get_running_loop().time() + seconds, body)


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Half of a surrogate pair, which strangers may send, cannot be encoded."""
    return [
        {"role": message["role"], "content": message["content"].encode(errors="replace").decode()}
        for message in messages
    ]
