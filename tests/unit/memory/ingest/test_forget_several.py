"""Several requests to forget in a text, what else it says, and wordings of them; and what looks like them."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.memories import FIRST, memory

from memsched.memory.access.permissions import CubeRef
from memsched.memory.ingest.forget_requests import forget_request, names
from memsched.memory.ingest.forgettable import Asker, named_of

DECISIONS = Path(__file__).parents[3] / "data" / "decisions"
CUBE = CubeRef("alice", "home")
LATER = Asker("alice", "", FIRST + timedelta(days=1))
OTHERS = [
    "I am allergic to cats.",
    "I like tea.",
    "Ich mag Tee.",
    "Meine Schwester wohnt in Bonn.",
    "Mi hermana vive en Roma.",
    "My dog's name is Rex.",
    "My friend works at Rossi.",
    "My mother is 60 years old.",
    "My sister lives in Oslo.",
    "My wife likes Ann.",
    "\u6211\u59b9\u59b9\u4f4f\u5728\u676d\u5dde\u3002",
]


@pytest.mark.parametrize(
    ("text", "meant", "rest"),
    [
        ("Please forget that I like jazz. Also forget that I live in Oslo.", ["I like jazz.", "I live in Oslo."], ""),
        (
            "Forget that I like jazz.\nForget that I live in Oslo.\nForget that I have a cat.",
            ["I like jazz.", "I live in Oslo.", "I have a cat."],
            "",
        ),
        ("- forget that I like jazz\n- forget that I live in Oslo", ["I like jazz.", "I live in Oslo."], ""),
        ("1. Forget my address\n2. Forget that I smoke", ["My address is 5 Elm Street.", "I smoke."], ""),
        ("Forget that I like jazz, and delete my address too.", ["I like jazz.", "My address is 5 Elm Street."], ""),
        ("Forget my phone number and my address.", ["My phone number is 555.", "My address is 5 Elm Street."], ""),
        ("Forget my phone number and address.", ["My phone number is 555.", "My address is 5 Elm Street."], ""),
        (
            "Vergiss meine Adresse und meine Telefonnummer.",
            ["Meine Adresse ist Ulmenweg 5.", "Meine Telefonnummer ist 0170 555."],
            "",
        ),
        ("Vergiss, dass ich rauche und dass ich trinke.", ["Ich rauche.", "Ich trinke."], ""),
        ("Olvida mi direcci\xf3n y mi tel\xe9fono.", ["Mi direcci\xf3n es Sol 5.", "Mi tel\xe9fono es 555."], ""),
        (
            "\u5fd8\u8bb0\u6211\u7684\u5730\u5740\u548c\u7535\u8bdd\u53f7\u7801",
            [
                "\u6211\u7684\u5730\u5740\u662f\u6986\u6811\u88575\u53f7\u3002",
                "\u6211\u7684\u7535\u8bdd\u53f7\u7801\u662f138\u3002",
            ],
            "",
        ),
        ("Forget that I smoke and that I drink.", ["I smoke.", "I drink."], ""),
        ("Forget that I smoke and I drink.", ["I smoke.", "I drink."], ""),
        ("Please forget that\nI like jazz.", ["I like jazz."], ""),
        ("Please forget that I like jazz. My boss is Petra.", ["I like jazz."], "My boss is Petra."),
        (
            "Please forget that I like jazz, thanks! By the way, my boss is Petra.",
            ["I like jazz."],
            "By the way, my boss is Petra.",
        ),
        (
            "My boss is Petra. Please forget that I like jazz. I have a cat.",
            ["I like jazz."],
            "My boss is Petra. I have a cat.",
        ),
        ("Forget that I like jazz. Thanks!", ["I like jazz."], ""),
        ("Bitte vergiss, dass ich Jazz mag. Meine Chefin ist Petra.", ["Ich mag Jazz."], "Meine Chefin ist Petra."),
        (
            "\u8bf7\u5fd8\u8bb0\u6211\u559c\u6b22\u7235\u58eb\u4e50\u3002\u6211\u7684\u8001\u677f\u662f\u738b\u660e\u3002",
            ["\u6211\u559c\u6b22\u7235\u58eb\u4e50\u3002"],
            "\u6211\u7684\u8001\u677f\u662f\u738b\u660e\u3002",
        ),
        ("Remove the fact that I live in Oslo from your memory, please!", ["I live in Oslo."], ""),
        ("Pretend I never told you that I smoke.", ["I smoke."], ""),
        ("Act as if I had never mentioned my address.", ["My address is 5 Elm Street."], ""),
        ("Streich bitte meine Adresse.", ["Meine Adresse ist Ulmenweg 5."], ""),
        ("Vergiss meinen Namen.", ["Ich hei\xdfe Ann.", "Mein Name ist Ann."], ""),
        ("Forget my name.", ["My name is Ann.", "I'm called Ann."], ""),
        ("Forget where I live.", ["I live in Oslo.", "My address is 5 Elm Street."], ""),
        ("Please forget where I work.", ["I work at Rossi."], ""),
        ("Forget how old I am.", ["I am 34 years old.", "I'm 34."], ""),
        ("Forget what my wife is called.", ["My wife is called Ann.", "My wife's name is Ann."], ""),
        ("Vergiss, wo ich wohne.", ["Ich wohne in Bonn."], ""),
        ("Vergiss bitte, wie alt ich bin.", ["Ich bin 34 Jahre alt."], ""),
        ("Olvida d\xf3nde vivo.", ["Vivo en Roma."], ""),
        ("Olvida cu\xe1ntos a\xf1os tengo.", ["Tengo 34 a\xf1os."], ""),
        ("Olvida mi nombre.", ["Me llamo Ana.", "Mi nombre es Ana."], ""),
        ("\u5fd8\u8bb0\u6211\u4f4f\u54ea\u91cc", ["\u6211\u4f4f\u5728\u676d\u5dde\u3002"], ""),
        ("\u5fd8\u6389\u6211\u591a\u5927", ["\u6211\u4eca\u5e7434\u5c81\u3002"], ""),
        (
            "\u628a\u6211\u4f4f\u5728\u676d\u5dde\u8fd9\u4ef6\u4e8b\u5fd8\u4e86",
            ["\u6211\u4f4f\u5728\u676d\u5dde\u3002"],
            "",
        ),
        ("\u4f60\u5c31\u5f53\u6211\u6ca1\u8bf4\u8fc7\u6211\u62bd\u70df", ["\u6211\u62bd\u70df\u3002"], ""),
        ("Please don't keep a record of my address.", ["My address is 5 Elm Street."], ""),
        ("Das mit der Allergie kannst du streichen.", ["Ich habe eine Allergie."], ""),
        ("You can forget about my allergy to nuts now.", ["I am allergic to nuts.", "I have an allergy to nuts."], ""),
    ],
)
def test_all_that_is_asked_is_meant_and_the_rest_is_said(text: str, meant: list[str], rest: str) -> None:
    request = forget_request(text)

    assert request is not None
    assert [each for each in [*meant, *OTHERS] if names(request, each)] == meant
    assert request.rest == rest


@pytest.mark.parametrize(
    "text",
    [
        "I always forget that I live in Oslo.",
        "Don't forget that I like jazz.",
        "I want to forget my ex.",
        "Why would you forget that I like jazz?",
        "Did you forget where I live?",
        "My ex said: forget that I like jazz.",
        'Translate to German: "Please forget that I like jazz."',
        "Translate this:\nPlease forget that I like jazz.\nMy boss is Petra.",
        'She said "Forget that I love you. My boss is Petra."',
        "Never forget where I live.",
        "I forgot where I live.",
        "You never forget how old I am.",
        "I can't forget my address.",
        "He pretended I never told him that I smoke.",
        "Pretend you are a pirate.",
        "Pretend I never existed.",
        "Forget about dinner.",
        "Don't forget my phone number and my address.",
        "Vergiss nicht, dass ich rauche.",
        "Vergiss nicht, wo ich wohne.",
        "Ich vergesse immer, wo ich wohne.",
        "Hast du vergessen, wie alt ich bin?",
        "Das mit der Allergie ist schlimm.",
        "No olvides d\xf3nde vivo.",
        "Siempre olvido d\xf3nde vivo.",
        "\u522b\u5fd8\u8bb0\u6211\u4f4f\u54ea\u91cc",
        "\u6211\u603b\u662f\u5fd8\u8bb0\u6211\u4f4f\u54ea\u91cc",
        "\u4f60\u5fd8\u4e86\u6211\u591a\u5927\u5417",
        "To-do:\n- forget my ex\n- buy milk",
        "Forget it. I like tea.",
        "Forget that it is on Monday, it is on Tuesday.",
        "Keep a record of my address.",
        "We must not forget that I smoke and that I drink.",
        "If you forget that I like jazz, I am sad.",
        "My wife told me to forget my phone number and my address.",
        "I dreamt that you forgot my name.",
        "It is easy to forget where I live. My boss is Petra.",
        "How do I forget my ex?",
        "Ich m\xf6chte meine Ex vergessen.",
        "Quiero olvidar a mi ex.",
    ],
)
def test_what_looks_like_a_request_is_none(text: str) -> None:
    assert forget_request(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Forget my address. Just kidding!",
        "Forget my address. Actually no, keep it.",
        "Please forget my address? No, keep it.",
        "Please forget my address, or rather don't.",
        "I have two cats. Forget my address... just a joke.",
        "Forget my address. No, keep it. I have two cats.",
        "Vergiss meine Adresse. Nein, doch nicht.",
        "Vergiss meine Adresse. Quatsch, behalt sie!",
        "Olvida mi direcci\xf3n. No, mejor no.",
        "Olvida mi direcci\xf3n. \xa1Es broma!",
        "\u5fd8\u8bb0\u6211\u7684\u5730\u5740\u3002\u4e0d\uff0c\u8fd8\u662f\u7559\u7740\u5427\u3002",
        "\u5fd8\u8bb0\u6211\u7684\u5730\u5740\u3002\u5f00\u73a9\u7b11\u7684\u3002",
        "```\nforget my address\n```",
        "Dear Sir or Madam,\nplease delete my phone number.\nKind regards, Ann",
        "Subject: Please delete my phone number\n\nDear shop, please delete my phone number.\nRegards",
    ],
)
def test_what_is_taken_back_at_once_or_written_to_others_is_none(text: str) -> None:
    assert forget_request(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Just kidding, I have no cats. Forget my address.",
        "Never mind. Forget my address.",
        "Forget my address. Please don't remember it.",
        "Forget my address. Never mind the phone number.",
        "Forget that I smoke, it was just a joke.",
        "Keep it short. Forget my address.",
        "Dear assistant, please forget my address.",
    ],
)
def test_what_is_taken_back_is_something_else(text: str) -> None:
    assert forget_request(text) is not None


FORGET = [json.loads(line) for line in (DECISIONS / "forget.jsonl").read_text(encoding="utf-8").splitlines()]
SAID = {case["lang"]: case["said"] for case in FORGET if "said" in case}
MISSED = frozenset(
    ("forget-h-en-02", "forget-h-en-14", "forget-h-en-22", "forget-h-de-12", "forget-h-de-13", "forget-h2-en-03")
)
"""Of the cases that the rules were tuned on."""
OF_WHAT_WAS = frozenset(("forget-h-en-01", "forget-h-zh-01", "forget-h2-en-04", "forget-h2-de-02"))
"""They mean an old address: which one it is, memories say, and not words."""
ASKED = [
    case for case in FORGET if case.get("set") == "tuned" and "meant" in case and case["id"] not in MISSED | OF_WHAT_WAS
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in ASKED])
def test_of_several_things_and_lists_each_is_meant_and_the_rest_is_kept_to_the_letter(case: dict[str, Any]) -> None:
    request = forget_request(case["text"])

    assert request is not None
    assert [each for each in SAID[case["lang"]] if names(request, each)] == case["meant"]
    assert request.rest == case["rest"]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in FORGET if case["id"] in OF_WHAT_WAS])
def test_the_one_address_there_is_was_the_old_one_where_a_move_is_told(case: dict[str, Any]) -> None:
    request = forget_request(case["text"])
    memories = [memory(text) for text in SAID[case["lang"]]]

    assert request is not None
    assert request.rest == case["rest"]
    assert [each.text for each in named_of(memories, CUBE, request, LATER)] == case["meant"]


@pytest.mark.parametrize(
    ("text", "fields", "meant"),
    [
        ("Forget my old address.", [{}], []),
        ("Forget my old address.", [{"superseded_by": "new"}, {}], [0]),
        ("Forget my old address.", [{"may_be_revised_by": {"new": "moved"}}, {}], [0]),
        ("I moved, so forget my old address.", [{}, {}], []),
        ("Forget my address.", [{"superseded_by": "new"}, {}], [0, 1]),
    ],
)
def test_an_old_address_is_one_that_something_newer_took_the_place_of(
    text: str, fields: list[dict[str, Any]], meant: list[int]
) -> None:
    request = forget_request(text)
    memories = [memory(f"My address is {number} Elm Street.", **each) for number, each in enumerate(fields)]

    assert request is not None
    assert [memories.index(each) for each in named_of(memories, CUBE, request, LATER)] == meant


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"]) for case in FORGET if case["id"].startswith("none")]
)
def test_what_looks_like_a_list_of_requests_means_nothing(case: dict[str, Any]) -> None:
    request = forget_request(case["text"])

    assert request is None or not [each for each in SAID[case["lang"]] if names(request, each)]


@pytest.mark.parametrize(
    "part", ["forget my address, ", "forget my address and ", "- my a\n", "请忘记我的地址、", "not my a b "]
)
def test_long_texts_are_read_in_no_time(part: str) -> None:
    began = time.perf_counter()

    assert forget_request((part * 600)[:10_000]) is None
    forget_request((part * 60)[:600])

    assert time.perf_counter() - began < 1
