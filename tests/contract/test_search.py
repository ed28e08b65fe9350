"""What is found for a question, in which order, and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.memories import FIRST, conversation, idle, memories_of, said, without_working

from memsched import AsyncMemScheduler, ScheduleMessageItem
from memsched.errors import CubeForbidden
from memsched.memory.access.permissions import Permission
from memsched.memory.ingest.turns import turns_of
from memsched.memory.search.arguments import METHODS, InvalidSearch, SearchResult

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]

TALK = conversation(
    ("Alice", "Have you ever been to Norway?"),
    ("Bob", "Yes, in the summer of 2019."),
    ("Alice", "Did you like the fjords there?"),
    ("Bob", "Loved them, but it rained a lot."),
    ("Alice", "My tomatoes are ripe at last."),
    item_id="norway",
    session_id="s1",
)


STORES = ["in this process", "in the vector process"]


@pytest.fixture(params=[STORES[0], pytest.param(STORES[1], marks=pytest.mark.long)])
async def scheduler(
    request: pytest.FixtureRequest, quick_schedulers: Callable[..., AsyncMemScheduler]
) -> AsyncMemScheduler:
    """With memory's own handlers, on either store; what asks all of the store is tried on both each time."""
    make = quick_schedulers if request.param == "in this process" else request.getfixturevalue("memory_schedulers")
    made: AsyncMemScheduler = make()
    await made.start()
    return made


async def tell(scheduler: AsyncMemScheduler, *messages: ScheduleMessageItem) -> None:
    await scheduler.submit_messages(messages)
    await idle(scheduler)


async def search(scheduler: AsyncMemScheduler, query: str, **more: Any) -> list[SearchResult]:
    return await scheduler.retriever.search(query, "alice", "home", **more)


async def texts(scheduler: AsyncMemScheduler, query: str, **more: Any) -> list[str]:
    return [result.memory for result in await search(scheduler, query, **more)]


async def test_scores_fall_and_are_the_sums_of_their_parts(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, TALK)

    results = await search(scheduler, "Did Bob like the fjords of Norway?")

    scores = [result.points for result in results]
    assert scores == sorted(scores, reverse=True)
    assert all(result.points == pytest.approx(sum(result.parts.values()), abs=1e-6) for result in results)
    assert {"words", "around", "speaker", "value", "no_answer"} == {part for result in results for part in result.parts}


@pytest.mark.parametrize("query", ["Did Bob like the fjords of Norway?", "fjords Norway"])
async def test_it_says_which_words_found_a_memory_and_from_which_turn(scheduler: AsyncMemScheduler, query: str) -> None:
    await tell(scheduler, TALK)

    results = await search(scheduler, query, search_args={"explain": True})

    for each in results:
        told = each.parts.get("words", 0.0) + each.parts.get("around", 0.0)
        assert sum(word.points for word in each.found_by) == pytest.approx(told, abs=2e-3)
        assert all((word.memory_id == each.id) == (word.ahead == 0) for word in each.found_by)
    (answer,) = [each for each in results if each.memory == "Yes, in the summer of 2019."]
    named = {word.word.lower(): (word.ahead, word.text) for word in answer.found_by}
    assert named["norway"] == (1, "Have you ever been to Norway?")
    assert named["fjords"] == (-1, "Did you like the fjords there?")
    assert not any(each.found_by for each in await search(scheduler, query))


async def test_no_search_method_is_the_one_of_the_settings(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, TALK)
    usual = await texts(scheduler, "Has anybody been to Norway?")

    scheduler.search_method = None  # type: ignore[assignment]

    assert await texts(scheduler, "Has anybody been to Norway?") == usual


async def test_what_was_said_around_a_hit_is_found_with_it(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, TALK, said("It rained all night in Oslo.", 300, session_id="s2"))
    answer = "Yes, in the summer of 2019."

    with_neighbours = await search(scheduler, "Has anybody been to Norway?")
    without = await search(scheduler, "Has anybody been to Norway?", search_args={"neighbours": False})

    assert answer in [result.memory for result in with_neighbours[:2]]
    assert all(result.parts["around"] > 0.5 for result in with_neighbours if result.memory == answer)
    assert not any("around" in result.parts for result in without)
    assert all("words" not in result.parts for result in without if result.memory == answer)


@pytest.mark.parametrize("scheduler", STORES, indirect=True)
async def test_methods_find_by_form_by_word_or_by_both(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, TALK)

    for query, method, is_found in (
        ("tomatos", "dense", True),
        ("tomatos", "hybrid", True),
        ("photosynthesis", "lexical", False),
        ("ripe", "lexical", True),
    ):
        found = await texts(scheduler, query, method=method, top_k=1)
        assert (found == ["My tomatoes are ripe at last."]) is is_found, (query, method)


