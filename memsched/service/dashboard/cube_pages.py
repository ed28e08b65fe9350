"""Pages of cubes: what stands in which tier and why, what moves, the prompt as it would be sent, and what is found.

The address of a cube is ``/cubes/{user}/{cube}``, both percent-encoded: ids may hold anything, also a slash.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import unquote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from memsched.errors import CubeForbidden, UnknownCube
from memsched.memory.access.api_keys import Principal
from memsched.memory.search.arguments import SearchResult
from memsched.memory.store.errors import StoreUnavailable
from memsched.messages import ScheduleLogForWebItem
from memsched.service.bodies import CubeName, MemoryId, Text, UserId
from memsched.service.callers import Caller
from memsched.service.dashboard.cube_view import PLACES, Part, look_of, parts_of, prompt_look
from memsched.service.dashboard.frames import PATIENCE_SECONDS, Produce
from memsched.service.dashboard.pages import first_frame, form_of, page_router, render, see
from memsched.service.dashboard.rendering import fragment, path_of, query_of
from memsched.service.problems import Problem, not_found
from memsched.service.routes.search import MOST_OF_A_QUERY
from memsched.service.state import Here, Service

router: APIRouter = page_router()

_EVENTS = 40
_OF_A_TIER = 12
"""Memories that are shown of a tier that may hold thousands."""
_FOUND = 8
_CUBES = 50
_USERS = 200
_LOOK_AGAIN_SECONDS = 10.0
"""A frame is made anew after so long, also when nothing has happened: rights change without an event."""
_STORE_PATIENCE_SECONDS = PATIENCE_SECONDS - 0.5
Asked = Annotated[Text | None, Query(max_length=MOST_OF_A_QUERY)]


@router.get("/cubes", name="get_cubes")
async def get_cubes(
    request: Request, here: Here, caller: Caller, user_id: Annotated[UserId | None, Query()] = None
) -> Response:
    """The cubes of a user, and what others share with them; and whose cubes there are, for who operates all of it."""
    caller.require_may("memory")
    who = caller.user(user_id) if user_id or caller.user_id else None
    cubes, invitations = [], []
    if who is not None:
        cubes = (await here.mos.get_user_info(who))["accessible_cubes"]
        invitations = await here.mos.list_invitations(who)
    names = [each["cube_id"] for each in cubes[:_CUBES]]
    last = dict(zip(names, await asyncio.gather(*(_last_event(here, who or "", name) for name in names)), strict=True))
    users = await here.mos.list_users() if caller.may("operate") and not cubes else []
    return render(
        request,
        "cubes.html",
        who=who,
        cubes=cubes,
        invitations=invitations,
        last=last,
        users=users[:_USERS],
        all_users=len(users),
    )


async def _last_event(here: Service, who: str, cube: str) -> ScheduleLogForWebItem | None:
    found = await here.scheduler.cube_events(who, cube, limit=1)
    return found[0] if found else None


@router.get("/cubes/{at:path}", name="get_cube")
async def get_cube(
    request: Request,
    here: Here,
    caller: Caller,
    memory: Annotated[MemoryId | None, Query()] = None,
    q: Asked = None,
    archived: Annotated[bool, Query()] = False,
) -> Response:
    """A cube, live; and for a question the prompt and what is found. With ``memory``, one of its memories."""
    user, cube = _named_in(request)
    who = caller.user(user)
    may_write = await _may_write(here, who, cube)
    if memory is not None:
        return await _memory_page(request, here, memory, who, cube, may_write)
    explained = await here.mos.explain(None, cube, who)
    asked = (q or "").strip()
    prompt = await here.mos.prompt(asked or None, cube, who, search="auto" if asked else "never")
    return render(
        request,
        "cube.html",
        who=who,
        cube=cube,
        may_write=may_write,
        live=await first_frame(_live(here, who, cube, may_write)),
        frames=f"/ui/frames/cube{query_of(user_id=who, cube=cube)}",
        asked=asked,
        archived=archived,
        prompt=prompt_look(prompt, asked, explained.block_before),
        explained=explained,
        results=await _found(here, who, cube, asked, archived) if asked else [],
    )


async def _found(
    here: Service, who: str, cube: str, asked: str, archived: bool
) -> list[tuple[SearchResult, list[Part]]]:
    """What a search finds, each with the bars of its score's parts."""
    args = {"include_archived": archived, "explain": True}
    found = await here.mos.search(asked, who, [cube], _FOUND, search_args=args)
    results: list[SearchResult] = [each for part in found["text_mem"] for each in part["memories"]]
    best = max((each.points for each in results), default=0.0)
    names = list(dict.fromkeys(name for each in results for name in each.parts))
    return [(each, parts_of(each.parts, names, best)) for each in results]


