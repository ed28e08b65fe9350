"""Who may do what, and for whom."""

from __future__ import annotations

import pytest

from memsched.errors import InvalidId, NotAllowed
from memsched.memory.access.api_keys import Principal, Role

ALICE = Principal("k", Role.USER, user_id="alice")
APP = Principal("k", Role.APP, users="acme-*")
ADMIN = Principal("k", Role.ADMIN)
AT_HOME = Principal("", Role.ADMIN, user_id="default")


def test_the_user_comes_from_the_key() -> None:
    assert ALICE.user(None) == ALICE.user("alice") == "alice"
    assert APP.user("acme-1") == "acme-1"
    assert ADMIN.user("anybody") == "anybody"
    assert (AT_HOME.user(), AT_HOME.user("bob")) == ("default", "bob")


@pytest.mark.parametrize(
    ("principal", "given"),
    [
        (ALICE, "bob"),
        (ALICE, "Alice"),
        (APP, "acme"),
        (APP, "ACME-1"),
        (APP, "other-acme-1"),
        (Principal("k", Role.VIEWER), "alice"),
        (Principal("k", Role.METRICS), None),
    ],
)
def test_for_others_it_may_not_act(principal: Principal, given: str | None) -> None:
    with pytest.raises(NotAllowed) as refused:
        principal.user(given)
    assert given is None or given not in str(refused.value).split()


@pytest.mark.parametrize("principal", [APP, ADMIN], ids=["app", "admin"])
def test_who_acts_for_many_says_for_whom(principal: Principal) -> None:
    with pytest.raises(NotAllowed, match="user_id"):
        principal.user()
    with pytest.raises(InvalidId):
        principal.user("\ud800")


def test_what_each_role_may_do() -> None:
    actions = ("memory", "mint", "status", "metrics", "operate")
    may = {role: {action for action in actions if Principal("k", role).may(action)} for role in Role}

    assert may == {
        Role.USER: {"memory"},
        Role.APP: {"memory", "mint"},
        Role.VIEWER: {"status", "metrics"},
        Role.METRICS: {"metrics"},
        Role.ADMIN: {"memory", "status", "metrics", "operate"},
    }
    with pytest.raises(NotAllowed, match="Its role is viewer; this needs one of: admin"):
        Principal("k", Role.VIEWER).require_may("operate")
    with pytest.raises(NotAllowed, match="one of: app, admin"):
        ALICE.require(Role.APP, Role.ADMIN)
