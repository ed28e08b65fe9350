"""What a model's server has of a cube's prompts, as callers see it, and why it has no more."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from memsched.messages import UtcTime

_STEPS = {
    "mark": "by one request that says where the head ends",
    "once": "by one request",
    "twice": "by two requests with different endings",
    "thrice": "by three requests with different endings",
    "off": "not at all, since nothing of what it was sent was found by chats; it is tried again a day after that",
}


class ActivationStatus(BaseModel):
    """The head of a cube's prompts (salt, instructions, block), and the server that shall hold it.

    Attributes:
        server, model: "" where no language model is configured.
        kind: of server, as it is set or as it answered (MEMSCHED_LLM_SERVER).
        proof: where this kind of server says what it had.
        step, step_since: how it is warmed, and since when.
        found_at: when a chat, of any cube, found its head in the cache.
        warms: whether the server is sent heads unasked (MEMSCHED_ACTIVATION_WARM).
        memories: in the block.
        tokens: of the head, estimated.
        least_tokens: shorter prompts are not cached by this server.
        sent_at: when the server was sent this head; None: it was not, or is expected to have forgotten it.
        server_tokens: of the head, as the server counted them; 0 if it did not.
        cached: of them, what it said that it had before; None: it did not say.
    """

    model_config = ConfigDict(frozen=True)

    server: str = ""
    model: str = ""
    kind: str = ""
    proof: str = ""
    step: str = ""
    step_since: UtcTime | None = None
    found_at: UtcTime | None = None
    warms: bool = False
    memories: int = 0
    tokens: int = 0
    least_tokens: int = 0
    sent_at: UtcTime | None = None
    server_tokens: int = 0
    cached: int | None = None

    @property
    def too_short(self) -> bool:
        """Whether this server would cache nothing of it, however it is sent."""
        return self.tokens < self.least_tokens

    @property
    def said(self) -> list[str]:
        """All of it in sentences."""
        return list(self._sentences())

    def _sentences(self) -> Iterator[str]:
        if not self.model:
            yield "No language model is configured: nothing is sent anywhere."
            return
        yield f"{self.model} at {self.server}, a server of the kind {self.kind} (MEMSCHED_LLM_SERVER)."
        yield f"The head of the prompts has about {self.tokens} tokens; {self.memories} memories are in its block."
        if self.too_short:
            yield f"It is too short to be cached by this server, which begins at {self.least_tokens} tokens."
            return
        since = f" since {self.step_since:%Y-%m-%d %H:%M} UTC" if self.step_since else ""
        yield f"The server is warmed {_STEPS[self.step]}{since} (step {self.step})."
        if not self.warms:
            yield "It is not sent anything unasked (MEMSCHED_ACTIVATION_WARM): chats warm it."
        if not self.memories:
            yield "There is no block to be sent yet."
        elif self.sent_at is None:
            yield "It does not have this head, as far as is known."
        else:
            tokens = f", {self.server_tokens} tokens" if self.server_tokens else ""
            yield f"It was sent this head at {self.sent_at:%Y-%m-%d %H:%M:%S} UTC{tokens}."
            had = "it did not say" if self.cached is None else f"{self.cached} tokens"
            yield f"What it had of it before: {had} ({self.proof})."
        if self.found_at:
            yield f"A chat found its head in the cache at {self.found_at:%Y-%m-%d %H:%M:%S} UTC."
        else:
            yield "No chat found its head in the cache yet, or the server does not say so."
