"""Exports of other programs as conversations: every form that a file has, and every way in which it is broken."""

from __future__ import annotations

import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memsched import ScheduleMessageItem
from memsched.memory.exports import read
from memsched.memory.exports.conversation import Conversation
from memsched.memory.exports.formats import Format
from memsched.memory.exports.read import BrokenExport, conversations_in
from memsched.memory.ingest.turns import reading_of

DATA = Path(__file__).parents[3] / "data" / "exports"
CHAT = {"id": "one", "messages": [{"role": "user", "content": "I ski."}, {"role": "assistant", "content": "Where?"}]}
OTHER = {"id": "two", "messages": [{"role": "user", "content": "I swim."}]}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def call(content: Any, name: str = "file.json") -> Path:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return file

    return call


def said(found: Conversation) -> list[str]:
    """What the reader of turns keeps of it."""
    message = ScheduleMessageItem(
        user_id="alice", mem_cube_id="home", label="add", content="", chat_history=list(found.messages)
    )
    return [turn.text for turn in reading_of(message).or_refuse().turns] if found.messages else []


FORMS = {
    "chatgpt": {
        "oslo-1": ["I move to Oslo in May.", "Oslo is light in May.", "This is my cat Mimi.", "Mimi is a lovely cat."],
        "spoken-1": ["I play the cello.", "Since when?"],
        "broken-1": [],
    },
    "claude": {"c-1": ["I drink green tea.", "Green tea is fine.", "Here is my list."], "c-2": []},
    "openai": {
        "w-1": ["I live in Oslo. What is the weather?", "It is 3 degrees."],
        "": ["This is my dog.", "A nice dog."],
    },
    "langchain": {"": ["I sing in a choir.", "Which voice?"]},
    "sharegpt": {"s-1": ["I collect stamps.", "From where?"], "s-2": ["I sold my car.", "What now?"]},
    "gemini": {"": ["I bake bread.", "Rye or wheat?"]},
    "locomo": {
        "talk-1/session_1": ["I sail on Sundays.", "I have a photo."],
        "talk-1/session_2": ["I bought a boat."],
    },
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("told", [True, False], ids=["as told", "auto"])
def test_each_program_s_export_is_read(name: str, told: bool) -> None:
    form = Format("anthropic" if name == "claude" else name) if told else Format.AUTO

    found = {each.key: each for each in conversations_in(DATA / f"{name}.json", form)}

    named = {key if key in FORMS[name] else "": said(each) for key, each in found.items()}
    assert named == FORMS[name]
    assert all(found), "each has a key"


def test_chatgpt_s_current_branch_has_its_ids_and_times() -> None:
    oslo, spoken, broken = conversations_in(DATA / "chatgpt.json")

    assert (oslo.key, oslo.title) == ("oslo-1", "Moving to Oslo")
    assert oslo.began == 1710000000.25
    assert [(each["id"], each.get("create_time")) for each in oslo.messages] == [
        ("sys", None),
        ("ctx", None),
        ("q1", 1710000003.5),
        ("t1", 1710000003.5),  # it has none of its own
        ("call", 1710000004.5),
        ("out", 1710000005.5),
        ("null", 1710000005.5),
        ("a1", 1710000007.5),
        ("q2", 1710000100.0),
        ("a2", 1710000100.0),
    ]
    assert said(spoken) == ["I play the cello.", "Since when?"], "without a current node, the newest branch"
    assert (broken.refused, broken.where) == ("its mapping is no object", "conversation 3")


def test_what_is_marked_not_to_be_remembered_is_passed_over(write: Write) -> None:
    chat = json.loads((DATA / "chatgpt.json").read_text())[0] | {"is_do_not_remember": True}

    (found,) = conversations_in(write([chat]))

    assert not found.messages
    assert found.passed == {"marked not to be remembered": 1}


def test_a_tree_that_leads_round_in_a_circle_or_to_nowhere_ends(write: Write) -> None:
    nodes: dict[str, Any] = {
        name: {"id": name, "parent": parent, "message": None} for name, parent in (("a", "b"), ("b", "a"))
    }
    nodes["c"] = {"id": "c", "parent": "gone", "message": {"author": {"role": "user"}, "content": "I ski."}}

    circle, nowhere = conversations_in(write([{"mapping": nodes, "current_node": name} for name in ("a", "c")]))

    assert said(circle) == said(nowhere) == ["I ski."]


def test_claude_s_messages_have_their_times_and_what_is_shown_last_is_a_branch(write: Write) -> None:
    tea, _ = conversations_in(DATA / "claude.json")
    assert tea.messages[0] == {
        "uuid": "m-1",
        "sender": "human",
        "text": "I drink green tea.",
        "content": [{"type": "text", "text": "I drink green tea.", "citations": []}],
        "created_at": "2024-05-01T10:00:01.000000Z",
    }

    messages = [
        {"uuid": "1", "sender": "human", "text": "I ski."},
        {"uuid": "2", "sender": "assistant", "text": "Where?", "parent_message_uuid": "1"},
        {"uuid": "3", "sender": "assistant", "text": "Since when?", "parent_message_uuid": "1"},
    ]
    (found,) = conversations_in(write([{"uuid": "c", "chat_messages": messages, "current_leaf_message_uuid": "3"}]))
    assert said(found) == ["I ski.", "Since when?"]


TEXTS = ("I am Ann.", "I ski.", "I live in Oslo.")
LINKS: dict[str, list[dict[str, Any]]] = {
    "no ids": [{}, {}, {}],
    "an id that is null": [{"uuid": "1"}, {"uuid": None}, {"uuid": "3"}],
    "an id twice": [{"uuid": "1"}, {"uuid": "1"}, {"uuid": "3"}],
    "no links": [{"uuid": "1"}, {"uuid": "2"}, {"uuid": "3"}],
    "a gap": [{"uuid": "1"}, {"uuid": "2", "parent_message_uuid": "1"}, {"uuid": "3", "parent_message_uuid": "gone"}],
    "a root that is not there": [
        {"uuid": "1", "parent_message_uuid": "0000"},
        {"uuid": "2", "parent_message_uuid": "1"},
        {"uuid": "3", "parent_message_uuid": "2"},
    ],
}


@pytest.mark.parametrize("how", LINKS)
@pytest.mark.parametrize("leaf", ["3", "4", None, ["3"]], ids=str)
def test_nothing_is_lost_where_links_are_missing(write: Write, how: str, leaf: Any) -> None:
    messages = [{"sender": "human", "text": text, **link} for text, link in zip(TEXTS, LINKS[how], strict=True)]
    claude = {"uuid": "c", "chat_messages": messages, "current_leaf_message_uuid": leaf}
    nodes = {
        str(number): {
            "parent": link.get("parent_message_uuid"),
            "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [text]}},
        }
        for number, (text, link) in enumerate(zip(TEXTS, LINKS[how], strict=True), start=1)
    }
    chatgpt = {"id": "g", "mapping": nodes, "current_node": leaf}

    assert [said(each) for each in conversations_in(write([claude, chatgpt]))] == [list(TEXTS), list(TEXTS)]


def test_an_edited_first_message_is_not_shown(write: Write) -> None:
    messages = [
        {"uuid": name, "sender": "human", "text": text, "parent_message_uuid": before}
        for name, text, before in (("1", "I am An.", "0000"), ("2", "I am Ann.", "0000"), ("3", "I ski.", "2"))
    ]
    (found,) = conversations_in(write([{"uuid": "c", "chat_messages": messages, "current_leaf_message_uuid": "3"}]))

    assert said(found) == ["I am Ann.", "I ski."]


def test_a_session_of_locomo_has_the_time_when_it_began() -> None:
    first, second = conversations_in(DATA / "locomo.json")

    assert (first.began, first.title) == (datetime(2023, 5, 8, 13, 56, tzinfo=UTC), "Ann and Ben")
    assert second.messages[0] == {
        "speaker": "Ben",
        "content": "I bought a boat.",
        "id": "D2:1",
        "timestamp": "2023-06-09T10:00:00+00:00",
    }
    assert first.messages[1]["blip_caption"] == "a red boat"


SHAPES: dict[str, Any] = {
    "a list": [CHAT, OTHER],
    "an object around it": {"account": {"id": "x"}, "conversations": [CHAT, OTHER]},
    "a list of lists": [CHAT["messages"], OTHER["messages"]],
    "an object around lists": {"data": [CHAT["messages"], OTHER["messages"]]},
    "lines": b"\n".join(json.dumps(each).encode() for each in (CHAT, OTHER)),
    "objects over several lines": b"\n".join(json.dumps(each, indent=1).encode() for each in (CHAT, OTHER)),
    "an object after a byte order mark": b"\xef\xbb\xbf" + json.dumps({"conversations": [CHAT, OTHER]}).encode(),
    "with a byte order mark": b"\xef\xbb\xbf" + json.dumps([CHAT, OTHER], indent=2).encode(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_conversations_stand_in_a_file_in_many_ways(write: Write, shape: str) -> None:
    assert [said(each) for each in conversations_in(write(SHAPES[shape]))] == [["I ski.", "Where?"], ["I swim."]]


ONE: dict[str, Any] = {
    "a conversation": CHAT,
    "a list of messages": CHAT["messages"],
    "messages in an object": {"messages": CHAT["messages"]},
    "lines of messages": b"\n".join(json.dumps(each).encode() for each in CHAT["messages"]),
    "a conversation with an unusual list": {
        "conversations": [{"from": "human", "value": "I ski."}, {"from": "gpt", "value": "Where?"}]
    },
    "google's studio": {
        "chunkedPrompt": {
            "chunks": [
                {"role": "user", "text": "I ski."},
                {"role": "model", "text": "Hm", "isThought": True},
                {"role": "model", "text": "Where?"},
            ]
        }
    },
}


@pytest.mark.parametrize("shape", ONE)
def test_one_conversation_may_be_the_whole_file(write: Write, shape: str) -> None:
    (found,) = conversations_in(write(ONE[shape]))

    assert len(found.messages) == 2
    assert found.key
    assert not found.refused


def test_lines_of_messages_are_grouped_by_their_conversation_and_a_broken_line_is_refused_alone() -> None:
    found = list(conversations_in(DATA / "messages.jsonl"))

    assert [(each.key, said(each)) for each in found if not each.refused] == [
        ("x", ["I ski.", "Where?"]),
        ("y", ["I swim.", "In a lake?"]),
    ]
    (broken,) = [each for each in found if each.refused]
    assert broken.where == "line 4"
    assert broken.refused.startswith("it is no JSON: ")


def test_lines_of_conversations_are_read() -> None:
    assert [each.key for each in conversations_in(DATA / "conversations.jsonl", Format.JSONL)] == ["l-1", "l-2"]


def test_a_list_of_messages_without_end_comes_in_pieces(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "_MESSAGES_TOGETHER", 2)
    messages = [{"role": "user", "content": f"I have {number} cats."} for number in range(5)]

    found = list(conversations_in(write(messages)))

    assert [(each.piece, len(each.messages)) for each in found] == [(0, 2), (1, 2), (2, 1)]
    assert len({each.key for each in found}) == 1


def test_a_conversation_without_an_id_is_known_again_when_it_goes_on(write: Write) -> None:
    first = [{"role": "user", "content": "I ski."}, {"role": "assistant", "content": "Where?"}]
    more = [*first, {"role": "user", "content": "In Oslo."}]

    (before,) = conversations_in(write([first]))
    after, other = conversations_in(write([more, first]))

    assert before.key == after.key == other.key


@pytest.mark.parametrize("name", [0, 1, "0"])
def test_every_number_is_an_id(write: Write, name: Any) -> None:
    assert [each.key for each in conversations_in(write([CHAT | {"id": name}]))] == [str(name)]


def test_talks_without_ids_keep_their_keys_in_any_order(write: Write) -> None:
    rules = {"role": "system", "content": "You are kind."}
    talks = [
        [rules, {"role": "user", "content": text, "created_at": at}]
        for text, at in (("Hi", 1700000000), ("Hi", 1700000900), ("Ho", 1700000000))
    ]

    keys = [each.key for each in conversations_in(write(talks))]

    assert [each.key for each in conversations_in(write(talks[::-1]))] == keys[::-1]
    assert len(set(keys)) == 3


def test_without_a_time_of_its_own_a_conversation_has_that_of_the_file(write: Write) -> None:
    file = write([CHAT, {**OTHER, "createdAt": 1700000000000}])

    one, two = conversations_in(file)

    assert one.began == datetime.fromtimestamp(file.stat().st_mtime, UTC)
    assert two.began == 1700000000000


# -- zips and folders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["conversations.json"],
        ["export/conversations.json"],
        ["conversations-000.json", "conversations-001.json"],
        ["my chats.json"],
    ],
)
def test_a_zip_or_its_folder_is_taken_as_it_is_downloaded(tmp_path: Path, names: list[str]) -> None:
    parts = [[CHAT, OTHER]] if len(names) == 1 else [[CHAT], [OTHER]]
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("chat.html", "<html>")
        if names != ["my chats.json"]:
            archive.writestr("user.json", '{"id": "x"}')
        for name, part in zip(names, parts, strict=True):
            archive.writestr(name, json.dumps(part))
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_text(json.dumps(part))

    folder = (tmp_path / "folder" / names[0]).parent
    for place in (tmp_path / "export.zip", folder):
        assert [each.key for each in conversations_in(place)] == ["one", "two"]


def test_a_zip_without_conversations_says_what_is_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", "")

    with pytest.raises(BrokenExport, match=r"no conversations\.json in it.*there is a\.png"):
        list(conversations_in(tmp_path / "photos.zip"))


@pytest.mark.parametrize("name", ["file.json", "file.jsonl"])
@pytest.mark.parametrize("before", range(0, 1_100, 100))
def test_numbers_that_are_none_end_no_file(write: Write, name: str, before: int) -> None:
    text = 'NaN, \\"Infinity, ' * before + str(10**30)
    odd = [float("nan"), float("inf"), float("-inf"), 10**4_000, -(10**30), {"a": float("nan")}, float("nan")]
    chat = CHAT | {
        "messages": [{"role": "user", "content": text, "odd": odd, "id": 2**62}, {"role": "user", "content": "-1e999"}]
    }
    content = (
        json.dumps([chat, OTHER] if name == "file.json" else chat).replace(": 4611", ': 1e999, "x": 4611').encode()
    )

    found = next(conversations_in(write(content, name)))

    assert not found.refused
    assert [each["content"] for each in found.messages] == [text, "-1e999"]
    assert found.messages[0]["odd"][:3] == [None, None, None]
    assert (found.messages[0]["id"], found.messages[0]["x"]) == ("1e999", 2**62)


# -- what is broken ----------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[bytes, str]] = {
    "in the middle": (b'[\n{"id": "one", "messages": []},\n{"id": }]', "line 3, byte 41: .*unallowed token"),
    "long before the end": (
        b'[{"id": "one", "messages": []},\n{"id": }' + b',\n{"a": 1}' * 300 + b"]",
        "line 2, byte 40: .*unallowed token",
    ),
    "cut off": (b'[{"id": "one", "messages": []}, {"id": "tw', "line 1, byte 42: .*premature EOF"),
    "no comma": (b'[{"id": "one", "messages": []} {"id": 2}]', "after array element"),
    "no number": (b'[{"id": "one", "messages": []}, {"id": NoN}]', "invalid char.*NoN"),
    "no UTF-8": (b'[{"id": "one", "messages": []}, {"id": "\xff"}]', "invalid bytes in UTF8"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_says_where_after_what_stands_before(write: Write, how: str) -> None:
    content, words = BROKEN[how]
    found: list[Conversation] = []

    with pytest.raises(BrokenExport, match=words):
        found.extend(conversations_in(write(content)))

    assert [each.key for each in found] == ["one"]


def test_standard_input_is_refused_in_a_sentence() -> None:
    with pytest.raises(BrokenExport, match="standard input is not read"):
        list(conversations_in(Path("-")))


USELESS: dict[str, tuple[bytes, str]] = {
    "empty": (b"  \n", "it is empty"),
    "a text": (b"Dear diary", "it is no JSON"),
    "utf-16 without its mark": ('[{"id": 1}]'.encode("utf-16-le"), "UTF-16; save it as UTF-8"),
    "the other utf-16": ('[{"id": 1}]'.encode("utf-16-be"), "UTF-16; save it as UTF-8"),
    "gzip": (gzip.compress(b"[]"), "packed with gzip; unpack it first"),
    "xz": (lzma.compress(b"[]"), "packed with xz; unpack it first"),
    "utf-16": ('[{"id": 1}]'.encode("utf-16"), "UTF-16; save it as UTF-8"),
    "a zip that was not loaded to its end": (b"PK\x03\x04 and no more", "the zip is broken"),
}


@pytest.mark.parametrize("what", USELESS)
def test_what_is_no_export_is_one_clear_sentence(write: Write, what: str) -> None:
    content, words = USELESS[what]

    with pytest.raises(BrokenExport, match=words):
        list(conversations_in(write(content)))


def test_what_a_mac_adds_to_a_zip_is_no_export(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("__MACOSX/conversations.json", b"\x00\x05\x16\x07")
        archive.writestr("conversations.json", json.dumps([CHAT]))

    assert len(list(conversations_in(tmp_path / "export.zip"))) == 1


def test_a_zip_with_a_password_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.writestr("conversations.json", "[]")
    locked = bytearray((tmp_path / "locked.zip").read_bytes())
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)

    with pytest.raises(BrokenExport, match="has a password"):
        list(conversations_in(tmp_path / "locked.zip"))


@pytest.mark.parametrize(
    ("value", "form", "why"),
    [
        ({"colour": "red"}, Format.AUTO, "no conversation in any form"),
        ("a text", Format.AUTO, "no conversation in any form"),
        ({"messages": [{"sender_name": "Ann", "content": "I ski."}]}, Format.AUTO, "with role (or name), content and"),
        ({"type": "message", "user": "U1", "text": "I ski."}, Format.AUTO, "with role (or name), content and"),
        (CHAT, Format.CHATGPT, "no conversation of chatgpt, an object with mapping; it looks like openai"),
        ({"messages": [{"sender_name": "Ann"}]}, Format.CHATGPT, "no conversation of chatgpt, an object with mapping"),
        ({"messages": []}, Format.CHATGPT, "no conversation of chatgpt, an object with mapping"),
        ({"messages": [{"sender_name": "Ann"}]}, Format.OPENAI, "no conversation of openai, messages of role and"),
        ({"messages": [*CHAT["messages"], 1]}, Format.OPENAI, "message 3 is neither"),
        ({"chat_messages": "none"}, Format.ANTHROPIC, "no list of messages"),
        ({"conversation": {"session_1": [], "session_1_date_time": "noon"}}, Format.LOCOMO, "no time as in"),
    ],
)
def test_one_that_is_none_is_refused_and_the_others_are_read(write: Write, value: Any, form: Format, why: str) -> None:
    good = json.loads((DATA / "chatgpt.json").read_text())[0] if form is Format.CHATGPT else None

    found = list(conversations_in(write([value, good or CHAT]), form))

    assert why in found[0].refused
    assert found[0].where == "conversation 1"
    assert len(found) == 2


def test_a_file_is_read_no_further_than_needed_and_one_conversation_has_its_limit(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MAX_CONVERSATION_BYTES", 100_000)
    long = {"id": "long", "messages": [{"role": "user", "content": "so " * 50_000}]}
    taken: list[int] = []

    found = conversations_in(write([CHAT, *[OTHER] * 1_000, long]), advance=taken.append)

    assert next(found).key == "one"
    assert sum(taken) < 5_000
    with pytest.raises(BrokenExport, match="one conversation has more than 100,000 bytes"):
        list(found)
