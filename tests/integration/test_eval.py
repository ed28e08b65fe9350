"""`memsched eval`: small made-up files through the real pipeline, and files that are none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support.memories import cube_memory
from support.processes import clean_environment
from support.stories import CHATTER, HOUSE, RENOVATION

from memsched.evaluation.baselines import BASELINES, Retrieval, Seen
from memsched.evaluation.locomo import NotAConversationFile, read_conversations
from memsched.evaluation.prediction import ABLATIONS, BOTH, GAIN, OWN, POLICIES, PRECISION, REPLACED, TYPING, Places
from memsched.evaluation.prefix import OWN as OWN_BLOCK
from memsched.evaluation.prefix import PLAIN, STRATEGIES
from memsched.evaluation.replay import Scores
from memsched.evaluation.stories import NotAStory, read_stories, with_one_offs
from memsched.evaluation.streams import STREAMS, Told, steps_of
from memsched.memory.model import to_ms

pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed (pip install 'memsched[embedded]')")
pytestmark = pytest.mark.timeout(90)

OPENING = "It is good to see you again, how was your week?"


def conversation(name: str, secret: str) -> dict[str, Any]:
    """Two sessions; each conversation has the same words and ids as all others, but for one secret."""
    sessions = [
        ["Hello there!", OPENING, f"My locker has the number {secret}.", "I keep my boots in it."],
        ["We adopted a kitten.", "What is the name of the kitten?", "The kitten is called Minka.", "Lovely name!"],
    ]
    talk: dict[str, Any] = {"speaker_a": "Ann", "speaker_b": "Ben"}
    for number, turns in enumerate(sessions, 1):
        talk[f"session_{number}_date_time"] = f"{number}:30 pm on {number} May, 2026"
        talk[f"session_{number}"] = [
            {"speaker": "Ann" if place % 2 == 0 else "Ben", "dia_id": f"D{number}:{place + 1}", "text": text}
            for place, text in enumerate(turns)
        ]
    questions = [
        {"question": "Which number does the locker have?", "evidence": ["D1:3"], "category": 4},
        {"question": "What is the kitten called?", "evidence": ["D2:3", "D2:9"], "category": 1},
        {"question": "Are the boots kept in the locker?", "evidence": ["D1:4"], "category": 4},
        {"question": "Who won?", "evidence": [], "category": 5},
    ]
    return {"sample_id": name, "conversation": talk, "qa": questions}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "talks.json"
    path.write_text(json.dumps([conversation("one", "4711"), conversation("two", "0815")]))
    return path


def evaluate(*words: str, of: str = "locomo", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memsched.cli", "eval", of, *words],
        env=clean_environment(COLUMNS="120", **environment),
        capture_output=True,
        text=True,
        timeout=80,
    )


def test_conversations_are_replayed_and_the_evidence_is_found(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"

    # A developer's own settings are for real work.
    done = evaluate(str(file), "--json", str(out), MEMSCHED_REDIS_URL="redis://nowhere", MEMSCHED_MEMORY="false")

    assert done.returncode == 0, done.stderr
    flat = json.loads(out.read_text())
    assert (flat["questions"], flat["without_evidence"], flat["turns"]) == (6, 2, 16)
    assert (flat["questions_single_hop"], flat["questions_multi_hop"]) == (4, 2)
    assert flat["recall_at_5"] == flat["recall_at_10"] == flat["recall_at_20"] == 1.0
    assert flat["recall_at_5_single_hop"] == 1.0
    assert flat["hit_at_20"] == 1.0, "8 memories fit into a working set"
    assert {"search_mean_ms", "working_set_mean_ms", "add_mean_ms", "query_to_ready_mean_ms"} <= flat.keys()
    assert flat["ingest_turns_per_s"] > 0
    assert flat["messages_per_s"] > 0
    for shown in ("recall@10", "hit@20", "single hop", "multi hop", "100.0 %", "2 conversations, 16 turns"):
        assert shown in done.stdout
    left = [process for process in psutil.process_iter(["cmdline"]) if "memsched-eval-" in str(process.info["cmdline"])]
    assert left == []


@pytest.mark.long
def test_conversations_with_the_same_words_and_ids_are_kept_apart(file: Path, tmp_path: Path) -> None:
    both, alone = tmp_path / "both.json", tmp_path / "alone.json"

    evaluate(str(file), "--json", str(both))
    evaluate(str(file), "--conversations", "1", "--json", str(alone))

    shares = [
        {name: value for name, value in json.loads(each.read_text()).items() if "_at_" in name}
        for each in (both, alone)
    ]
    assert shares[0] == shares[1]


def test_policies_are_compared_on_what_they_have_near_before_each_question(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    streams = [word for stream in ("soon", "end_order") for word in ("--stream", stream)]

    both = ("--answers", "gold", "--answers", "none", "--markdown")
    done = evaluate(str(file), *streams, *both, "--ablate", "--conversations", "1", "--json", str(out))

    assert done.returncode == 0, done.stderr
    flat = json.loads(out.read_text())
    names = [*POLICIES, *ABLATIONS, *(f"{name} (questions only)" for name in (OWN, BOTH, *ABLATIONS))]
    assert {f"{stream}_{name}" for stream in ("soon", "end_order") for name in names} == flat.keys()
    assert set(flat.values()) == {100.0}, "8 memories fit into 20 places"
    assert "| memsched (questions only) | 100.0 | 100.0 |" in done.stdout


@pytest.mark.long
def test_the_table_says_which_answers_were_told_and_what_there_is_none_of(file: Path) -> None:
    plain = evaluate(str(file), "--stream", "soon", "--answers", "none", "--conversations", "1").stdout
    for shown in ("memsched", "generative_agents", "search_10+set_10", "answers: questions only"):
        assert shown in plain
    unknown = " ".join(evaluate(str(file), "--stream", "soon", "--policy", "nonsense").stderr.split())
    assert "there is no nonsense; there are memsched" in unknown
    assert "only with --stream" in evaluate(str(file), "--policy", "memsched").stderr
    assert "No such file" in evaluate("no-such-file.json").stderr


@pytest.mark.long
def test_what_is_predicted_is_compared_with_what_made_way_for_it(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    typing = [word for policy in TYPING for word in ("--policy", policy)]
    small = {"MEMSCHED_WORKING_SET_SIZE": "4", "MEMSCHED_PREDICT_SLOTS": "2", "MEMSCHED_PREDICT_DELAY_MS": "0"}

    done = evaluate(
        str(file),
        *typing,
        "--stream",
        "end_order",
        "--answers",
        "none",
        "--conversations",
        "1",
        "--json",
        str(out),
        **small,
    )

    assert done.returncode == 0, done.stderr
    flat = json.loads(out.read_text())
    assert {f"end_order_{name}" for name in (*TYPING, GAIN, PRECISION, REPLACED)} == flat.keys()
    assert flat[f"end_order_{GAIN}"] > 0, "what is asked for was told first, and is not among the four"
    assert flat[f"end_order_{PRECISION}"] > flat[f"end_order_{REPLACED}"]
    assert "half of the question typed" in done.stdout
    places = Places()
    assert places.precision == 0.0
    places.count([True, False, False, True])
    assert places.precision == 50.0


@pytest.mark.long
def test_ways_to_keep_the_block_are_compared_on_what_prompts_have_in_common(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"

    done = evaluate(str(file), "--conversations", "1", "--json", str(out), of="prefix")

    assert done.returncode == 0, done.stderr
    flat = json.loads(out.read_text())
    names = (PLAIN, *STRATEGIES, OWN_BLOCK)
    assert {f"soon_{name}_evidence" for name in names} <= flat.keys()
    assert {flat[f"soon_{name}_evidence"] for name in names} == {100.0}, "8 memories fit into every block"
    assert flat[f"soon_{OWN_BLOCK}_anew"] == 0.0
    assert flat[f"soon_{OWN_BLOCK}_reused"] > flat[f"soon_{PLAIN}_reused"]
    assert OWN_BLOCK in done.stdout


@pytest.mark.parametrize("stream", STREAMS)
def test_no_stream_asks_before_the_evidence_was_told(file: Path, stream: str) -> None:
    (talk, _) = read_conversations(file)
    told: set[str] = set()
    asked, times = [], []
    for step in steps_of(talk, stream):
        if isinstance(step, Told):
            told |= {turn.reference for turn in step.turns}
            times += [step.at(number) for number in range(len(step.turns))]
        else:
            assert step.question.evidence <= told
            asked.append(step.question.text)
            times.append(step.at)
    assert len(told) == 8
    assert sorted(asked) == sorted(question.text for question in talk.questions)
    assert times == sorted(times)
    assert steps_of(talk, stream) == steps_of(talk, stream)


def test_soon_is_after_the_session_and_later5_five_sessions_on(file: Path) -> None:
    (talk, _) = read_conversations(file)

    def order(stream: str) -> list[str]:
        return ["told" if isinstance(step, Told) else step.question.category for step in steps_of(talk, stream)]

    assert order("soon") == ["told", "single_hop", "single_hop", "told", "multi_hop"]
    assert order("later5") == ["told", "told", "single_hop", "multi_hop", "single_hop"]
    assert order("later5") == order("end_order")


def seen(*retrieved: list[str], count: int = 40) -> Seen:
    memories = [cube_memory(f"m{number}", number, session_id=f"s{number // 10}") for number in range(count)]
    history = [
        Retrieval(to_ms(memories[-1].at) + number, [(name, 1 - place / 100) for place, name in enumerate(names)])
        for number, names in enumerate(retrieved)
    ]
    return Seen(memories, np.array([float(number == 3) * 9 for number in range(count)]), history, history[-1].at + 1)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("recency", ["m39", "m38"]),
        ("lru", ["m5", "m1"]),
        ("lfu", ["m1", "m5"]),
        ("lrfu", ["m1", "m5"]),
        ("act_r", ["m1"]),
        ("memory_os", ["m9", "m8"]),
        ("generative_agents", ["m5"]),
        ("content_and_age", ["m3", "m39"]),
        ("original", ["m5", "m1"]),
    ],
)
def test_a_baseline_keeps_what_it_is_known_for(name: str, first: list[str]) -> None:
    ranked = BASELINES[name](seen(["m1", "m2"], ["m1"], ["m5", "m1"]))

    assert ranked[: len(first)] == first
    assert len(set(ranked)) == 40


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("no json", "Expecting value"),
        ("{}", "a list of conversations"),
        ("[]", "a list of conversations"),
        ('[{"sample_id": "x"}]', "conversation 0: KeyError: 'conversation'"),
        ('[{"conversation": {"session_1": [], "session_1_date_time": "today"}}]', "conversation 0: ValueError"),
        ('[{"conversation": 7}]', "conversation 0"),
    ],
)
def test_a_file_that_is_none_is_a_clear_error(tmp_path: Path, content: str, what: str) -> None:
    file = tmp_path / "talks.json"
    file.write_text(content)

    with pytest.raises(NotAConversationFile, match=what):
        read_conversations(file)


def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    refused = evaluate(str(tmp_path / "nothing.json"))

    assert refused.returncode == 1
    assert "nothing.json" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_shares_are_means_of_questions_and_times_are_in_ms() -> None:
    scores = Scores(turns=10, messages=4, questions=2, ingest_seconds=2.0, total_seconds=4.0)
    for category, recall in (("temporal", 1.0), ("adversarial", 0.5)):
        for each in ("all", category):
            scores.hit[each].append(recall / 2)
            for depth in (5, 10, 20):
                scores.recall[each][depth].append(recall)
    scores.seconds["search"] += [0.001, 0.002, 0.006]

    flat = scores.as_flat()

    assert (flat["recall_at_10"], flat["recall_at_10_temporal"], flat["hit_at_20"]) == (0.75, 1.0, 0.375)
    assert (flat["search_mean_ms"], flat["search_p50_ms"]) == (3.0, 2.0)
    assert (flat["ingest_turns_per_s"], flat["messages_per_s"]) == (5.0, 1.0)
    assert "recall_at_10_multi_hop" not in flat


# -- stories ---------------------------------------------------------------------------------------------------------


def story(language: str) -> dict[str, Any]:
    """A house, then its renovation, and a request that names neither."""
    messages = [
        {"day": day, "time": "19:00", "role": "user", "label": "add", "text": text}
        | ({"theme": "chat"} if text in CHATTER else {"theme": theme, "open": theme == "B"})
        for theme, told in (("A", HOUSE[language]), ("B", RENOVATION[language]))
        for day, text in told
    ]
    middle = len(HOUSE[language]) - 1
    return {
        "id": f"{language}-house",
        "lang": language,
        "begin": "2026-03-02",
        "messages": messages,
        "request": {"en": "Too many things are piling up, help me organise them.", "zh": "事情太多了，帮我理一理。"}[
            language
        ],
        "request_day": 34,
        "request_time": "20:00",
        "request_shares_words_with": None,
        "expect": {
            "hot_at_the_end": "B",
            "checks": [{"after": middle, "hot": "A"}, {"after": len(messages) - 1, "hot": "B"}],
        },
    }


def test_stories_are_replayed_and_their_hot_themes_are_found(tmp_path: Path) -> None:
    out, folder = tmp_path / "out", tmp_path / "stories"
    folder.mkdir()
    for language in ("en", "zh"):
        (folder / f"{language}.json").write_text(json.dumps(story(language)))

    done = evaluate(str(folder), "--json", str(out), of="stories")

    assert done.returncode == 0, done.stderr
    flat = json.loads(out.read_text())
    assert flat["stories"] == 2
    assert flat["hottest_right"] == flat["hottest_right_en"] == flat["hottest_right_zh"] == 1.0
    assert flat["recall_after"] == 1.0, "4 open matters, all among the first ten of 13"
    assert flat["recall_before"] >= 0.75
    assert flat["precision_after"] == flat["precision_after_en"] == 0.4
    assert flat["old_after"] + flat["chatter_after"] == 6
    for shown in ("en-house", "zh-house", "2 of 2", "4 of 4"):
        assert shown in done.stdout


def test_one_offs_are_strewn_in_and_what_is_known_of_the_lines_moves_with_them(tmp_path: Path) -> None:
    (tmp_path / "en.json").write_text(json.dumps(story("en") | {"always": [1]}))
    (plain,) = read_stories(tmp_path)

    mixed = with_one_offs(plain, 3)

    assert with_one_offs(plain, 0) == plain
    assert len(mixed.lines) == len(plain.lines) + 3
    assert [line.at for line in mixed.lines] == sorted(line.at for line in mixed.lines)
    assert [mixed.lines[place] for place in mixed.always] == [plain.lines[1]]
    for before, after in zip(plain.checks, mixed.checks, strict=True):
        assert mixed.lines[after.messages - 1] == plain.lines[before.messages - 1]


@pytest.mark.parametrize(
    ("content", "what"),
    [("no json", "Expecting value"), ("{}", "KeyError: 'begin'"), (None, "no JSON file"), ("7", "TypeError")],
)
def test_a_folder_without_stories_is_a_clear_error(tmp_path: Path, content: str | None, what: str) -> None:
    if content is not None:
        (tmp_path / "story.json").write_text(content)

    with pytest.raises(NotAStory, match=what):
        read_stories(tmp_path)
