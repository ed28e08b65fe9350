"""The dialects of model servers by name: how each is asked to keep a prompt's beginning, and what it tells of that."""

from __future__ import annotations

from collections.abc import Mapping

from memsched.llm.servers.base import CacheHint, CacheUse, Caching, Dialect, Step
from memsched.llm.servers.deepseek import DeepSeek
from memsched.llm.servers.gateway import Gateway
from memsched.llm.servers.generic import Generic
from memsched.llm.servers.llama_cpp import LlamaCpp
from memsched.llm.servers.ollama import Ollama
from memsched.llm.servers.openai import OpenAI
from memsched.llm.servers.sglang import Sglang
from memsched.llm.servers.vllm import Vllm

__all__ = ["DIALECTS", "CacheHint", "CacheUse", "Caching", "Dialect", "Step"]

DIALECTS: Mapping[str, Dialect] = {
    each.name: each for each in (Generic(), LlamaCpp(), Vllm(), Sglang(), OpenAI(), DeepSeek(), Ollama(), Gateway())
}