async def _memory_page(
    request: Request, here: Service, memory_id: str, who: str, cube: str, may_write: bool
) -> Response:
    explained = await here.mos.explain(memory_id, cube, who)
    history = await here.mos.history(memory_id, cube, who)
    found = explained.memory
    assert found is not None
    names = list(found.by_mode)
    return render(
        request,
        "memory.html",
        places=PLACES,
        who=who,
        cube=cube,
        may_write=may_write,
        memory=found,
        in_block=memory_id in explained.block,
        parts=parts_of(found.by_mode, names, found.value),
        history=history,
    )


@router.get("/ui/frames/cube", name="get_cube_frames")
async def get_cube_frames(
    here: Here, caller: Caller, user_id: Annotated[UserId, Query()], cube: Annotated[CubeName, Query()]
) -> Response:
    """The same, whenever something happened in it."""
    who = caller.user(user_id)
    await (await here.scheduler.memory()).reading(who, cube)
    may_write = await _may_write(here, who, cube)
    return here.frames.stream(caller, "cube", who, cube, may_write, produce=_live(here, who, cube, may_write))


def _live(here: Service, who: str, cube: str, may_write: bool) -> Produce:
    """The tiers, the themes and what happened: made anew when something has."""
    frame, seen, until = "", "", 0.0

    async def produce() -> str:
        nonlocal frame, seen, until
        try:
            last = await _last_event(here, who, cube)
            newest = last.item_id if last else "nothing"
            if newest == seen and time.monotonic() < until:
                return frame
            events = await here.scheduler.cube_events(who, cube, _EVENTS)
            async with asyncio.timeout(_STORE_PATIENCE_SECONDS):
                explained = await here.mos.explain(None, cube, who)
                put_away = {"include_archived": True, "filter": {"@status": "archived"}}
                warm = await here.mos.list_memories(cube, who, limit=_OF_A_TIER + len(explained.working_set))
                archived = await here.mos.list_memories(cube, who, limit=_OF_A_TIER, conditions=put_away)
        except TimeoutError:  # the queue's server has just answered
            raise StoreUnavailable(here.settings.qdrant_url or "", "it takes too long") from None
        except (CubeForbidden, UnknownCube):
            return fragment("cube_over.html")
        look = look_of(explained, warm.memories, archived.memories, events)
        frame = fragment("cube_live.html", look=look, who=who, cube=cube, may_write=may_write, most=_OF_A_TIER)
        seen, until = newest, time.monotonic() + _LOOK_AGAIN_SECONDS
        return frame

    return produce


def _named_in(request: Request) -> tuple[str, str]:
    """Whose cube, and their name of it. Raises what 404 is made of."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    parts = [unquote(each) for each in raw.decode("ascii", "replace").partition("?")[0].split("/")[2:]]
    user, cube = parts[0], "/".join(parts[1:])  # a proxy may have decoded the slash of a cube that another shares
    if not (user and cube):
        raise not_found()
    return user, cube


async def _may_write(here: Service, who: str, cube: str) -> bool:
    cubes = (await here.mos.get_user_info(who))["accessible_cubes"]
    return any(each["cube_id"] == cube and each["permission"] == "write" for each in cubes)


# -- by hand -----------------------------------------------------------------------------------------------------------

ByHand = Callable[[str, str, str], Awaitable[object]]


@router.post("/ui/cubes/pin", name="post_pin")
async def post_pin(request: Request, here: Here, caller: Caller) -> Response:
    """Keep a memory near."""
    return await _by_hand(request, caller, here.mos.pin)


@router.post("/ui/cubes/unpin", name="post_unpin")
async def post_unpin(request: Request, here: Here, caller: Caller) -> Response:
    """Let it come and go."""
    return await _by_hand(request, caller, here.mos.unpin)


@router.post("/ui/cubes/archive", name="post_archive")
async def post_archive(request: Request, here: Here, caller: Caller) -> Response:
    """Put it away."""
    return await _by_hand(request, caller, here.mos.archive)


@router.post("/ui/cubes/restore", name="post_restore")
async def post_restore(request: Request, here: Here, caller: Caller) -> Response:
    """Bring it back."""
    return await _by_hand(request, caller, here.mos.restore)


@router.post("/ui/cubes/delete", name="post_delete")
async def post_delete(request: Request, here: Here, caller: Caller) -> Response:
    """Delete it for good: at once and everywhere."""
    return await _by_hand(request, caller, here.mos.delete, stays=False)


async def _by_hand(request: Request, caller: Principal, change: ByHand, *, stays: bool = True) -> Response:
    """Do something with the memory that a form names.

    Args:
        stays: whether the memory is still there afterwards.
    """
    form = await form_of(request)
    user, cube, memory_id = (form.get(name, "") for name in ("user_id", "cube", "memory_id"))
    if not (user and cube and memory_id):
        raise Problem(422, "A form of a cube's page names user_id, cube and memory_id.", kind="InvalidRequest")
    await change(memory_id, cube, caller.user(user))
    if request.headers.get("hx-request"):
        return Response(status_code=204)  # the next frame shows it
    at_memory = query_of(memory=memory_id) if stays and form.get("back") == "memory" else ""
    return see(path_of("cubes", user, cube) + at_memory)
