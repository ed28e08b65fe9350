"""Who says "I" in another's cube, and that nobody is called as a role of others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.messages import message

from memsched.errors import InvalidMessage
from memsched.handlers.services import MemoryServices
from memsched.memory.access.permissions import CubeRef
from memsched.mos.mos import AsyncMOS


@pytest.mark.parametrize(
    ("user_id", "name", "speaker"),
    [
        ("bob", "Bob", "Bob"),
        ("bob", "", "bob"),
        ("bob", "Assistant", "bob"),
        ("system", "", "user system"),
    ],
)
async def test_a_guest_never_speaks_as_a_role(user_id: str, name: str, speaker: str) -> None:
    async def name_of(_: str) -> str:
        return name

    services = cast(Any, SimpleNamespace(cubes=SimpleNamespace(name_of=name_of)))

    said = message("I have asthma.", user_id=user_id)
    assert await MemoryServices.speaker(services, CubeRef("alice", "home"), said) == speaker


async def test_no_user_is_made_known_by_the_name_of_a_role() -> None:
    with pytest.raises(InvalidMessage, match="user_name is 'Assistant', which is a role"):
        await AsyncMOS.create_user(cast(Any, None), "una", "Assistant")
