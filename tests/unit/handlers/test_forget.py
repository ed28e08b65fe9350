"""What a batch's turns ask to forget."""

from __future__ import annotations

from typing import Any, cast

from support.memories import conversation

from memsched.handlers.forget import requests_among
from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.turns import turns_of


async def test_the_turns_of_a_message_that_is_twice_in_a_batch_are_there_once() -> None:
    talk = conversation(("Alice", "We got a puppy."), ("Alice", "It is called Rex."), item_id="talk")
    turns = {talk.item_id: turns_of(talk)}

    nothing = cast(Any, None)  # asked only where something is to be forgotten
    requests, others = await requests_among(nothing, CubeRef("alice", "home"), [talk, talk, talk], turns)

    assert (requests, others) == ([], turns)
