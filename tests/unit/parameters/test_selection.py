"""Which memories go into weights, and why the others do not."""

from __future__ import annotations

from typing import Any

import pytest
from support.memories import FIRST, memory

from memsched.memory.model import Memory
from memsched.parameters.forms import asked_for, controls_for, name_of
from memsched.parameters.gate import Figures, why_refused
from memsched.parameters.selection import Rules, Wanted, select
from memsched.tiers.hot_state import Use

DAY = 24 * 60
OFTEN = Use(10, 0, 5)
LATER = memory("It rains.", 31 * DAY)
TEMPLATE: dict[str, Any] = {"metadata": {"kind": "template", "name": "Refund reply"}}


def chosen(each: Memory, use: Use = OFTEN, **wanted: Any) -> tuple[list[Memory], list[str]]:
    asked = Wanted(**{"owner": "alice", "consents": (), **wanted})
    found = select([LATER, each], {each.memory_id: use}, asked)
    return found.chosen, [reason for reason in found.left_out if reason != "another kind"]


@pytest.mark.parametrize("kind", ["template", "procedure", "style", "faq"])
def test_what_is_stable_and_used_goes_in(kind: str) -> None:
    each = memory("Hello.", metadata={"kind": kind})

    assert chosen(each) == ([each], [])


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({"superseded_by": "another"}, "corrected, put away or not valid for ever"),
        ({"correctors": ["another"]}, "corrected, put away or not valid for ever"),
        ({"may_be_revised_by": {"another": "it may"}}, "corrected, put away or not valid for ever"),
        ({"confirmed_at": FIRST}, "corrected, put away or not valid for ever"),
        ({"status": "archived"}, "corrected, put away or not valid for ever"),
        ({"valid_until": FIRST}, "corrected, put away or not valid for ever"),
        ({"minute": 2 * DAY}, "too young"),
        ({"use": Use(9, 0, 9)}, "too seldom used"),
        ({"use": Use(99, 0, 4)}, "too seldom used"),
        ({"added_by": "bob"}, "no consent"),
    ],
    ids=["superseded", "contested", "doubtful", "restored", "archived", "ended", "young", "rare", "one week", "bob's"],
)
def test_what_is_not_stays_out_with_the_reason(changed: dict[str, Any], because: str) -> None:
    use = changed.pop("use", OFTEN)

    assert chosen(memory("Hello.", **TEMPLATE, **changed), use) == ([], [because])


def test_facts_go_in_only_when_asked_for_and_for_their_owner_alone() -> None:
    fact = memory("Rex is a dog.", kind="fact")

    assert chosen(fact) == ([], [])
    assert chosen(fact, facts=True) == ([fact], [])
    assert chosen(fact, facts=True, scope="shared", consents=["alice"])[1] == ["a fact of another scope"]
    bobs = fact.model_copy(update={"added_by": "bob"})
    assert chosen(bobs, facts=True, consents=["bob"])[1] == ["a fact of another scope"]


def test_a_shared_scope_needs_everybodys_consent() -> None:
    own, bobs = memory("Hello.", **TEMPLATE), memory("Hello.", added_by="bob", **TEMPLATE)

    assert chosen(own, scope="shared")[1] == ["no consent"]
    assert chosen(own, scope="shared", consents=["alice"])[0] == [own]
    assert chosen(bobs, scope="shared", consents=["alice"])[1] == ["no consent"]
    assert chosen(bobs, consents=["bob"])[0] == [bobs]


def test_the_time_is_the_messages_own() -> None:
    old, rules = memory("Hello.", **TEMPLATE), Rules()

    assert select([old], {old.memory_id: OFTEN}, Wanted("alice", (), rules=rules)).left_out == {"too young": 1}


def test_uses_are_of_so_many_days_as_they_surely_were() -> None:
    day = 86_400_000
    use = Use(0, 0).again(5 * day).again(5 * day + 1).again(6 * day).again(5 * day).again(9 * day)

    assert use == Use(5, 9 * day, 3)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Refund reply: We are sorry.", "Refund reply"),
        ("We are sorry about the parcel that was lost.", "sorry parcel lost"),
        ("退款回复：我们很抱歉。", "退款回复：我们很抱歉。"),
    ],
    ids=["before its colon", "its telling words", "without spaces"],
)
def test_a_memory_without_a_name_has_one(text: str, name: str) -> None:
    assert name_of(memory(text))
    if text.isascii():
        assert name_of(memory(text)) == name


def test_questions_of_its_own_come_beside_those_of_its_language() -> None:
    metadata: dict[str, Any] = {"kind": "faq", "name": "Öffnungszeiten", "questions": ["Wann habt ihr offen?"]}
    asked = asked_for(memory("Wir haben von neun bis fünf offen, und am Samstag nicht.", metadata=metadata))

    forms = [*asked.trained, *asked.held_out]
    assert asked.language == "de"
    assert "Wann habt ihr offen?" in forms
    assert 'Gib mir "Öffnungszeiten".' in forms
    assert len(asked.held_out) == 2
    assert asked == asked_for(asked.memory), "the same each time"


def test_what_nobody_asked_is_nobodys_name() -> None:
    names = ["Refund reply", "Late parcel", "Invoice copy"]
    members = [asked_for(memory("Hello there.", metadata={"kind": "template", "name": name})) for name in names]

    others = [f"The {word} stands near the late parcel." for word in "lamp boat radio tent drum chair clock".split()]

    controls = controls_for(members, others, 40)

    assert len({each.question for each in controls}) == 40
    asked = " ".join(each.question for each in controls).casefold()
    assert not [word for name in names for word in name.casefold().split() if word in asked]
    assert "lamp" in asked, "some are in words of other texts"
    assert controls == controls_for(members, others, 40)
    assert len(controls_for(members, [], 5)) == 5


GOOD = {"held_out": 0.9, "answer_tokens": 0.98, "replay_loss_before": 2.0, "replay_loss_after": 2.1}


@pytest.mark.parametrize(
    ("worse", "reasons"),
    [
        ({}, 0),
        ({"held_out": 0.89}, 1),
        ({"answer_tokens": 0.97}, 1),
        ({"replay_loss_after": 2.11}, 1),
        ({"controls_refused": 0.94}, 1),
        ({"held_out": 0.74, "replay_loss_after": 4.56}, 2),
    ],
    ids=["good", "learnt too little", "not sure", "harm", "answers all", "twice"],
)
def test_the_gate_lets_only_what_is_good_in_all_through(worse: dict[str, float], reasons: int) -> None:
    figures = Figures(**{**GOOD, "controls_refused": 0.95, "weights": "w", **worse})

    assert len(why_refused(figures)) == reasons
