"""Keys for browsers: an ``app`` key makes short-lived ones of its users' own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from memsched.memory.access.api_keys import MINTED_LONGEST
from memsched.service.bodies import WHOLE, Body, Text, UserId, an_example
from memsched.service.callers import Caller
from memsched.service.state import Here
from memsched.service.views import View

router = APIRouter(prefix="/v1/keys", tags=["users"])


class NewKey(Body):
    """Whose key it is, and for how long."""

    model_config = an_example(user_id="ada", ttl_seconds=3600)

    user_id: UserId
    ttl_seconds: Annotated[int, Field(ge=1, le=int(MINTED_LONGEST.total_seconds())), WHOLE] = 3600
    reading_as: list[Text] | None = Field(
        default=None, max_length=64, description="Some of the app key's roles in the access policy; none given: all."
    )


class Minted(View):
    """A key, which is never shown again."""

    token: str
    key_id: str
    user_id: str
    expires_at: datetime


@router.post("", status_code=201, summary="Make a short-lived key of a user's own", operation_id="mint_key")
async def mint_key(here: Here, caller: Caller, body: NewKey) -> Minted:
    """For a browser, say: with an `app` key, for a user that it acts for. It ends with the key that made it."""
    token, made = await here.api_keys.mint(caller, body.user_id, body.ttl_seconds, reading_as=body.reading_as)
    assert made.expires_at is not None
    return Minted(token=token, key_id=made.key_id, user_id=made.user_id, expires_at=made.expires_at)
