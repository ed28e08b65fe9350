"""What cubes have of parameter memory, in Redis: it changes by compare-and-set, so no two processes undo each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.broker.scripting import Command, as_texts, script
from memsched.errors import MemschedError
from memsched.memory.access.permissions import CubeRef
from memsched.parameters.record import Adapter, AdapterState, ParameterState, Serving

_COMMIT = script("commit_adapters", "parameters")
_ATTEMPTS = 20
_OF_AN_ADAPTER = "adapter:"
_FORGOTTEN_KEPT = 20
"""Of the adapters that were revoked or refused and have left nothing, the newest are still listed."""


class AdaptersContested(MemschedError):
    """Other processes changed the cube's adapters again and again meanwhile. Nothing was written."""


class ParameterStates:
    """The adapters of all cubes, and which of them serve."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._keys = keys

    async def load(self, ref: CubeRef) -> ParameterState:
        reply = await self._server.persistently(lambda: self._server.execute("HGETALL", self._key(ref)))
        return _read(reply)

    async def cubes(self) -> list[CubeRef]:
        """The cubes that ever had an adapter."""
        found = await self._server.persistently(lambda: self._server.execute("SMEMBERS", self._keys.adapted))
        return [CubeRef.of_tenant(each) for each in sorted(as_texts(list(found or ())))]

    def serving_command(self, ref: CubeRef) -> Command[Serving]:
        """To be sent alone or in a pipeline: which adapter the cube's chats name."""

        def parse(reply: Any) -> Serving:
            return Serving.model_validate_json(reply) if reply else Serving()

        return Command(("HGET", self._key(ref), "serving"), parse)

    async def serving(self, ref: CubeRef) -> Serving:
        return await self._server.persistently(lambda: self._server.call(self.serving_command(ref)))

    async def change(
        self, ref: CubeRef, compute: Callable[[ParameterState], ParameterState]
    ) -> tuple[ParameterState, ParameterState]:
        """Load, compute, and write if nobody wrote meanwhile, else again. Returns what was and what is.

        Raises AdaptersContested after 20 attempts.
        """
        for _ in range(_ATTEMPTS):
            before = await self.load(ref)
            after = _pruned(compute(before))
            if after == before:
                return before, before
            if after.adapters and not before.adapters:  # first of all: whoever looks for what is left finds the cube
                await self._server.persistently(lambda: self._server.execute("SADD", self._keys.adapted, ref.tenant))
            fields, gone = _difference(before, after)
            command = _COMMIT.command([self._key(ref)], [str(before.version), len(gone), *gone, *fields], as_texts)
            outcome, version = await self._server.persistently(lambda command=command: self._server.call(command))  # type: ignore[misc]
            if outcome == "written":
                return before, after.model_copy(update={"version": int(version)})
        raise AdaptersContested

    def _key(self, ref: CubeRef) -> str:
        return self._keys.cube(ref.user_id, ref.mem_cube_id).adapters


def _read(reply: Any) -> ParameterState:
    flat = [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply or []
    texts = as_texts(flat)
    fields = dict(zip(texts[::2], texts[1::2], strict=True))
    adapters = [Adapter.model_validate_json(text) for name, text in fields.items() if name.startswith(_OF_AN_ADAPTER)]
    return ParameterState(
        version=int(fields.get("version", 0)),
        adapters={each.adapter_id: each for each in sorted(adapters, key=lambda each: each.created_at)},
        serving=Serving.model_validate_json(fields.get("serving", "{}")),
        consents=json.loads(fields.get("consents", "{}")),
    )


def _difference(before: ParameterState, after: ParameterState) -> tuple[list[str], list[str]]:
    """The fields and values that changed, and the fields that go."""
    fields: list[str] = []
    for name, each in after.adapters.items():
        if before.adapters.get(name) != each:
            fields += (f"{_OF_AN_ADAPTER}{name}", each.model_dump_json(exclude_defaults=True))
    if before.serving != after.serving:
        fields += ("serving", after.serving.model_dump_json(exclude_defaults=True))
    if before.consents != after.consents:
        fields += ("consents", json.dumps(after.consents))
    return fields, [f"{_OF_AN_ADAPTER}{name}" for name in before.adapters.keys() - after.adapters.keys()]


def _pruned(state: ParameterState) -> ParameterState:
    over = (AdapterState.REVOKED, AdapterState.REFUSED)
    left = [name for name, each in state.adapters.items() if each.state in over and not each.files]
    gone = set(left[:-_FORGOTTEN_KEPT])
    return state.model_copy(
        update={"adapters": {name: each for name, each in state.adapters.items() if name not in gone}}
    )
