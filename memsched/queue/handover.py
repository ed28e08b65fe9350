"""Handover: what a worker held that was seen to die is claimable at once, not after its visibility timeout."""

from __future__ import annotations

from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.queue.lanes import known_lanes
from memsched.queue.leases import Leases
from memsched.queue.workers import WorkerRegistry
from memsched.settings import Settings


async def hand_over(server: Server, keys: Keys, settings: Settings, worker_id: str) -> int:
    """Declare a worker dead and hand its messages over; returns how many. Only for who knows that its process is gone.

    Raises ServerUnreachable.
    """

    async def attempt() -> int:
        await WorkerRegistry(server, keys, settings.worker_ttl_seconds).declare_dead(worker_id)
        leases = Leases(keys, worker_id)
        lanes = await known_lanes(server, keys)
        replies = await server.run([leases.handover(lane) for lane in lanes]) if lanes else []
        return sum(reply for reply in replies if isinstance(reply, int))

    return await server.persistently(attempt)