async def test_names_of_the_original_system_are_understood_and_others_named(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, TALK)
    expected = {method: await texts(scheduler, "the fjords", method=method) for method in set(METHODS.values())}

    for name, method in METHODS.items():
        assert await texts(scheduler, "the fjords", method=name) == expected[method]
    with pytest.raises(InvalidSearch, match="tree_text_memory_search"):
        await search(scheduler, "the fjords", method="magic")


@pytest.mark.parametrize("scheduler", STORES, indirect=True)
async def test_filters_say_what_may_be_found(scheduler: AsyncMemScheduler) -> None:
    await tell(
        scheduler,
        conversation(("Carol", "The garden idea: a pond."), session_id="s1", item_id="idea"),
        conversation(("Bob", "The garden plan: a hedge."), minute=10, session_id="s2", item_id="plan"),
        conversation(("Alice", "I love a garden with roses."), minute=30, session_id="s2", item_id="wish"),
    )
    filters: list[tuple[dict[str, Any], set[str]]] = [
        ({"session_id": ["s2"]}, {"plan", "wish"}),
        ({"speaker": ["Bob"]}, {"plan"}),
        ({"since": FIRST + timedelta(minutes=20)}, {"wish"}),
        ({"until": FIRST + timedelta(minutes=20)}, {"idea", "plan"}),
        ({"since": FIRST, "until": FIRST + timedelta(minutes=5)}, {"idea"}),
        ({"tags": ["preference"]}, {"wish"}),
        ({"memory_type": ["UserMemory"]}, {"wish"}),
        ({"kind": ["fact"]}, set()),
        ({}, {"idea", "plan", "wish"}),
    ]

    for args, expected in filters:
        found = await search(scheduler, "the garden", search_args={"neighbours": 0.0, **args})
        assert {next(iter(result.item.sources)).partition("#")[0] for result in found} == expected, args


@pytest.mark.parametrize(
    "args",
    [
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"color": "red"},
        {"neighbours": 7},
        {"explain": "how"},
        {"top": 1},
    ],
)
async def test_what_is_no_filter_is_refused(scheduler: AsyncMemScheduler, args: dict[str, Any]) -> None:
    with pytest.raises(InvalidSearch, match=next(iter(args))):
        await search(scheduler, "anything", search_args=args)


@pytest.mark.parametrize("top_k", [-1, 1001, True])
async def test_a_number_of_results_that_is_none_is_refused(scheduler: AsyncMemScheduler, top_k: int) -> None:
    with pytest.raises(InvalidSearch, match="top_k"):
        await search(scheduler, "anything", top_k=top_k)


async def test_a_query_that_is_too_long_is_refused(scheduler: AsyncMemScheduler) -> None:
    with pytest.raises(InvalidSearch, match="query has 100,001 characters, the limit is 100,000"):
        await search(scheduler, "x" * 100_001)


async def test_any_text_may_be_asked_for(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("The pond is frozen."))

    for query in ("", "   ", "?!", "\x00", "\ud83d", "x" * 100_000):
        assert await texts(scheduler, query) in ([], ["The pond is frozen."]), query[:9]


async def test_of_the_same_words_in_other_spelling_the_newer_is_shown_alone(scheduler: AsyncMemScheduler) -> None:
    services = await scheduler.memory()
    ref = await services.cubes.register("alice", "home")
    # two workers that stored at the same moment: neither saw the other's
    services.writer._with_hashes = _nobody_said_it  # type: ignore[method-assign, assignment]
    for message in (said("The pond is frozen.", 0, item_id="one"), said("The POND is frozen!", 9, item_id="other")):
        await services.writer.write_turns(ref, {message.item_id: turns_of(message)})

    results = await search(scheduler, "frozen pond")

    assert [result.memory for result in results] == ["The POND is frozen!"]
    assert len(await memories_of(scheduler)) == 2


async def _nobody_said_it(*_: Any) -> dict[str, Any]:
    return {}


async def test_a_newer_statement_about_the_same_comes_before_the_older(scheduler: AsyncMemScheduler) -> None:
    for number, colour in enumerate(("red", "green", "blue")):
        await tell(scheduler, said(f"The front door is {colour}.", number * 60))

    found = await texts(scheduler, "Which colour is the front door?")

    assert found == [f"The front door is {colour}." for colour in ("blue", "green", "red")]


async def test_a_newer_statement_about_somebody_else_stays_behind(scheduler: AsyncMemScheduler) -> None:
    for number, name in enumerate(("Anna", "Hanna", "Joanna")):
        await tell(scheduler, said(f"{name} is allergic to nuts.", number * 60))

    assert (await texts(scheduler, "Is Anna allergic to nuts?"))[0] == "Anna is allergic to nuts."


