"""Whoever asks: who they are here, and which cubes they may use."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from memsched.service.bodies import Body, Text, UserId, an_example
from memsched.service.callers import Caller
from memsched.service.state import Here
from memsched.service.views import CubeView, View

router = APIRouter(prefix="/v1/users", tags=["users"])


class Self(View):
    """A user and the cubes that they may use."""

    user_id: str = Field(examples=["ada"])
    cubes: list[CubeView]


@router.get("/me", summary="Who am I here, and which cubes may I use?")
async def get_self(here: Here, caller: Caller, user_id: Annotated[UserId | None, Query()] = None) -> Self:
    """The user of the key, or whom it acts for."""
    found = await here.mos.get_user_info(caller.user(user_id))
    return Self(user_id=found["user_id"], cubes=[CubeView.model_validate(each) for each in found["accessible_cubes"]])


class Named(Body):
    """What people call the user."""

    model_config = an_example(user_id="ada", name="Ada")

    name: Text = Field(min_length=1, max_length=200)
    user_id: UserId | None = None


@router.put("/me", summary="Say what people call the user", operation_id="name_self")
async def name_self(here: Here, caller: Caller, body: Named) -> Self:
    """And make them known, so that others can share cubes with them."""
    user = caller.user(body.user_id)
    await here.mos.create_user(user, body.name)
    return await get_self(here, caller, user)
