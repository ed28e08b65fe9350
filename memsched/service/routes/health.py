"""Probes: is the process there, and can it serve? They need no key and say nothing about anybody."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from memsched.logs import get_logger
from memsched.service.state import Here, Service

log = get_logger(__name__)

router = APIRouter(tags=["probes"])

_PATIENCE_SECONDS = 2.0


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether requests can be served, and by what they cannot."""

    ready: bool = Field(examples=[True])
    queue: Literal["ok", "away"] = Field(description="The server of the queue.", examples=["ok"])
    memory: Literal["ok", "away", "off"] = Field(description="The vector store.", examples=["ok"])
    workers: int = Field(description="Workers that live. Without any, nothing is remembered.", examples=[1])


@router.get("/healthz", summary="Is the process there?")
async def healthz() -> Health:
    """For a liveness probe: it asks nothing of any server."""
    return Health()


@router.get(
    "/readyz",
    summary="Can it serve?",
    responses={503: {"model": Readiness, "description": "Not now: a server is away."}},
)
async def readyz(here: Here, response: Response) -> Readiness:
    """For a readiness probe: asks the servers, for two seconds at most."""
    workers, memory = await asyncio.gather(_workers(here), _memory(here))
    ready = workers is not None and memory != "away"
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, queue="away" if workers is None else "ok", memory=memory, workers=workers or 0)


async def _workers(here: Service) -> int | None:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return sum(worker.alive for worker in (await here.scheduler.read_status()).workers)
    except Exception as error:  # noqa: BLE001  whatever it is, it cannot serve
        log.warning(
            "the queue's server gave no answer", action="http.queue_away", error=str(error) or type(error).__name__
        )
        return None


async def _memory(here: Service) -> Literal["ok", "away", "off"]:
    if not here.settings.memory:
        return "off"
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await (await here.scheduler.memory()).store.in_use(for_sure=True)
    except Exception as error:  # noqa: BLE001  whatever it is, memory cannot be asked
        log.warning(
            "the vector store gave no answer", action="http.memory_away", error=str(error) or type(error).__name__
        )
        return "away"
    return "ok"