async def test_diversity_brings_other_things_up(scheduler: AsyncMemScheduler) -> None:
    tulips = [said(f"In garden bed {number} grow red tulips and more red tulips.", number) for number in range(5)]
    await tell(scheduler, *tulips, said("In the garden shed stands a mower.", 50))

    plain = await texts(scheduler, "red tulips in the garden", top_k=3)
    diverse = await texts(scheduler, "red tulips in the garden", top_k=3, search_args={"diversity": 0.9})

    assert "In the garden shed stands a mower." not in plain
    assert "In the garden shed stands a mower." in diverse
    assert diverse[0] == plain[0]


async def test_a_memory_that_was_corrected_is_behind_what_corrects_it(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("My aunt lives in Hamburg.", 0))
    await tell(scheduler, said("Actually, my aunt lives in Bremen.", 5))

    first, second = await search(scheduler, "Does the aunt live in Hamburg?")

    assert (first.memory, second.memory) == (
        "Actually, my aunt lives in Bremen.",
        "My aunt lives in Hamburg.",
    )
    assert second.parts["superseded"] < 0 < first.parts["corrects"]
    assert second.item.superseded_by == first.id


async def test_a_search_that_is_near_enough_is_saved_and_never_after_a_change(
    quick_schedulers: Callable[..., AsyncMemScheduler],
    memory_schedulers: Callable[..., AsyncMemScheduler],
) -> None:
    for scheduler in (
        quick_schedulers(search_slack=1.0),
        memory_schedulers(search_slack=1.0),
    ):
        await scheduler.start()
        question, answer = "Did Bob like the fjords of Norway?", "Loved them, but it rained a lot."
        await tell(scheduler, TALK)
        services = await scheduler.memory()
        assert services.ranking_cache is not None
        counters = services.ranking_cache.counters

        def shown(results: list[SearchResult]) -> list[tuple[str, float]]:
            return [(each.id, pytest.approx(each.points, abs=0.02)) for each in results]

        first = await search(scheduler, question)
        assert shown(await search(scheduler, question)) == shown(first)
        before = counters.saved
        assert before > 0

        await tell(scheduler, said("Bob liked the fjords of Norway best of all.", 400))
        told = await texts(scheduler, question)
        assert told[0] == "Bob liked the fjords of Norway best of all."
        assert counters.saved == before
        (memory,) = [each for each in await memories_of(scheduler) if each.text == answer]
        await services.deletion.delete(memory.ref, [memory], user_id="alice", name="home")
        assert answer in told
        assert answer not in await texts(scheduler, question)

        name = (await services.cubes.share("alice", "home", "bob", Permission.READ, accepted=True)).name
        assert await scheduler.retriever.search(question, "bob", name)
        await services.cubes.revoke("alice", "home", "bob")
        with pytest.raises(CubeForbidden):
            await scheduler.retriever.search(question, "bob", name)


@pytest.mark.parametrize(
    ("fact", "question", "unknown"),
    [
        (
            "My car is on level 3 of the airport garage.",
            "Where did I park my car at the airport?",
            "I don't know where you parked your car.",
        ),
        (
            "Mein Auto steht auf Ebene 3 am Flughafen.",
            "Wo steht mein Auto am Flughafen?",
            "Das wei\u00df ich leider nicht.",
        ),
    ],
)
async def test_a_fact_comes_before_the_same_question_and_who_asks_what_was_asked_finds_that(
    scheduler: AsyncMemScheduler, fact: str, question: str, unknown: str
) -> None:
    chat = [
        {"role": "user", "content": "It rained all afternoon."},
        {"role": "user", "content": question},
        {"role": "assistant", "content": unknown},
    ]
    told = ScheduleMessageItem(user_id="alice", mem_cube_id="home", label="add", content=fact)
    asked = ScheduleMessageItem(user_id="alice", mem_cube_id="home", label="add", content="", chat_history=chat)
    await tell(scheduler, told, asked)

    found = await search(scheduler, question)

    assert found[0].memory == fact
    (same,) = [each for each in found if each.memory == question]
    assert same.parts["no_answer"] < 0
    assert same.points == pytest.approx(sum(same.parts.values()), abs=1e-6)
    assert (await texts(scheduler, f"Which question did I ask? {question}"))[0] == question


