"""The client of a language model: deadline, concurrency limit, retries, circuit breaker, structured output."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from memsched.counting import counted
from memsched.deadline import Deadline
from memsched.lexicon import estimate_tokens
from memsched.llm.capabilities import Capabilities
from memsched.llm.circuit_breaker import Call, CircuitBreaker
from memsched.llm.endpoint import Purpose
from memsched.llm.errors import LLMError, LLMInvalidAnswer, LLMRefused, LLMTimeout, LLMUnavailable, llm_error
from memsched.llm.kind import Kind
from memsched.llm.local import LocalServer
from memsched.llm.metrics import Counters
from memsched.llm.prompts import ASK_FOR_JSON, Message, salted, second_try
from memsched.llm.request import Habits, Request, configured, plain
from memsched.llm.responses import END, TRUNCATED, Answer, Tokens, check_empty, read_answer, read_piece
from memsched.llm.server_errors import NOT_UNDERSTOOD, ServerError
from memsched.llm.servers.base import OF_ADAPTERS, CacheHint, Caching, Dialect, warm_ups
from memsched.llm.structured_output import parse_json
from memsched.logs import get_logger
from memsched.redaction import Secrets, asked, redacted_model
from memsched.settings import Settings
from memsched.thinking import Thinking, ThinkingFilter

log = get_logger(__name__)
Schema = TypeVar("Schema", bound=BaseModel)


_LOOK_SECONDS = 5.0
_MODELS_SHOWN = 20


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

        self._endpoint, self._extra_body, headers = configured(settings, purpose)
        self.model = self._endpoint.model
        self.budget_seconds = settings.llm_budget_seconds
        self.breaker = CircuitBreaker(settings.llm_breaker_failures, settings.llm_breaker_seconds, clock)
        self.counters = Counters(settings.llm_input_price, settings.llm_output_price)
        self._local = LocalServer.of(settings, purpose)
        self._client = OpenAIClient(self._endpoint, headers, self._local)
        same = purpose == "llm" or settings.reader_base_url in ("", settings.llm_base_url)
        self._kind = Kind(settings.llm_server if same else "generic", self._endpoint, self._client.beside, clock)
        self._slots = asyncio.Semaphore(settings.llm_concurrency)
        self._max_retries = settings.llm_max_retries
        self._capabilities = Capabilities()
        self._secrets: Secrets = settings.secrets
        self._habits = Habits()

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
    def place(self) -> str:
        """Server and model: of these it is learnt how their cache is warmed."""
        return f"{self._endpoint.address} {self.model}"

    @property
    def address(self) -> str:
        """The server's, as it may be shown."""
        return self._endpoint.address

    @property
    def known_dialect(self) -> Dialect:
        """The same as ``dialect``, as far as it is known without asking."""
        return self._kind.now

    @property
    def build(self) -> str:
        """Of a server of our own, which does not say it itself; else empty."""
        return self._local.build if self._local is not None else ""

    async def dialect(self) -> Dialect:
        """What kind of server it is. It is asked once; one that does not answer counts as any, and is asked again."""
        return await self._kind.dialect()

    async def manage(self, method: str, path: str, body: Any = None) -> Any:
        """What its server answers to a call beside its ``/v1``: adapters are loaded so. Raises ServerError."""
        return await self._client.manage(method, path, body)

    @property
    def own_server(self) -> LocalServer | None:
        """Its server, if it is one of our own."""
        return self._local

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
        caching: Caching | None = None,
    ) -> str:
        """Return the model's answer: text that is not empty.

        Args:
            task: for the counters, from a small fixed set.
            sampling: more of the request: ``top_p`` and the like.
            caching: what of the request the server shall keep; it is written there what the server said of that.
        """
        request = self._request(task, messages, budget_seconds, max_tokens, temperature)
        request.body |= sampling or {}
        request.thinking = thinking
        await self._cache(request, caching)
        with self._counted(task):
            return (await self._ask(request)).text

    async def warm(self, caching: Caching) -> None:
        """Have the server read the head of a prompt in the way in which it keeps it, so that its prefix cache holds it.

        One token is asked for, and thrown away. It is not repeated when it fails: a chat warms the cache as well.
        """
        asked = self._request("warm", [], None, 1, 0.0)
        asked.body["max_tokens"] = 1
        asked.needs_text, asked.retries = False, self._max_retries
        for messages in warm_ups(caching.hint, caching.step):
            request = replace(asked, body={**asked.body, "messages": messages})
            await self._cache(request, caching)
            with self._counted("warm"):
                await self._ask(request)

    async def _cache(self, request: Request, caching: Caching | None) -> None:
        """Have a request say what of it the server shall keep."""
        if caching is not None:
            request.dialect, request.caching = await self.dialect(), caching
            if caching.hint.adapter is not None:
                self._capabilities.forget(OF_ADAPTERS)
            request.unsupported = self._capabilities.unsupported

    async def _shaped(self, request: Request) -> CacheHint | None:
        """Write what is sent now, and return how the adapter in it is called now, by a server that may begin anew."""
        request.sent, hint = request.body, None
        if request.dialect is not None and request.caching is not None:
            hint = await self._addressed(request.caching.hint, request.dialect)
            request.sent = request.dialect.shape(request.body, hint, request.caching.step)
            request.optional = request.dialect.optional(hint)
        return hint

    async def _addressed(self, hint: CacheHint, dialect: Dialect) -> CacheHint:
        """With what the server calls the adapter. Raises LLMRefused if it does not have it, ServerError if it is away.

        Of no use for longer than a try: llama.cpp's server gives other numbers when it begins anew.
        """
        if hint.adapter is None:
            return hint
        try:
            called = await dialect.called(hint.adapter, self.manage)
        except ServerError as error:
            if error.retriable:
                raise
            raise llm_error(error) from None
        if called is None:
            raise LLMRefused(f"{self._endpoint.address} does not have the adapter {hint.adapter}.")
        return replace(hint, adapter=called)

    async def _check_adapter(self, request: Request, sent: CacheHint | None) -> None:
        """Raises ServerError when the server began anew since, so that another adapter may have answered."""
        if sent is None or request.dialect is None or request.caching is None:
            return
        named = request.caching.hint
        if sent.adapter != named.adapter and await self._addressed(named, request.dialect) != sent:
            reason = f"{self._endpoint.address} began anew with other adapters during the call."
            raise ServerError(reason, kind="unreachable")

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

        What follows the system's message is in nobody else's prefix cache: a salt stands before it.

        One that does not fit is shown to the model with what is wrong, once. Raises LLMInvalidAnswer when the next does
        not fit either. Secrets in it are masked, or its texts with secrets empty: what it says is kept.
        """
        messages = salted(prompt_messages)
        if not any("json" in message["content"].lower() for message in messages):
            # OpenAI refuses to be in JSON mode when no message speaks of JSON.
            messages.append({"role": "system", "content": ASK_FOR_JSON})
        request = self._request(task, messages, budget_seconds, max_tokens, temperature)
        request.body["response_format"] = {"type": "json_object"}
        with self._counted(task):
            answer = await self._ask(request)
            try:
                return redacted_model(parse_json(answer.text, schema), self._secrets)
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
            request.body["messages"] += plain(second_try(asked(answer.text, self._secrets), misfit.reason))
            request.retries = 0
            self.counters.retries += 1
            return redacted_model(parse_json((await self._ask(request)).text, schema), self._secrets)

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
        caching: Caching | None = None,
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
        await self._cache(request, caching)
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

    async def _ask(self, request: Request) -> Answer:
        while True:
            try:
                async with self._slot(request):
                    return await self._send(request)
            except ServerError as error:
                failure = error
            await self._prepare_retry(request, failure)

    async def _prepare_retry(self, request: Request, failure: ServerError) -> None:
        """Change the request, or wait for the backoff. Raises LLMError when another try would not help."""
        if failure.status in NOT_UNDERSTOOD:
            complaint, unsupported = failure.complaint, request.unsupported
            less = self._capabilities.without_refused(request.sent, unsupported, complaint, request.optional)
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

    async def _send(self, request: Request) -> Answer:
        """One request, without retries."""
        with self.breaker.call() as call, self._judged(call):
            async with asyncio.timeout(request.deadline.left):
                hint = await self._shaped(request)
                read = await self._client.chat(self._capabilities.adapt(request.sent, request.unsupported))
                await self._check_adapter(request, hint)
            shows, is_json = request.thinking == "show", "response_format" in request.body
            answer = read_answer(read, needs_text=request.needs_text, shows_thinking=shows, is_json=is_json)
            call.succeeded()
        if request.needs_text and not is_json:  # in JSON mode many do not think
            self._habits.learn(answer.parted)
        self._capabilities.learn(request.unsupported)
        self._count(request, answer)
        return answer

    async def _pieces(self, request: Request) -> AsyncGenerator[str, None]:
        """One streamed request, without retries."""
        texts: list[str] = []
        tokens: Tokens | None = None
        told: dict[str, Any] = {}
        finish, ended = "", False
        thinking = ThinkingFilter(holds=self._habits.holds(request.thinking))
        with self.breaker.call() as call, self._judged(call):
            try:
                async with asyncio.timeout(request.deadline.left):
                    hint = await self._shaped(request)
                body = self._capabilities.adapt(request.sent, request.unsupported)
                async with contextlib.aclosing(self._client.stream_chat(body)) as chunks:
                    while True:
                        # No time limit may be around a yield: it would cancel the reader.
                        async with asyncio.timeout(request.deadline.left):
                            chunk = await anext(chunks, None)
                            await self._check_adapter(request, hint)
                            hint = None  # once: beginning anew later breaks the stream off
                        if chunk is None:
                            break
                        if chunk is END:
                            ended = True
                            continue
                        piece = read_piece(chunk)
                        tokens, finish = piece.tokens or tokens, piece.finish or finish
                        told |= piece.told
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
                    self._count(request, Answer("".join(texts), tokens, finish, told=told))
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
            seconds = time.monotonic() - started
            self.counters.latency_seconds += seconds
            counted.observe("model_seconds", seconds)
        advice = "(see MEMSCHED_LLM_BUDGET_SECONDS)"
        timeout = LLMTimeout(f"{self._endpoint.address} was given {waited:.1f} s {advice}.")
        # A task with little time (reranking) shall not have the model left alone by those with more.
        if waited >= self.budget_seconds / 2:
            call.failed(timeout.reason)
        raise timeout

    @contextlib.asynccontextmanager
    async def _slot(self, request: Request) -> AsyncIterator[None]:
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
        outcome = "error"
        try:
            yield
            outcome = "done"
        except LLMError as error:
            self.counters.failures[error.kind] += 1
            outcome = error.kind
            raise
        finally:
            counted[f"model:{task}:{outcome}"] += 1

    def _count(self, request: Request, answer: Answer) -> None:
        self.counters.truncated += answer.finish == TRUNCATED
        tokens = answer.tokens or Tokens(request.prompt_tokens, estimate_tokens(answer.text))
        use = self._kind.now.evidence(answer.told)
        if request.caching is not None:
            request.caching.use = use
            request.caching.prompt_tokens = answer.tokens.input if answer.tokens else None
        self.counters.used_tokens(tokens.input, tokens.output, cached=use.cached, estimated=answer.tokens is None)

    def _request(
        self, task: str, messages: Sequence[Message], budget: float | None, max_tokens: int | None, temperature: float
    ) -> Request:
        body: dict[str, Any] = {"model": self.model, "messages": plain(messages), "temperature": temperature}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        alone = self._kind.now.plain()
        body = {**alone, **body, **self._extra_body}
        deadline = Deadline(self.budget_seconds if budget is None else budget)
        return Request(task, body, deadline, self._capabilities.unsupported, optional=[*alone])
