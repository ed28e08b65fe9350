"""Parts of other packages are found by name, and what is wrong with one is told in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from memsched import AsyncMemScheduler
from memsched.errors import SettingsError
from memsched.policy.ranking import RecentFirst, strategy_named
from memsched.policy.transitions import StandardTransitions, rules_named

CODE = """
from memsched import StandardTransitions

class Mine:
    def choose(self, state, candidates, size):
        return []

class Rules(StandardTransitions):
    def must_stay(self, standing):
        return "it is ours"

class Needs(Mine):
    def __init__(self, password):
        pass

class Waits:
    async def choose(self, state, candidates, size):
        return []

made = Mine()
number = 5

def broken():
    raise OSError("no disk")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with entry points."""
    (tmp_path / "own_strategies.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "own_broken.py").write_text("raise OSError('no disk')", encoding="utf-8")
    about = tmp_path / "own_strategies-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-strategies\nVersion: 1.0\n", encoding="utf-8")
    points = "mine = own_strategies:Mine\nstandard = own_strategies:Mine\nbroken = own_broken:Mine\n"
    (about / "entry_points.txt").write_text(f"[memsched.strategies]\n{points}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("name", ["mine", "own_strategies:Mine", "own_strategies:made"])
def test_an_entry_point_or_a_place_names_a_class_or_an_object(name: str) -> None:
    assert type(strategy_named(name)).__name__ == "Mine"


@pytest.mark.usefixtures("package")
def test_nobody_takes_the_place_of_what_memsched_ships() -> None:
    assert type(strategy_named("standard")).__name__ == "StandardPolicy"
    assert isinstance(strategy_named("recent_first"), RecentFirst)


@pytest.mark.usefixtures("package")
def test_an_unknown_name_is_told_what_there_is_when_the_scheduler_is_made() -> None:
    with pytest.raises(SettingsError, match="MEMSCHED_STRATEGY: there is no 'recent'") as raised:
        AsyncMemScheduler(redis_url="memory://", strategy="recent")

    assert "activated_first, broken, mine, recent_first, standard" in str(raised.value)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("broken", "MEMSCHED_STRATEGY=broken cannot be loaded: OSError in "),
        ("own_strategies:Other", "has no attribute 'Other'"),
        ("no_such_module:Mine", "No module named 'no_such_module'"),
        ("own_strategies:number", "is a int without choose()"),
        ("own_strategies:Needs", "missing 1 required positional argument: 'password'"),
        ("own_strategies:Waits", "choose() is async; it must be a plain function"),
        *((name, "must be module:attribute") for name in (":", "own_strategies:", ":Mine")),
    ],
)
def test_what_cannot_be_used_says_why(name: str, why: str) -> None:
    with pytest.raises(SettingsError) as raised:
        strategy_named(name)

    assert why in str(raised.value)
    assert "no disk" not in str(raised.value), "the words of others may hold a password"


@pytest.mark.usefixtures("package")
def test_transition_rules_are_found_in_the_same_way_and_go_by_the_settings() -> None:
    rules = rules_named("own_strategies:Rules", 30.0, 50)

    assert type(rules).__name__ == "Rules"
    assert isinstance(rules, StandardTransitions)
    assert (rules.archive_after_days, rules.capacity) == (30.0, 50)
    with pytest.raises(SettingsError, match="MEMSCHED_TRANSITIONS=own_strategies:made is a Mine without theme_moves"):
        AsyncMemScheduler(redis_url="memory://", transitions="own_strategies:made")
