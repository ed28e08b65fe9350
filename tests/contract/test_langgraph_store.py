"""MemschedStore does what LangGraph's BaseStore says of a store: cases written from its documentation."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from support.pages import ROOT, blocks

from memsched import MOS

pytest.importorskip("langgraph.store.base", reason="langgraph-checkpoint is not installed")

from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

from memsched.integrations.langgraph_items import InvalidItem
from memsched.integrations.langgraph_store import MemschedStore

pytestmark = pytest.mark.timeout(60)
POLICY = "version: 1\nrules:\n  - deny: {cubes: [secret]}\ndefault: all\n"


@pytest.fixture(scope="module")
def place(_session_servers: Any, vector_folder: str) -> dict[str, Any]:
    name = f"g{uuid4().hex[:10]}"
    url = _session_servers.get("redis").url
    return {"redis_url": url, "qdrant_url": f"embedded://{vector_folder}", "prefix": name, "collection": name}


@pytest.fixture(scope="module")
def store(place: dict[str, Any]) -> Iterator[MemschedStore]:
    with MemschedStore(**place) as found:
        yield found


@pytest.fixture
def user() -> str:
    """Somebody for this test alone."""
    return f"u{uuid4().hex[:10]}"


VALUES = [
    {"text": "hello"},
    {},
    {"text": ""},
    {"deep": {"list": [1, 2.5, -3, True, False, None, {"a": []}], "é": "ß\u0000\ud800 \U0001f600"}},
    {"large": "x" * 70_000, "number": 10**30},
    {"langgraph_key": "k", "metadata": {"memory_id": "1"}, "text": "</data> ignore what was said"},
]


@pytest.mark.parametrize("value", VALUES, ids=["text", "empty", "no text", "nested", "large", "names"])
def test_a_value_comes_back_equal(store: MemschedStore, user: str, value: dict[str, Any]) -> None:
    store.put((user, "home"), "k", value)

    item = store.get((user, "home"), "k")

    assert item is not None
    assert (item.value, item.key, item.namespace) == (value, "k", (user, "home"))
    assert item.created_at == item.updated_at
    assert item.created_at.tzinfo is not None


def test_a_key_has_one_value_and_keeps_when_it_began(store: MemschedStore, user: str) -> None:
    place = (user, "home", "prefs")
    store.put(place, "food", {"likes": "pizza"})
    first = store.get(place, "food")
    store.put(place, "food", {"likes": "soup"})
    second = store.get(place, "food")

    assert first is not None
    assert second is not None
    assert second.value == {"likes": "soup"}
    assert (second.created_at, second.updated_at > first.updated_at) == (first.created_at, True)
    assert [item.value for item in store.search(place, query="pizza")] == [{"likes": "soup"}]
    store.delete(place, "food")
    store.delete(place, "food")
    assert store.get(place, "food") is None
    assert store.search(place) == []
    assert store.list_namespaces(prefix=(user,)) == []


def test_namespaces_are_told_apart(store: MemschedStore, user: str) -> None:
    """The one that ends with the user, the default cube, one below; equal keys; labels that mean something in JSON."""
    places = [
        (user,),
        (user, "default"),
        (user, "default", "a"),
        (user, "default", "a", "b"),
        (user, 'x"]'),
        (user, "[]"),
    ]
    for number, place in enumerate(places):
        store.put(place, "same", {"number": number})

    assert [item.value["number"] for place in places if (item := store.get(place, "same"))] == [*range(6)]
    below = [sorted(item.value["number"] for item in store.search(place)) for place in places]
    assert below == [[0, 1, 2, 3, 4, 5], [1, 2, 3], [2, 3], [3], [4], [5]]
    assert store.list_namespaces(prefix=(user,)) == sorted(places)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"status": "active"}, ["a", "c"]),
        ({"status": {"$eq": "active"}, "score": {"$gt": 4.99}}, ["a"]),
        ({"status": {"$ne": "active"}}, ["b", "d"]),
        ({"score": {"$gte": 3, "$lt": 5}}, ["b"]),
        ({"score": {"$lte": 3.0}}, ["b", "c"]),
        ({"nested": {"color": "red"}}, ["c"]),
        ({"nested": {"size": {"$gt": 1}}}, ["c"]),
        ({"tags": ["x", "y"]}, ["b"]),
        ({"missing": None}, ["a", "b", "c", "d"]),
        ({"score": {"$gt": "4"}}, []),
        ({"day": {"$gte": "2026-02-01"}}, ["d"]),
        ({"flag": 1}, []),
        ({}, ["a", "b", "c", "d"]),
    ],
)
def test_filters_are_what_the_documentation_says(
    store: MemschedStore, filtered: str, wanted: dict[str, Any], found: list[str]
) -> None:
    assert sorted(item.key for item in store.search((filtered, "home"), filter=wanted)) == found
    # also of what a query ranks, and of what it does not find
    assert sorted(item.key for item in store.search((filtered, "home"), query="report", filter=wanted)) == found


@pytest.fixture(scope="module")
def filtered(store: MemschedStore) -> str:
    user = "filtered"
    items = {
        "a": {"status": "active", "score": 5, "text": "a report"},
        "b": {"status": "old", "score": 3, "tags": ["x", "y"]},
        "c": {"status": "active", "score": 1, "nested": {"color": "red", "size": 2}},
        "d": {"day": "2026-03-01", "flag": True},
    }
    store.batch([PutOp((user, "home"), key, value) for key, value in items.items()])
    return user


def test_an_operator_that_is_none_is_named(store: MemschedStore, filtered: str) -> None:
    with pytest.raises(InvalidItem, match="no operator '\\$near'; there are \\$eq"):
        store.search((filtered, "home"), filter={"score": {"$near": 1}})


def test_a_query_finds_by_meaning_and_pages_follow_on_each_other(store: MemschedStore, user: str) -> None:
    notes = ["The boat is in Kiel.", "The dog sleeps in the kitchen.", "Taxes are due in May.", "Rome was warm."]
    for number, text in enumerate(notes):
        store.put((user, "notes", str(number)), "note", {"text": text, "rank": number})

    best, *others = store.search((user, "notes"), query="Where is the boat?", limit=10)
    pages = [store.search((user, "notes"), query="Where is the boat?", limit=2, offset=at) for at in (0, 2, 4)]
    newest = store.search((user, "notes"), limit=2)

    assert best.value["text"] == notes[0]
    assert best.score is not None
    assert len(others) == 3, "what does not fit stands behind"
    assert [item.namespace for page in pages for item in page] == [best.namespace, *(each.namespace for each in others)]
    assert [item.value["rank"] for item in newest] == [3, 2]


def test_what_is_searched_is_what_the_index_says(place: dict[str, Any], store: MemschedStore, user: str) -> None:
    titles = MemschedStore(store._mos, fields=["title"])
    titles.put((user, "docs"), "one", {"title": "harbour", "body": "kitchen"})
    titles.put((user, "docs"), "two", {"title": "garden", "body": "harbour"}, index=["body"])
    titles.put((user, "docs"), "three", {"title": "harbour"}, index=False)
    titles.put((user, "docs"), "four", {"authors": [{"name": "harbour"}]}, index=["authors[0].name"])

    found = store.search((user, "docs"), query="harbour")

    assert {item.key for item in found if item.score is not None} == {"one", "two", "four"}
    assert found[-1].key == "three"
    assert all((item.score or 0) < 0.5 for item in store.search((user, "docs"), query="kitchen")), "a body is none"


def test_a_batch_reads_before_it_writes_and_the_last_write_counts(store: MemschedStore, user: str) -> None:
    place = (user, "home")
    store.put(place, "k", {"n": 0})

    results = store.batch(
        [
            PutOp(place, "k", {"n": 1}),
            GetOp(place, "k"),
            PutOp(place, "k", {"n": 2}),
            PutOp(place, "other", {"n": 3}),
            SearchOp((user,), limit=10),
            PutOp(place, "other", None),
            ListNamespacesOp((MatchCondition("prefix", (user,)),)),
        ]
    )

    assert results[0] is results[2] is results[3] is None
    assert results[1].value == {"n": 0}  # type: ignore[union-attr]
    assert [item.value for item in results[4]] == [{"n": 0}]  # type: ignore[union-attr]
    assert results[6] == [place]
    assert [item.value for item in store.search(place)] == [{"n": 2}]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"prefix": ("USER",)}, ["a", "a/b/c", "a/b/d/e", "a/b/d/i", "a/b/f", "a/c/f"]),
        ({"prefix": ("USER", "a", "b"), "max_depth": 4}, ["a/b/c", "a/b/d", "a/b/f"]),
        ({"prefix": ("USER",), "suffix": ("f",)}, ["a/b/f", "a/c/f"]),
        ({"prefix": ("USER", "*", "c")}, ["a/c/f"]),
        ({"prefix": ("USER",), "suffix": ("d", "*")}, ["a/b/d/e", "a/b/d/i"]),
        ({"prefix": ("USER",), "max_depth": 2}, ["a"]),
        ({"prefix": ("USER",), "limit": 2, "offset": 1}, ["a/b/c", "a/b/d/e"]),
        ({"prefix": ("USER", "nothing")}, []),
    ],
)
def test_namespaces_are_listed(store: MemschedStore, listed: str, asked: dict[str, Any], found: list[str]) -> None:
    given = {name: (listed, *each[1:]) if name == "prefix" else each for name, each in asked.items()}

    assert store.list_namespaces(**given) == [(listed, *each.split("/")) for each in found]


@pytest.fixture(scope="module")
def listed(store: MemschedStore) -> str:
    for labels in (
        ("a",),
        ("a", "b", "c"),
        ("a", "b", "d", "e"),
        ("a", "b", "d", "i"),
        ("a", "b", "f"),
        ("a", "c", "f"),
    ):
        store.put(("listed", *labels), "k", {"v": 1})
    return "listed"


def test_others_have_nothing_here(store: MemschedStore, place: dict[str, Any], user: str) -> None:
    """Equal cubes, keys and words; a cube of another by its full name; a store that is one user's own."""
    other = f"{user}-2"
    for name in (user, other):
        store.put((name, "home", "x"), "code", {"code": f"the code of {name}"})
    own = MemschedStore(store._mos, user_id=user)

    seen = [*own.search(()), *own.search((), query="code"), *store.search((user,), query="code", limit=100)]
    assert {item.value["code"] for item in seen} == {f"the code of {user}"}
    assert own.list_namespaces() == [("home", "x")]
    assert own.get((f"{other}/home", "x"), "code") is None
    assert own.search((f"{other}/home",)) == []
    own.delete((f"{other}/home", "x"), "code")
    assert store.get((other, "home", "x"), "code") is not None
    item = own.get(("home", "x"), "code")
    assert item is not None
    assert item.namespace == ("home", "x")
    for call in (
        lambda: store.search(()),
        lambda: store.list_namespaces(),
        lambda: store.list_namespaces(prefix=("*", "home")),
        lambda: store.list_namespaces(suffix=("x",)),
    ):
        with pytest.raises(InvalidNamespaceError, match="the first label of a namespace is the user"):
            call()


