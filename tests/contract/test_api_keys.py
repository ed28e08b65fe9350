"""API keys on a real server: made, shown, believed, revoked, and minted for browsers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from memsched import Settings
from memsched.broker.client import Server
from memsched.broker.keys import Keys
from memsched.errors import InvalidArgument, InvalidId, NotAllowed
from memsched.memory.access.api_keys import ApiKeys, Principal, Role


class Clock:
    """Time that stands still."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Place:
    """One server, and several processes' sight of the keys on it, all by one clock."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self.server, self.keys, self.clock = server, keys, Clock()

    def process(self) -> ApiKeys:
        return ApiKeys(self.server, self.keys, now=self.clock, monotonic=self.clock)


@pytest.fixture
async def place(any_url: str, settings_at: Callable[..., Settings]) -> AsyncIterator[Place]:
    settings = settings_at(any_url)
    server = await Server.connect(settings)
    yield Place(server, Keys(settings.prefix))
    await server.aclose()


async def test_a_key_says_who_asks_and_only_its_hash_is_at_rest(place: Place) -> None:
    assert not await place.process().any()
    token, made = await place.process().create(Role.USER, user_id="alice", reading_as=["doctor"], name="her phone")

    assert await place.process().any()
    assert await place.process().principal(token) == Principal(
        made.key_id, Role.USER, "alice", reading_as=frozenset({"doctor"})
    )
    secret = token.rpartition("_")[2]
    assert len(bytes.fromhex(secret)) * 8 == 256
    kept = (await place.server.execute("HGET", place.keys.api_keys, made.key_id)).decode()
    assert secret not in kept
    assert hashlib.sha256(secret.encode()).hexdigest() in kept
    assert secret not in repr(await place.process().list())


async def test_what_is_no_key_is_nobody(place: Place) -> None:
    token, made = await place.process().create(Role.ADMIN)
    others = ["", "msk_", token[:-1], token[:-2] + "\n", token.upper(), f" {token}", "x" * 10_000]
    others.append(f"msk_{made.key_id}_{'0' * 64}")
    others.append(f"msk_{'0' * 12}_{token.rpartition('_')[2]}")

    keys = place.process()
    assert [await keys.principal(other) for other in others] == [None] * len(others)
    assert await keys.principal(token)


async def test_a_revoked_key_is_refused_everywhere_within_five_seconds(place: Place) -> None:
    here, elsewhere = place.process(), place.process()
    token, made = await here.create(Role.VIEWER)
    assert await here.principal(token)
    assert await elsewhere.principal(token)

    assert await here.revoke(made.key_id)
    place.clock.seconds += 5

    assert await here.principal(token) is None
    assert await elsewhere.principal(token) is None
    assert not await here.revoke(made.key_id)
    assert not await here.any()


async def test_a_key_costs_a_round_trip_now_and_then_and_tells_when_it_was_used(place: Place) -> None:
    keys = place.process()
    token, _ = await keys.create(Role.METRICS)
    assert (await keys.list())[0].last_used_at is None
    asked = 0
    run = place.server.run

    async def counted(commands: object) -> object:
        nonlocal asked
        asked += 1
        return await run(commands)  # type: ignore[arg-type]

    place.server.run = counted  # type: ignore[method-assign,assignment]
    for _ in range(1000):
        await keys.principal(token)
    assert asked == 1

    place.clock.seconds += 61
    await keys.principal(token)
    (shown,) = await keys.list()
    assert shown.last_used_at is not None
    assert shown.last_used_at.timestamp() == place.clock.seconds


async def test_an_expired_key_is_good_for_nothing_and_makes_room(place: Place) -> None:
    keys = place.process()
    token, made = await keys.create(Role.USER, user_id="alice", ttl=timedelta(days=30))
    assert made.expires_at is not None
    assert made.expires_at.timestamp() == place.clock.seconds + 30 * 86_400
    assert await keys.principal(token)

    place.clock.seconds += 30 * 86_400

    assert await keys.principal(token) is None
    assert await place.process().list() == []
    await keys.create(Role.ADMIN)
    assert await place.server.execute("HLEN", place.keys.api_keys) == 1
    assert await place.server.execute("ZCARD", place.keys.api_keys_due) == 0


async def test_an_app_mints_short_lived_keys_that_end_with_its_own(place: Place) -> None:
    keys = place.process()
    app_token, app = await keys.create(Role.APP, users="acme-*", reading_as=["doctor", "staff"], ttl=86_400)
    principal = await keys.principal(app_token)
    assert principal is not None

    token, minted = await keys.mint(principal, "acme-7", reading_as=["staff"])

    assert minted.minted_by == app.key_id
    assert minted.expires_at is not None
    assert minted.expires_at.timestamp() == place.clock.seconds + 3600
    browser = await keys.principal(token)
    assert browser is not None
    assert (browser.role, browser.user(), browser.reading_as) == (Role.USER, "acme-7", {"staff"})
    with pytest.raises(NotAllowed):
        await keys.mint(browser, "acme-7")
    with pytest.raises(NotAllowed):
        await keys.mint(principal, "other-7")
    with pytest.raises(NotAllowed, match="reading_as"):
        await keys.mint(principal, "acme-7", reading_as=["surgeon"])
    with pytest.raises(InvalidArgument, match="24 hours"):
        await keys.mint(principal, "acme-7", ttl=timedelta(hours=25))
    place.clock.seconds += 86_000
    _, last = await keys.mint(principal, "acme-7", ttl=timedelta(hours=24))
    assert last.expires_at == app.expires_at, "not beyond the key that mints it"
    token, _ = await keys.mint(principal, "acme-8", ttl=300)

    await keys.revoke(app.key_id)

    assert await keys.principal(token) is None
    assert await keys.list() == []
    with pytest.raises(NotAllowed, match="no longer good"):
        await keys.mint(principal, "acme-7", ttl=60)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"role": "root"}, "role='root': it is one of user, app, viewer, metrics, admin"),
        ({"role": "user"}, "user_id: it has 0 characters"),
        ({"role": "app"}, "users: it has 0 characters"),
        ({"role": "admin", "user_id": "alice"}, "user_id='alice': a key of the role admin has none"),
        ({"role": "user", "user_id": "alice", "users": "*"}, "users='\\*': a key of the role user has none"),
        ({"role": "admin", "ttl": -1}, "ttl"),
        ({"role": "admin", "ttl": 0}, "no time at all"),
        ({"role": "admin", "name": "x" * 10_000}, "name: it has 10000 characters"),
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(place: Place, given: dict[str, str], said: str) -> None:
    with pytest.raises((InvalidArgument, InvalidId), match=said):
        await place.process().create(**given)  # type: ignore[arg-type]
    assert not await place.process().any()
