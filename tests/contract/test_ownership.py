"""One owner: every script that changes something about a message checks in the same script whose it is.

Two workers stand here without any process: two names that read, claim and report through the real scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from support.deliveries import contents
from support.messages import LABEL, message, messages

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import GROUP, Keys
from memsched.broker.scripting import as_texts
from memsched.messages import ScheduleMessageItem
from memsched.queue.delayed import promote
from memsched.queue.delivery import Delivery, read_streams
from memsched.queue.follow_ups import FollowUp
from memsched.queue.lanes import ensure_groups, register_lanes
from memsched.queue.leases import Begin, Claim, Holder, Leases
from memsched.queue.outbox import Batch
from memsched.queue.outcomes import NOT_STAGED, GiveUp, Outcomes, Retry
from memsched.queue.status import count_unfinished, read_status, task_status
from memsched.queue.submit import Producer
from memsched.task_status import TaskState
from memsched.worker.outbox import Outbox

MIN_IDLE_MS = 60_000
EFFECT = "effect"


class Actor:
    """What one worker does, step by step."""

    def __init__(self, server: Server, keys: Keys, name: str) -> None:
        self.server = server
        self.lane = keys.lane(LABEL, "", "")
        self.name = name
        self.leases = Leases(keys, name)
        self.outcomes = Outcomes(keys, name, 60, 64)

    async def read(self, count: int = 100) -> list[Delivery]:
        reply = await self.server.execute(*self.leases.read([self.lane], count))
        pairs = reply.items() if isinstance(reply, dict) else reply or ()
        found = read_streams(pairs, {self.lane.stream.encode(): self.lane})
        assert all(isinstance(one, Delivery) for one in found)
        return [one for one in found if isinstance(one, Delivery)]

    async def look(
        self, most: int = 100, min_idle_ms: int = MIN_IDLE_MS, watched: Sequence[Holder] = (), dead: Sequence[str] = ()
    ) -> Claim:
        return await self.server.call(self.leases.claim(self.lane, min_idle_ms, most, watched=watched, dead=dead))

    async def claim(self, most: int = 100, **given: Any) -> list[Delivery]:
        found = await self.look(most, **given)
        return [one for one in found.taken if isinstance(one, Delivery)]

    async def dies(self) -> None:
        """Its supervisor saw it."""
        await self.server.call(self.leases.handover(self.lane))

    async def begin(self, one: Delivery) -> Any:
        return await self.server.call(self.leases.begin(one, trial_at=1))

    async def release_all(self) -> int:
        return await self.server.call(self.leases.release_held(self.lane))

    async def settle(self, batch: list[Delivery]) -> list[str]:
        return await self.server.call(self.outcomes.settle(self.lane, batch))


class Place:
    def __init__(self, server: Server, keys: Keys, settings: Settings) -> None:
        self.server = server
        self.keys = keys
        self.settings = settings
        self.producer = Producer(server, keys, settings)
        self.lane = keys.lane(LABEL, "", "")
        self.effects = keys.lane(EFFECT, "", "")

    def actor(self, name: str) -> Actor:
        return Actor(self.server, self.keys, name)

    async def submit(self, *items: ScheduleMessageItem) -> None:
        await self.producer.submit(items)

    async def length(self, key: str) -> int:
        return int(await self.server.execute("XLEN", key))

    async def owners(self) -> dict[str, str]:
        rows = await self.server.execute("XPENDING", self.lane.stream, GROUP, "-", "+", 1000)
        return {as_texts([row[0]])[0]: as_texts([row[1]])[0] for row in rows}

    async def task(self, item: ScheduleMessageItem) -> dict[str, str]:
        reply = await self.server.execute("HGETALL", self.lane.task(item.user_id, item.item_id))
        flat = as_texts([part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply)
        return dict(zip(flat[::2], flat[1::2], strict=True))


@pytest.fixture
async def place(any_url: str, settings_at: Callable[..., Settings]) -> AsyncIterator[Place]:
    settings = settings_at(any_url)
    server = await Server.connect(settings)
    made = Place(server, Keys(settings.prefix), settings)
    await ensure_groups(server, [made.lane])
    yield made
    await server.aclose()


async def a_zombie_and_the_new_owner(place: Place, count: int = 1) -> tuple[Actor, Actor, list[Delivery]]:
    """The zombie believes that it still holds these deliveries; the other one has claimed them all."""
    zombie, owner = place.actor("zombie"), place.actor("owner")
    await place.submit(*messages(count))
    held = await zombie.read()
    await zombie.dies()
    claimed = await owner.claim()
    assert len(held) == len(claimed) == count
    return zombie, owner, held


Attempt = Callable[[Actor, list[Delivery]], Awaitable[Any]]


async def settle(actor: Actor, held: list[Delivery]) -> Any:
    return await actor.settle(held)


async def conclude(actor: Actor, held: list[Delivery]) -> Any:
    follow_ups = [FollowUp.of(message(label=EFFECT))]
    return await actor.server.call(actor.outcomes.conclude(actor.lane, held, held, follow_ups))


async def conclude_staged(actor: Actor, held: list[Delivery]) -> Any:
    batch = Batch.of([FollowUp.of(message(label=EFFECT))])
    lost = await actor.server.call(actor.outcomes.stage(actor.lane, batch, 0, held))
    staged = await actor.server.execute("EXISTS", actor.lane.batch(batch.name))
    assert bool(staged) == (not lost)
    concluded = await actor.server.call(actor.outcomes.conclude_staged(actor.lane, held, held, batch))
    assert concluded == lost
    return concluded


async def retry(actor: Actor, held: list[Delivery]) -> Any:
    retries = [Retry(one, 1000, {"errors": 1}, "again") for one in held]
    return await actor.server.call(actor.outcomes.retry(actor.lane, retries))


async def dead_letter(actor: Actor, held: list[Delivery]) -> Any:
    return await actor.server.call(
        actor.outcomes.dead_letter(actor.lane, [GiveUp(one, "errors", "no", {}) for one in held])
    )


async def checkpoint(actor: Actor, held: list[Delivery]) -> Any:
    return await actor.server.call(actor.leases.checkpoint(actor.lane, held, '{"by": "zombie"}'))


async def renew(actor: Actor, held: list[Delivery]) -> Any:
    return await actor.server.call(actor.leases.renew(actor.lane, [one.entry_id for one in held]))


async def mark(actor: Actor, held: list[Delivery]) -> Any:
    return await actor.server.call(actor.leases.mark(actor.lane, held))


FENCED = [settle, conclude, conclude_staged, retry, dead_letter, checkpoint, renew, mark]


async def everything(place: Place) -> list[Any]:
    lane = place.lane
    return [
        await place.server.execute("XRANGE", lane.stream, "-", "+"),
        await place.owners(),
        await place.server.execute("ZRANGE", lane.delayed, 0, -1),
        await place.length(lane.dead),
        await place.length(place.effects.stream),
        await place.server.execute("HGETALL", lane.outbox),
        await place.server.execute("HGETALL", lane.users),
    ]


@pytest.mark.parametrize("attempt", FENCED, ids=lambda attempt: attempt.__name__)
@pytest.mark.parametrize("count", [1, 6])
async def test_a_worker_that_lost_its_messages_can_do_nothing_with_them(
    place: Place, attempt: Attempt, count: int
) -> None:
    zombie, _, held = await a_zombie_and_the_new_owner(place, count)
    before = await everything(place)
    tasks = [await place.task(one.message) for one in held]

    lost = await attempt(zombie, held)

    assert sorted(lost) == sorted(one.entry_id for one in held)
    assert await everything(place) == before
    assert [await place.task(one.message) for one in held] == tasks


@pytest.mark.parametrize("attempt", FENCED, ids=lambda attempt: attempt.__name__)
async def test_the_owner_can(place: Place, attempt: Attempt) -> None:
    worker = place.actor("worker")
    await place.submit(*messages(5))
    held = await worker.read()

    assert await attempt(worker, held) == []


@pytest.mark.parametrize("attempt", [conclude, conclude_staged, checkpoint], ids=lambda a: a.__name__)
async def test_all_or_nothing_when_one_of_a_batch_was_lost(place: Place, attempt: Attempt) -> None:
    zombie, owner = place.actor("zombie"), place.actor("owner")
    await place.submit(*messages(5))
    held = await zombie.read()
    await zombie.dies()
    (stolen,) = await owner.claim(most=1)
    before = await everything(place)

    lost = await attempt(zombie, held)

    assert lost == [stolen.entry_id]
    assert await everything(place) == before
    assert "checkpoint" not in await place.task(held[-1].message)


@pytest.mark.parametrize("attempt", [settle, retry, dead_letter, renew, mark], ids=lambda attempt: attempt.__name__)
async def test_what_is_still_ours_is_done_though_another_was_lost(place: Place, attempt: Attempt) -> None:
    zombie, owner = place.actor("zombie"), place.actor("owner")
    await place.submit(*messages(5))
    held = await zombie.read()
    await zombie.dies()
    (stolen,) = await owner.claim(most=1)

    assert await attempt(zombie, held) == [stolen.entry_id]

    owners = await place.owners()
    assert owners[stolen.entry_id] == "owner"
    assert len(owners) == (5 if attempt in (renew, mark) else 1)


async def test_a_lost_message_does_not_begin(place: Place) -> None:
    zombie, _, (held,) = await a_zombie_and_the_new_owner(place)

    assert await zombie.begin(held) == (Begin.LOST, None)


async def test_a_lost_message_cannot_be_handed_back(place: Place) -> None:
    zombie, _, (held,) = await a_zombie_and_the_new_owner(place)

    some = await zombie.server.call(zombie.leases.release(place.lane, [held.entry_id]))
    everything_of_ours = await zombie.release_all()

    assert (some, everything_of_ours) == (0, 0)
    assert set((await place.owners()).values()) == {"owner"}


async def test_a_checkpoint_reaches_the_next_owner(place: Place) -> None:
    first, second = place.actor("first"), place.actor("second")
    await place.submit(message())
    held = await first.read()
    await first.server.call(first.leases.checkpoint(place.lane, held, '{"step": 3, "text": "é"}'))
    await first.dies()

    (claimed,) = await second.claim()

    assert await second.begin(claimed) == (Begin.BEGUN, {"step": 3, "text": "é"})


async def test_what_became_of_a_message_is_in_its_status(place: Place) -> None:
    first, second = place.actor("first"), place.actor("second")
    sent = message()
    await place.submit(sent)
    held = await first.read()
    kept = await first.server.call(first.leases.result(place.lane, held, '{"added": ["é"]}'))
    await first.server.call(first.outcomes.settle(place.lane, held))

    status = await first.server.call(task_status(place.lane, sent.user_id, sent.item_id))
    lost = await second.server.call(second.leases.result(place.lane, held, "1"))

    assert status is not None
    assert (kept, status.state, status.result) == ([], TaskState.COMPLETED, {"added": ["é"]})
    assert lost == [held[0].entry_id]


async def test_nobody_claims_from_a_worker_that_renews(place: Place) -> None:
    busy, eager = place.actor("busy"), place.actor("eager")
    await place.submit(message())
    held = await busy.read()

    await busy.look(min_idle_ms=10_000)
    await renew(busy, held)

    holders = (await eager.look(min_idle_ms=1)).holders
    assert await eager.claim(min_idle_ms=1, watched=holders) == []


async def test_a_worker_never_claims_from_itself(place: Place) -> None:
    worker = place.actor("worker")
    await place.submit(message())
    await worker.read()
    await worker.dies()

    assert await worker.claim() == []


async def test_claiming_goes_on_until_there_is_no_more(place: Place) -> None:
    busy, dead, eager = place.actor("busy"), place.actor("dead"), place.actor("eager")
    await place.submit(*messages(30))
    await busy.read(25)
    await dead.read(5)
    await dead.dies()

    claims = [await eager.look(2) for _ in range(4)]

    assert [len(claim.taken) for claim in claims] == [2, 2, 1, 0]
    assert [claim.more for claim in claims] == [True, True, False, False]


async def test_the_min_idle_of_the_owner_counts(place: Place) -> None:
    slow, quick, eager = place.actor("slow"), place.actor("quick"), place.actor("eager")
    for worker, min_idle_ms in ((slow, 60_000), (quick, 1)):
        await worker.look(min_idle_ms=min_idle_ms)
        await place.submit(message(worker.name))
        await worker.read()
    await asyncio.sleep(0.05)

    holders = (await eager.look(min_idle_ms=1)).holders
    claimed = await eager.claim(min_idle_ms=1, watched=holders)

    assert {holder.name: holder.min_idle_ms for holder in holders} == {"slow": 60_000, "quick": 1}
    assert contents(claimed) == ["quick"]


async def test_nothing_is_claimed_from_a_silent_worker_that_was_not_watched_or_has_moved(place: Place) -> None:
    worker, eager = place.actor("worker"), place.actor("eager")
    await worker.look(min_idle_ms=1)
    await place.submit(*messages(2))
    await worker.read(1)
    (before,) = (await eager.look()).holders
    await asyncio.sleep(0.05)

    not_watched = await eager.claim()
    await worker.read(1)
    moved = await eager.claim(watched=[before])

    assert (not_watched, moved) == ([], [])


async def test_a_claimed_message_knows_whom_it_comes_from(place: Place) -> None:
    _, _, _ = await a_zombie_and_the_new_owner(place)
    third = place.actor("third")
    await place.actor("owner").dies()

    (claimed,) = await third.claim()

    assert claimed.previous_owner == "owner"
    assert claimed.has_past
    assert 0 <= claimed.idle_ms < 30_000


async def test_what_is_handed_back_keeps_its_place_and_its_budget(place: Place) -> None:
    first, second = place.actor("first"), place.actor("second")
    await place.submit(*messages(3))
    held = await first.read()
    await first.server.call(first.leases.release(place.lane, [one.entry_id for one in held]))

    again = await second.claim()

    assert contents(again) == ["0", "1", "2"]
    assert [one.entry_id for one in again] == [one.entry_id for one in held]
    assert all(one.attempts["crashes"] == 0 for one in again)


async def test_a_consumer_that_owns_something_is_not_removed(place: Place) -> None:
    worker = place.actor("worker")
    await place.submit(*messages(2))
    held = await worker.read()
    before = await worker.server.call(worker.leases.remove_consumer(place.lane, dead=False))
    owned = await place.owners()
    await worker.settle(held)

    assert before > 0
    assert len(owned) == 2
    assert await worker.server.call(worker.leases.remove_consumer(place.lane, dead=False)) == 0
    never_used = place.keys.lane("never used", "", "")
    assert await worker.server.call(worker.leases.remove_consumer(never_used, dead=False)) == 0


async def test_thousands_of_messages_can_be_renewed_and_handed_back_at_once(place: Place) -> None:
    if not place.server.blocking:
        pytest.skip("no evidence from a server inside the process, and slow there")
    worker = place.actor("worker")
    for at in range(0, 9000, 3000):
        await place.submit(*(message(str(number), user=f"user-{number}") for number in range(at, at + 3000)))
    held = await worker.read(9000)

    lost = await renew(worker, held)
    ids = [one.entry_id for one in held]
    released = await worker.server.call(worker.leases.release(place.lane, ids))

    assert lost == []
    assert released == 9000


async def test_the_fence_holds_for_messages_that_lie_far_apart_and_come_in_any_order(place: Place) -> None:
    ours, theirs = place.actor("ours"), place.actor("theirs")
    await place.submit(*messages(60))
    held, others = [], []
    for _ in range(20):  # two of three are ours, and what we name is the fifth part of what we hold
        held += await ours.read(2)
        others += await theirs.read(1)
    named = [*reversed(held[::5]), others[3], others[16]]

    lost = await ours.server.call(ours.outcomes.settle(place.lane, named))

    assert sorted(lost) == sorted([others[3].entry_id, others[16].entry_id])
    left = {one.entry_id for one in [*held, *others]} - {one.entry_id for one in held[::5]}
    assert set(await place.owners()) == left


async def test_what_was_not_staged_completely_is_not_concluded(place: Place) -> None:
    worker = place.actor("worker")
    await place.submit(*messages(1))
    held = await worker.read()
    batch = Batch.of([FollowUp.of(message(label=EFFECT, user=f"u{number}")) for number in range(250)])
    for page in (0, 0, 2):  # one twice, as after a broken connection; and not the second one
        assert await worker.server.call(worker.outcomes.stage(place.lane, batch, page, held)) == []
    conclude = worker.outcomes.conclude_staged(place.lane, held, held, batch)

    assert await worker.server.call(conclude) == NOT_STAGED
    assert list(await place.owners()) == [held[0].entry_id]
    for page in (0, 1, 2):
        await worker.server.call(worker.outcomes.stage(place.lane, batch, page, held))
    assert await worker.server.call(conclude) == []

    assert await place.owners() == {}
    await register_lanes(place.server, place.keys, [place.lane])
    status = await read_status(place.server, place.keys, place.settings)
    assert status.total.backlog == 250
    assert await count_unfinished(place.server, place.keys, "alice") == 250
    outbox = Outbox(place.server, place.producer, lambda: [place.lane])
    assert sum(await asyncio.gather(*(outbox.drain(place.lane, batch.name) for _ in range(3)))) >= 250
    assert await place.length(place.effects.stream) == 250
    assert (await read_status(place.server, place.keys, place.settings)).total.backlog == 250
    assert not await worker.server.execute("EXISTS", place.lane.outbox, place.lane.batch(batch.name))


# -- the crash account -----------------------------------------------------------------------------------------------


class Mortal:
    """A message that one worker after another takes over and runs; each may die of it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.number = 0

    async def next_worker(self, *, runs: bool = True, then: str = "dies") -> Delivery:
        """Returns the message as the worker that runs it knows it.

        Args:
            then: ``dies`` and is seen to, ``vanishes`` unseen, or hands it back as it ``stops``.
        """
        self.number += 1
        worker = self.place.actor(f"worker-{self.number}")
        claimed = await self._taken_by(worker)
        while runs and (await worker.begin(claimed))[0] is Begin.HANDED_BACK:
            claimed = await self._taken_by(worker)
        if then == "dies":
            await worker.dies()
        elif then == "stops":
            await worker.release_all()
        return claimed

    async def _taken_by(self, worker: Actor) -> Delivery:
        holders = (await worker.look(0, min_idle_ms=1)).holders
        await asyncio.sleep(0.01)
        (claimed,) = await worker.claim(min_idle_ms=1, watched=holders)
        return claimed

    async def crashes(self) -> int:
        """As the next worker knows it, which says that it begins and stops."""
        return (await self.next_worker(then="stops")).crashes


