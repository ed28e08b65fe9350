"""Cubes, who shares which with whom, and the deletion of all that one holds."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from memsched.errors import UnknownCube
from memsched.service.bodies import Body, CubeName, Tag, UserId, an_example
from memsched.service.callers import Caller
from memsched.service.problems import MEDIA_TYPE, at_parameter, not_found
from memsched.service.state import Here, Service
from memsched.service.views import CubeView, View

router = APIRouter(prefix="/v1", tags=["cubes"])

OfUser = Annotated[UserId | None, Query()]
Which = Annotated[CubeName, Path()]


class NewCube(Body):
    """A cube of the user's own."""

    model_config = an_example(user_id="ada", name="work")

    name: CubeName
    user_id: UserId | None = None
    tags: list[Tag] | None = Field(default=None, max_length=64, description="What it is, for an access policy.")


@router.get("/cubes", summary="The cubes that a user may use", operation_id="list_cubes")
async def list_cubes(here: Here, caller: Caller, user_id: OfUser = None) -> list[CubeView]:
    """Their own, and those of others that they accepted."""
    return await _cubes_of(here, caller.user(user_id))


@router.post("/cubes", status_code=201, summary="Make a cube", operation_id="create_cube")
async def create_cube(here: Here, caller: Caller, body: NewCube) -> CubeView:
    """Making it again changes nothing but its tags."""
    user = caller.user(body.user_id)
    name = await here.mos.create_cube_for_user(body.name, user)
    if body.tags is not None:
        await here.mos.tag_cube(name, body.tags, user)
    return CubeView(cube_id=name, owner_id=user, permission="write")


class Share(Body):
    """With whom a cube is shared."""

    model_config = an_example(with_user="bob", permission="read")

    with_user: UserId
    permission: Literal["read", "write"] = "read"


class Grant(View):
    """A share, as its owner sees it."""

    user_id: str
    cube_id: str = Field(description="What the other user calls it, once they accept it.")
    permission: Literal["read", "write"]
    accepted: bool


@router.post("/cubes/{name:path}/shares", status_code=201, summary="Share a cube", operation_id="share_cube")
async def share_cube(here: Here, caller: Caller, name: Which, body: Share, user_id: OfUser = None) -> Grant:
    """The other user is invited, and has it once they accept; sharing it again changes the permission."""
    grant = await here.mos.share_cube_with_user(name, body.with_user, body.permission, caller.user(user_id))
    return Grant(user_id=grant.user_id, cube_id=grant.name, permission=grant.permission.value, accepted=grant.accepted)


@router.delete(
    "/cubes/{name:path}/shares/{with_user:path}", status_code=204, summary="End a share", operation_id="revoke_cube"
)
async def revoke_cube(
    here: Here, caller: Caller, name: Which, with_user: Annotated[UserId, Path()], user_id: OfUser = None
) -> None:
    """From the other user's next request on."""
    if not await here.mos.revoke_cube_from_user(name, with_user, caller.user(user_id)):
        raise not_found()


class Deleted(View):
    """How many memories there were."""

    deleted: int


@router.delete(
    "/cubes/{name:path}/memories",
    summary="Delete all memories of a cube for good",
    operation_id="delete_cube_memories",
    responses={
        409: {
            "description": "`confirm` names another cube; nothing was deleted.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
)
async def delete_cube_memories(
    here: Here,
    caller: Caller,
    name: Which,
    confirm: Annotated[CubeName, Query(description="The cube's name once more.")],
    user_id: OfUser = None,
) -> Deleted:
    """At once and everywhere. Only its owner may; the cube stays, and is empty."""
    if confirm != name:
        raise at_parameter("confirm: it names another cube; say this cube's name.", "confirm", "query", 409)
    user = caller.user(user_id)
    if not any(each.cube_id == name and each.owner_id == user for each in await _cubes_of(here, user)):
        raise UnknownCube(user, name)
    return Deleted(deleted=await here.mos.delete_all(name, user))


@router.get("/invitations", summary="What others share", operation_id="list_invitations")
async def list_invitations(here: Here, caller: Caller, user_id: OfUser = None) -> list[CubeView]:
    """And the user has not answered yet."""
    return [CubeView.model_validate(each) for each in await here.mos.list_invitations(caller.user(user_id))]


@router.post(
    "/invitations/{name:path}/accept", summary="Take a cube that another shares", operation_id="accept_invitation"
)
async def accept_invitation(here: Here, caller: Caller, name: Which, user_id: OfUser = None) -> CubeView:
    """From now on it is searched, and may be used."""
    user = caller.user(user_id)
    taken = await here.mos.accept_cube(name, user)
    return next(each for each in await _cubes_of(here, user) if each.cube_id == taken)


@router.post(
    "/invitations/{name:path}/decline",
    status_code=204,
    summary="Refuse a cube that another shares, or leave it",
    operation_id="decline_invitation",
)
async def decline_invitation(here: Here, caller: Caller, name: Which, user_id: OfUser = None) -> None:
    """The owner may share it again."""
    if not await here.mos.decline_cube(name, caller.user(user_id)):
        raise not_found()


async def _cubes_of(here: Service, user: str) -> list[CubeView]:
    found = await here.mos.get_user_info(user)
    return [CubeView.model_validate(each) for each in found["accessible_cubes"]]