async def test_metadata_comes_back_and_is_asked_for_by_value_list_and_size(scheduler: AsyncMemScheduler) -> None:
    given = [{"project": "atlas", "year": 2025, "tags": ["a", "b"]}, {"project": "borea", "year": 2026.5, "done": True}]
    await scheduler.submit_messages(
        [said("The launch is in May.", n, "add", info={"metadata": each}) for n, each in enumerate(given)]
    )
    await idle(scheduler)

    found = await search(scheduler, "launch")
    assert sorted(str(each.metadata) for each in found) == sorted(map(str, given)), "the same text, twice"

    async def years(wanted: Any) -> list[Any]:
        results = await search(scheduler, "launch", filter=wanted)
        return sorted(each.metadata["year"] for each in results)

    assert (
        await years({"project": "atlas"}) == await years({"tags": ["b", "c"]}) == await years({"year": 2025}) == [2025]
    )
    assert await years({"project": ["atlas", "borea"]}) == await years({"year": {"gte": 2025}}) == [2025, 2026.5]
    assert await years({"year": {"gt": 2025, "lte": 2026.5}}) == await years({"done": True}) == [2026.5]
    assert (
        await years({"project": "atlas", "year": 2026.5}) == await years({"done": 1}) == await years({"x": "y"}) == []
    )
    with pytest.raises(InvalidSearch, match=r"filter: .*project"):
        await search(scheduler, "launch", filter={"project": {"like": "a"}})


async def test_no_results_are_none_and_speakers_have_no_case(scheduler: AsyncMemScheduler) -> None:
    await scheduler.submit_messages(conversation(("Ann McKay", "The pond is frozen."), ("Bob", "The pond is deep.")))
    await idle(scheduler)

    assert await search(scheduler, "pond", top_k=0) == []
    assert await texts(scheduler, "pond", search_args={"speaker": "ANN mckay"}) == ["The pond is frozen."]


async def test_what_does_not_fit_is_left_out_by_its_score(scheduler: AsyncMemScheduler) -> None:
    facts = (
        "My sister Ann is allergic to nuts.",
        "We moved to Porto in May.",
        "The car is at the garage until Friday.",
    )
    await scheduler.submit_messages([said(each, n, "add") for n, each in enumerate(facts)])
    await idle(scheduler)

    asked = await search(scheduler, "What is Ann allergic to?")
    assert asked[0].memory == facts[0]
    assert asked[0].score > 0.7
    scores = [each.score for each in asked]
    assert scores == sorted(scores, reverse=True)
    assert [each.memory for each in await search(scheduler, "What is Ann allergic to?", min_score=0.5)] == [facts[0]]
    off_topic = "Which garage band played at the wedding of the baker?"
    assert await search(scheduler, off_topic)
    assert await search(scheduler, off_topic, min_score=0.5) == []


async def test_what_stands_beside_an_answer_has_no_share_in_its_score(scheduler: AsyncMemScheduler) -> None:
    talk = conversation(
        ("Priya", "Sorry I missed the call, I was at the vet with Biscuit."),
        ("Tom", "Oh no, is he all right?"),
        ("Priya", "He swallowed a sock, and they had to operate on Tuesday."),
        ("Tom", "Poor thing."),
        ("Tom", "By the way, I start as a teacher at Oakwood primary in March."),
        ("Priya", "That is wonderful news!"),
    )
    await tell(scheduler, talk)

    found = await search(scheduler, "At which school does Tom start as a teacher?")
    assert len(found) > 2
    assert found[0].memory.startswith("By the way")
    assert found[0].score > 0.7
    assert max(each.score for each in found[1:]) < 0.3, found
    assert [each.memory for each in await search(scheduler, "teacher", min_score=0.5)] == [found[0].memory]


async def test_a_correction_fits_what_the_corrected_one_fitted(scheduler: AsyncMemScheduler) -> None:
    await tell(scheduler, said("My aunt lives in Hamburg.", 0))
    [alone] = await search(scheduler, "Does the aunt live in Hamburg?")
    await tell(scheduler, said("Actually, my aunt lives in Bremen.", 5))

    new, old = await search(scheduler, "Does the aunt live in Hamburg?")
    assert new.item.memory_id == old.item.superseded_by
    assert new.score >= old.score > alone.score - 0.1


async def test_a_user_is_one_speaker_under_each_name_and_without_one(scheduler: AsyncMemScheduler) -> None:
    mos = without_working(scheduler)
    await mos.create_user("alice", "Alicia")
    await tell(
        scheduler,
        said("The blue boat is mine.", 0),
        said("The red boat is mine.", 1, user_name="Ally"),
        conversation(("Bob", "The old boat is mine."), minute=2),
        said("", 3, chat_history=[{"role": "assistant", "content": "The new boat is nobody's."}]),
    )
    await mos.share_cube_with_user("home", "carol", "write")
    await mos.accept_cube("alice/home", "carol")
    await tell(scheduler, said("The green boat is mine.", 4, user_id="carol", mem_cube_id="alice/home"))

    async def boats(speaker: str) -> set[str]:
        hits = await search(scheduler, "whose boat is it", search_args={"speaker": speaker})
        return {each.memory.split()[1] for each in hits}

    for name in ("alice", "ALICIA", "ally"):
        assert await boats(name) == {"blue", "red"}, name
    assert await boats("carol") == {"green"}
    assert await boats("Bob") == {"old"}
    assert await boats("assistant") == {"new"}