@pytest.fixture
async def mortal(place: Place) -> Mortal:
    """It was delivered to a worker that died: it ran there, or waited, nobody can tell."""
    first = place.actor("worker-0")
    await place.submit(message())
    await first.read()
    await first.dies()
    return Mortal(place)


async def test_the_first_death_is_nobodys(mortal: Mortal) -> None:
    assert await mortal.crashes() == 0


async def test_every_further_death_of_a_worker_that_had_begun_with_it_is_a_crash_and_the_one_on_trial_the_last(
    mortal: Mortal,
) -> None:
    seen = [(await mortal.next_worker()).crashes for _ in range(2)]

    assert [*seen, await mortal.crashes()] == [0, 1, 2]


async def test_a_message_that_only_waited_in_a_dead_worker_is_not_blamed(mortal: Mortal) -> None:
    for _ in range(4):
        await mortal.next_worker(runs=False)

    assert await mortal.crashes() == 0


async def test_a_shutdown_costs_nothing(mortal: Mortal) -> None:
    for _ in range(3):
        await mortal.next_worker(then="stops")

    assert await mortal.crashes() == 0


async def test_silence_alone_is_no_crash(mortal: Mortal) -> None:
    for _ in range(3):
        await mortal.next_worker(then="vanishes")

    assert await mortal.crashes() == 0