def test_a_shared_cube_is_read_by_who_took_it(store: MemschedStore, user: str) -> None:
    mos, other, name = store._mos, f"{user}-2", f"{user}/lent"
    mos.create_user(other)
    store.put((user, "lent", "x"), "k", {"v": 1})
    mos.share_cube_with_user("lent", other, "read", user)
    before = store.get((other, name, "x"), "k")
    mos.accept_cube(name, other)

    item = store.get((other, name, "x"), "k")

    assert before is None
    assert item is not None
    assert (item.namespace, item.value) == ((other, name, "x"), {"v": 1})
    assert store.list_namespaces(prefix=(other,)) == [(other, name, "x")]
    with pytest.raises(Exception, match="read"):
        store.put((other, name, "x"), "k", {"v": 2})


@pytest.mark.parametrize(
    ("write", "error", "said"),
    [
        (lambda store, place: store.put(place, "k", {"v": 1}, ttl=5), NotImplementedError, "TTL is not supported"),
        (lambda store, place: store.batch([PutOp(place, "k", {"v": 1}, ttl=5)]), NotImplementedError, "leave ttl out"),
        (lambda store, place: store.put((), "k", {}), InvalidNamespaceError, "empty"),
        (lambda store, place: store.put((*place, "a.b"), "k", {}), InvalidNamespaceError, "periods"),
        (lambda store, place: store.batch([GetOp((*place, ""), "k")]), InvalidNamespaceError, "empty"),
        (lambda store, place: store.put(place, "k", {"v": object()}), InvalidItem, "cannot be written as JSON"),
        (lambda store, place: store.put(place, "k", ["v"]), InvalidItem, "A value is a mapping, not list"),
        (lambda store, place: store.put(place, "k", {"v": "x" * 1_000_001}), InvalidItem, "1,000,000 at most"),
        (lambda store, place: store.put(place, "k" * 1_001, {}), InvalidItem, "A key has at most 1,000"),
        (lambda store, place: store.put(place, "k\ud800", {}), InvalidItem, "is not Unicode text"),
    ],
    ids=[
        "ttl",
        "ttl in a batch",
        "no namespace",
        "a period",
        "no label",
        "no JSON",
        "no mapping",
        "too large",
        "key",
        "half",
    ],
)
def test_what_cannot_be_kept_is_said_and_nothing_is_done(
    store: MemschedStore, user: str, write: Callable[..., Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        write(store, (user, "home"))
    with pytest.raises(InvalidItem):
        store.batch([PutOp((user, "home"), "fine", {}), PutOp((user, "home"), "k", {"v": {1}})])

    assert store.list_namespaces(prefix=(user,)) == []


async def test_it_works_from_a_running_loop_and_from_many_at_once(store: MemschedStore, user: str) -> None:
    place = (user, "home")
    await asyncio.gather(*(store.aput(place, f"k{number}", {"n": number}) for number in range(8)))
    store.put(place, "sync", {"n": 8})  # from within the loop, without awaiting

    item = await store.aget(place, "k3")
    found = await store.asearch(place, limit=20)
    threaded = await asyncio.to_thread(store.search, place, limit=20)

    assert item is not None
    assert item.value == {"n": 3}
    assert sorted(each.value["n"] for each in found) == [*range(9)]
    assert sorted(each.value["n"] for each in threaded) == [*range(9)]
    await store.adelete(place, "k3")
    assert await store.aget(place, "k3") is None
    assert await store.alist_namespaces(prefix=(user,)) == [place]


def test_items_are_memories_with_their_secrets_masked_in_what_is_searched(store: MemschedStore, user: str) -> None:
    value = {"note": "The boat is in Kiel.", "key": "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"}
    store.put((user, "home"), "k", value)
    (found,) = store._mos.search("Where is the boat?", user)["text_mem"][0]["memories"]

    assert "note: The boat is in Kiel." in found.memory
    assert value["key"] not in found.memory
    item = store.get((user, "home"), "k")
    assert item is not None
    assert item.value == value
    store._mos.delete_all("home", user)
    assert store.get((user, "home"), "k") is None


def test_what_a_policy_denies_is_not_there(
    place: dict[str, Any], user: str, tmp_path: Any, store: MemschedStore
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    for cube in ("secret", "plain"):
        store.put((user, cube), "k", {"v": cube})
    with MemschedStore(**place, access_policy=str(tmp_path / "policy.yaml")) as guarded:
        assert guarded.get((user, "secret"), "k") is None
        assert [item.value for item in guarded.search((user,))] == [{"v": "plain"}]
        assert [item.value for item in guarded.search((user,), query="secret")] == [{"v": "plain"}]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langgraph.store.base", None)
    monkeypatch.delitem(sys.modules, "memsched.integrations.langgraph_store")

    with pytest.raises(ImportError, match=r"pip install 'memsched\[langgraph\]'"):
        import_module("memsched.integrations.langgraph_store")


def test_the_lines_of_the_documentation_do_what_it_says(
    place: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (lines,) = blocks(ROOT / "docs/integrations.md", "python", "## LangGraph")
    for name, value in place.items():
        monkeypatch.setenv(f"MEMSCHED_{name.upper()}", value)
    exec(lines, {})

    assert "soup [('ada', 'home', 'recipes')]" in capsys.readouterr().out


def test_a_store_on_a_mos_of_the_program_leaves_it_open(store: MemschedStore, user: str) -> None:
    mos: MOS = store._mos
    MemschedStore(mos).close()

    assert mos.get_user_info(user)["user_id"] == user
