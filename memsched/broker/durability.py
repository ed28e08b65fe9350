"""Whether a server keeps what it accepted: its eviction policy, and what it writes to disk."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from memsched.broker.client import Server
from memsched.errors import ServerRefused, SettingsError, UnreachableError
from memsched.logs import get_logger

log = get_logger(__name__)

_EVERY_SECONDS = 15.0


class Durability:
    """What a worker looks at before it begins, and again now and then: the server may be another one by then.

    A server that evicts any key drops accepted messages without a word, when its memory is full. One that evicts keys
    with an expiry time only may forget early what has finished: a message that is submitted again then runs again.
    """

    def __init__(self, server: Server, *, allow_eviction: bool) -> None:
        self._server = server
        self._allow_eviction = allow_eviction
        self._told = ""

    async def check(self) -> None:
        """Before a worker begins. Raises SettingsError where accepted messages may be dropped."""
        policy = await self._policy()
        if policy.startswith("allkeys") and not self._allow_eviction:
            raise SettingsError(
                [
                    f"The server at MEMSCHED_REDIS_URL drops accepted messages when its memory is full "
                    f"(maxmemory-policy {policy}): set its maxmemory-policy to noeviction, or "
                    f"MEMSCHED_ALLOW_EVICTION=true to take the risk."
                ]
            )
        self._tell(policy)
        await self._tell_of_disk()

    async def watch(self) -> None:
        """While a worker runs. It goes on, for what is there is best worked off, but it says so."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            with suppress(UnreachableError):
                await self.look_again()

    async def look_again(self) -> None:
        self._tell(await self._policy())

    async def _policy(self) -> str:
        """The policy of the first node that may evict; empty when none does, or none says."""
        try:
            nodes = await self._server.info("memory")
        except ServerRefused as error:
            if not self._told:
                self._told = "unknown"
                log.info(
                    "the server does not tell its eviction policy; it must be noeviction",
                    action="server.eviction_unknown",
                    error=str(error),
                )
            return ""
        evicting = [
            node.get("maxmemory_policy", "")
            for node in nodes
            if node.get("maxmemory", "0") != "0" and node.get("maxmemory_policy", "noeviction") != "noeviction"
        ]
        return min(evicting, default="")  # allkeys-... before volatile-...

    def _tell(self, policy: str) -> None:
        if policy == self._told:
            return
        self._told = policy or self._told
        if policy.startswith("allkeys"):
            log.error(
                "the server drops accepted messages when its memory is full; set its maxmemory-policy to noeviction",
                action="server.evicts",
                policy=policy,
            )
        elif policy:
            log.warning(
                "the server may forget early what has finished, and then run it again when it is submitted again; set "
                "its maxmemory-policy to noeviction",
                action="server.evicts",
                policy=policy,
            )

    async def _tell_of_disk(self) -> None:
        try:
            nodes = await self._server.info("persistence")
        except (ServerRefused, UnreachableError):
            return
        if any(node.get("aof_enabled") == "0" for node in nodes):
            log.info(
                "the server writes no append-only file: when it ends, what came after its last snapshot is lost",
                action="server.not_durable",
            )
