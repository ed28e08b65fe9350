"""Whoever asks: who they are here, and which cubes they may use."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from memsched.service.bodies import UserId
from memsched.service.callers import Caller
from memsched.service.state import Here

router = APIRouter(prefix="/v1/users", tags=["users"])


class CubeOfUser(BaseModel):
    """A cube as a user sees it."""

    cube_id: str = Field(description="The user's name of it.", examples=["default"])
    owner_id: str = Field(examples=["ada"])
    permission: Literal["read", "write"] = Field(examples=["write"])


class Self(BaseModel):
    """A user and the cubes that they may use."""

    user_id: str = Field(examples=["ada"])
    cubes: list[CubeOfUser]


@router.get("/me", summary="Who am I here, and which cubes may I use?")
async def get_self(here: Here, caller: Caller, user_id: Annotated[UserId | None, Query()] = None) -> Self:
    """The user of the key, or whom it acts for."""
    found = await here.mos.get_user_info(caller.user(user_id))
    return Self(user_id=found["user_id"], cubes=found["accessible_cubes"])
