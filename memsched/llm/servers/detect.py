"""Which dialect a server speaks: by what it answers where only one kind of server answers, or by its host's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from memsched.llm.server_errors import ServerError
from memsched.llm.servers import DIALECTS
from memsched.llm.servers.base import Dialect

Get = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""What a server answers to GET of a path beside its ``/v1``, if it is a JSON object; None: something else.

Raises ServerError when the server cannot be reached, or answers nothing now (5xx).
"""

_HOSTS: Mapping[str, str] = {
    "api.openai.com": "openai",
    "openai.azure.com": "openai",
    "api.deepseek.com": "deepseek",
    "openrouter.ai": "gateway",
}
_ASKED: Sequence[tuple[str, str, str]] = (
    ("/props", "default_generation_settings", "llama_cpp"),
    ("/get_model_info", "model_path", "sglang"),
    ("/api/version", "version", "ollama"),
    ("/version", "version", "vllm"),
)
"""A path, what its answer has, and whose it is: others answer ``/version`` too, so it comes last."""


async def detect(url: str, get: Get) -> Dialect:
    """The dialect of the server at a base URL. Raises ServerError when it does not answer at all.

    A service that is known by its name is not asked.
    """
    host = urlsplit(url).hostname or ""
    for known, name in _HOSTS.items():
        if host == known or host.endswith(f".{known}"):
            return DIALECTS[name]
    failure: ServerError | None = None
    for path, field, name in _ASKED:
        try:
            answer = await get(path)
        except ServerError as error:
            if not error.status:
                raise
            failure = error
            continue
        if answer is not None and field in answer:
            return DIALECTS[name]
    if failure is not None:  # it may be loading its model, and say later what it is
        raise failure
    return DIALECTS["generic"]
