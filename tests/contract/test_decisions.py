"""What a language model decides of corrections, and that nothing is put aside where it fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from support.llm import Asked, FakeLLM, Reply, fails, rubbish, says_json
from support.memories import idle, memories_of, said

from memsched import AsyncMemScheduler
from memsched.memory.model import Memory

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
ROME, MILAN, NUTS = "I live in Rome.", "Actually, I live in Milan.", "I am allergic to nuts."


def answers(decide: Callable[[str, str], dict[str, Any] | None] | Reply) -> Callable[[Asked], Reply]:
    """A model that finds no facts, and says of each pair (new, earlier) what it is told to say."""

    def reply(asked: Asked) -> Reply:
        if "You compare it" not in asked.prompt:
            return says_json({"memories": []})
        if isinstance(decide, Reply):
            return decide
        (given,) = re.findall(r"<data>\n(.*?)\n</data>", asked.prompt, re.DOTALL)
        found = [
            {"new": new["index"], "earlier": old["index"], **decided}
            for new in json.loads(given)
            for old in new["earlier"]
            if (decided := decide(new["text"], old["text"]))
        ]
        return says_json({"decisions": found})

    return reply


async def told(
    quick_schedulers: Callable[..., AsyncMemScheduler], model: FakeLLM, *texts: str
) -> tuple[AsyncMemScheduler, dict[str, Memory]]:
    scheduler = quick_schedulers(llm_model="m", llm_base_url=model.url, llm_api_key="k")
    await scheduler.start()
    for number, text in enumerate(texts):
        await scheduler.submit_messages(said(text, number))
        await idle(scheduler)
    return scheduler, {memory.text: memory for memory in await memories_of(scheduler)}


async def test_what_it_says_is_done_once_and_told(quick_schedulers: Callable[..., AsyncMemScheduler]) -> None:
    def decide(new: str, old: str) -> dict[str, Any]:
        moved = (old, new) == (ROME, "We packed, and Milan it is.")
        return {"relation": "revises", "quote": "Milan it is"} if moved else {"relation": "unrelated"}

    with FakeLLM(answers(decide)) as model:
        scheduler, memories = await told(quick_schedulers, model, ROME, "We packed, and Milan it is.", "Rome was fine.")

        assert model.asked
        assert memories[ROME].superseded_by == memories["We packed, and Milan it is."].memory_id
        assert "Milan it is" in memories[ROME].superseded_because
        assert not any(memory.may_be_revised_by for memory in memories.values())
        events = [event for event in await scheduler.get_web_log_messages() if "Corrected" in event.log_content]
        assert len(events) == 1


@pytest.mark.parametrize(
    "decision",
    [
        fails(500),
        rubbish(),
        says_json({"decisions": [{"new": 0, "earlier": 9, "relation": "revises", "quote": MILAN}]}),
        says_json({"decisions": [{"new": 0, "earlier": 0, "relation": "revises", "quote": "I moved to Milan"}]}),
        says_json({"decisions": [{"new": 0, "earlier": 0, "relation": "contradicts", "quote": "I live in Milan"}]}),
    ],
    ids=["500", "html", "not offered", "not said", "unsure"],
)
async def test_where_it_fails_or_is_not_sure_there_is_a_link(
    quick_schedulers: Callable[..., AsyncMemScheduler], decision: Reply
) -> None:
    with FakeLLM(answers(decision)) as model:
        _, memories = await told(quick_schedulers, model, ROME, MILAN)

    assert memories[ROME].superseded_by is None
    assert memories[ROME].may_be_revised_by.keys() == {memories[MILAN].memory_id}


async def test_it_parts_what_the_rule_linked_and_puts_no_allergy_aside(
    quick_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    def decide(new: str, old: str) -> dict[str, Any]:
        if old == NUTS:
            return {"relation": "revises", "quote": new}
        return {"relation": "unrelated"}

    with FakeLLM(answers(decide)) as model:
        _, memories = await told(quick_schedulers, model, ROME, MILAN, NUTS, "I am fond of nuts.")

    assert memories[ROME].superseded_by is None
    assert memories[ROME].may_be_revised_by == {}
    assert memories[NUTS].superseded_by is None