async def test_deaths_that_become_known_later_are_crashes_but_all_of_them_lead_no_further_than_to_the_trial(
    mortal: Mortal,
) -> None:
    for _ in range(3):
        await mortal.next_worker(then="vanishes")
    other = mortal.place.actor("other")
    await other.look(0, dead=["worker-1", "worker-2"])

    assert await mortal.crashes() == 1


async def test_a_death_on_trial_that_becomes_known_later_is_the_last(mortal: Mortal) -> None:
    await mortal.next_worker()
    on_trial = await mortal.next_worker(then="vanishes")
    await mortal.next_worker(runs=False, then="vanishes")
    await mortal.place.actor("other").look(0, dead=["worker-2"])

    assert (on_trial.crashes, await mortal.crashes()) == (1, 2)


async def test_a_worker_that_was_taken_for_dead_and_lives_is_no_crash(mortal: Mortal) -> None:
    await mortal.next_worker(then="vanishes")
    await mortal.place.actor("other").look(0, dead=["worker-1"])
    await mortal.place.actor("worker-1").look(0, min_idle_ms=1)

    assert await mortal.crashes() == 0


async def test_the_account_begins_anew_with_a_new_entry(mortal: Mortal) -> None:
    held = await mortal.next_worker(then="vanishes")
    worker = mortal.place.actor("worker-1")
    await retry(worker, [held])
    await worker.server.execute(
        "ZADD", worker.lane.delayed, 1, (await worker.server.execute("ZRANGE", worker.lane.delayed, 0, 0))[0]
    )
    await worker.server.call(promote(worker.lane, 64))
    (again,) = await worker.read()
    await worker.dies()

    assert again.crashes == 0
    assert await mortal.crashes() == 0
