"""What is found, what is near, what it is about, and why."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from memsched.memory.search.arguments import SearchArgs, SearchResult
from memsched.messages import MEM_FEEDBACK_TASK_LABEL, ScheduleMessageItem
from memsched.mos.mos import MOST_CUBES_SEARCHED
from memsched.service.bodies import (
    Body,
    CubeName,
    JsonObject,
    MemoryId,
    Moment,
    Said,
    SessionId,
    Tag,
    Text,
    TopK,
    UserId,
    an_example,
)
from memsched.service.callers import Caller, Traceparent
from memsched.service.routes.prompt import NearMemory, Role, Task
from memsched.service.state import Here, Service
from memsched.service.views import MemoryView, View
from memsched.service.writes import AfterWrite, IdempotencyKey, item_id_for
from memsched.tiers.explanation import Explanation

router = APIRouter(prefix="/v1", tags=["search"])

MOST_OF_A_QUERY = 10_000
"""Characters: a longer one holds up others."""
OfUser = Annotated[UserId | None, Query()]
OfCube = Annotated[CubeName | None, Query()]


class SearchRequest(Body):
    """What somebody looks for, and what it must be."""

    model_config = an_example(query="Where is the boat?", user_id="ada", top_k=5)

    query: Text = Field(max_length=MOST_OF_A_QUERY)
    user_id: UserId | None = None
    cubes: list[CubeName] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_CUBES_SEARCHED,
        description="Where to look; all that the user may read if it is not said.",
    )
    top_k: TopK | None = Field(default=None, description="Of each cube at most so many.")
    method: Literal["hybrid", "dense", "lexical"] | None = None
    filter: JsonObject | None = Field(
        default=None, description="What the metadata and fields must be: docs/http.md#filters."
    )
    kind: list[Literal["turn", "fact", "preference", "event"]] = Field(default=[], max_length=4)
    tags: list[Tag] = Field(default=[], max_length=64, description="At least one of them.")
    speaker: list[Text] = Field(default=[], max_length=64)
    session_id: list[SessionId] = Field(default=[], max_length=64)
    since: Moment | None = Field(default=None, description="Said then or later.")
    until: Moment | None = Field(default=None, description="Said before.")
    at: Moment | None = Field(default=None, description="As of when: what was said later is left out.")
    min_score: float | None = Field(default=None, ge=0, le=1)
    include_archived: bool = False
    explain: bool = Field(default=False, description="Say which words found each.")

    def conditions(self) -> SearchArgs:
        """As the library has them. Raises InvalidSearch."""
        names = ("filter", "kind", "tags", "speaker", "session_id", "since", "until", "at", "min_score")
        given = {name: value for name in names if (value := getattr(self, name))}
        return SearchArgs.of({**given, "include_archived": self.include_archived, "explain": self.explain})


class FoundWordView(View):
    """A word by which a memory was found."""

    word: str
    points: float
    memory_id: str
    ahead: int


class Found(View):
    """A memory that was found."""

    memory: MemoryView
    cube: str
    owner_id: str
    score: float = Field(description="How probable it is that it answers the question, 0 to 1.")
    points: float = Field(description="What it is ranked by, within one search.")
    parts: dict[str, float]
    asked: str = Field(description="The question that it is a short answer to, if it is one.")
    found_by: list[FoundWordView]

    @classmethod
    def of(cls, result: SearchResult, cube: str, owner_id: str) -> Found:
        """What of a result is told."""
        return cls(
            memory=MemoryView.of(result.item),
            cube=cube,
            owner_id=owner_id,
            score=result.score,
            points=result.points,
            parts=result.parts,
            asked=result.asked,
            found_by=[
                FoundWordView(word=each.word, points=each.points, memory_id=each.memory_id, ahead=each.ahead)
                for each in result.found_by
            ],
        )


class SearchAnswer(View):
    """Cube by cube, the best first."""

    results: list[Found]


@router.post("/search", summary="Find memories", operation_id="search_memories")
async def search_memories(here: Here, caller: Caller, body: SearchRequest, _after: AfterWrite = None) -> SearchAnswer:
    """By their words, the words around them, who said it, when, and the embedding model."""
    found = await here.mos.search(
        body.query,
        caller.user(body.user_id),
        body.cubes,
        body.top_k,
        method=body.method,
        search_args=body.conditions(),
    )
    results = [
        Found.of(each, cube["cube_id"], cube["owner_id"]) for cube in found["text_mem"] for each in cube["memories"]
    ]
    return SearchAnswer(results=results)


class WorkingSetAnswer(View):
    """Best first."""

    memories: list[NearMemory]


@router.get("/working-set", summary="What the next question will probably need", operation_id="get_working_set")
async def get_working_set(
    here: Here,
    caller: Caller,
    _after: AfterWrite = None,
    user_id: OfUser = None,
    cube: OfCube = None,
    session_id: Annotated[SessionId | None, Query()] = None,
    role: Annotated[Role | None, Query()] = None,
    task: Annotated[Task | None, Query()] = None,
) -> WorkingSetAnswer:
    """Of a cube, for a role or a task of all cubes that have something bound to it."""
    user = caller.user(user_id)
    name = cube or await here.mos.cube_meant(user)
    near = await here.mos.working_set(name, user, session_id, role=role, task=task)
    held = frozenset((await here.mos.activation(name, user)).memory_ids)
    return WorkingSetAnswer(memories=[NearMemory.of(each, held) for each in near])


class ThemeView(View):
    """What some memories of a cube are about."""

    id: str
    label: str
    terms: list[str]
    heat: float = Field(description="How much of it was told and used of late, in memories.")
    state: Literal["activated", "plaintext", "archived"]
    memory_ids: list[str]


@router.get("/themes", summary="What a cube is about", operation_id="get_themes")
async def get_themes(
    here: Here, caller: Caller, _after: AfterWrite = None, user_id: OfUser = None, cube: OfCube = None
) -> list[ThemeView]:
    """The hottest first."""
    return [
        ThemeView(
            id=each.theme_id,
            label=each.label,
            terms=each.terms,
            heat=each.heat,
            state=each.state,
            memory_ids=each.memory_ids,
        )
        for each in await here.mos.themes(cube, caller.user(user_id))
    ]


@router.get("/explain", summary="What stands where, and why", operation_id="explain")
async def explain(
    here: Here,
    caller: Caller,
    memory_id: Annotated[MemoryId | None, Query()] = None,
    user_id: OfUser = None,
    cube: OfCube = None,
) -> Explanation:
    """Of a cube; and of one memory where it is, what its value is made of, and what would make it move."""
    return await here.mos.explain(memory_id, cube, caller.user(user_id))


class Began(Body):
    """A conversation that begins."""

    model_config = an_example(user_id="ada", session_id="monday")

    user_id: UserId | None = None
    cube: CubeName | None = None
    session_id: SessionId | None = None


@router.post("/preload", status_code=202, summary="A conversation begins", operation_id="preload")
async def preload(here: Here, caller: Caller, body: Began) -> None:
    """What it will need is brought near."""
    await here.mos.preload(body.cube, caller.user(body.user_id), body.session_id)


class Typed(Began):
    """What somebody has typed so far."""

    model_config = an_example(user_id="ada", text="Where is the b")

    text: Text = Field(max_length=20_000)


@router.post("/typing", status_code=202, summary="Somebody is typing a question", operation_id="typing")
async def typing(here: Here, caller: Caller, body: Typed) -> None:
    """What it will need is brought near; nothing of it is kept, and nobody else sees it."""
    await here.mos.predict(body.text, body.cube, caller.user(body.user_id), body.session_id)


class FeedbackRequest(Began):
    """What somebody says about what is remembered."""

    model_config = an_example(user_id="ada", text="No, the boat is in Flensburg.")

    text: Said = Field(min_length=1, max_length=10_000)
    memory_id: MemoryId | None = Field(default=None, description="Which memory is meant, if that is known.")


class FeedbackAnswer(View):
    """The task that does it."""

    item_id: str
    outcome: str = Field(examples=["queued"])


@router.post("/feedback", status_code=202, summary="Correct what is remembered", operation_id="give_feedback")
async def give_feedback(
    here: Here,
    caller: Caller,
    body: FeedbackRequest,
    traceparent: Traceparent,
    idempotency_key: IdempotencyKey = None,
) -> FeedbackAnswer:
    """The memory that it corrects is found by what it says, unless it is named."""
    user = caller.user(body.user_id)
    async with item_id_for(here, user, "feedback", idempotency_key, body) as item_id:
        named: dict[str, Any] = {"item_id": item_id} if item_id else {}
        message = ScheduleMessageItem(
            user_id=user,
            mem_cube_id=await _cube_for(here, user, body),
            label=MEM_FEEDBACK_TASK_LABEL,
            content=body.text,
            session_id=body.session_id,
            trace_id=traceparent,
            info={"memory_id": body.memory_id} if body.memory_id else None,
            **named,
        )
        (result,) = await here.scheduler.submit_messages(message)
    return FeedbackAnswer(item_id=result.item_id, outcome=result.outcome)


async def _cube_for(here: Service, user: str, body: FeedbackRequest) -> str:
    """The cube that the user may write to. Raises CubeForbidden, UnknownMemory."""
    if body.memory_id is not None:
        return (await here.mos.writable(body.cube or await here.mos.cube_of(body.memory_id, user), user)).name
    return (await here.mos.writable(body.cube, user)).name
