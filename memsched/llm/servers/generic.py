"""Any server that speaks OpenAI's language: nothing is sent that such a server need not know."""

from __future__ import annotations

from memsched.llm.servers.base import Dialect


class Generic(Dialect):
    """It is warmed as one that finds the longest prefix; whether that helps, the ladder learns."""
