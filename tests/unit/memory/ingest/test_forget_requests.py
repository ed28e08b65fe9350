"""Requests to forget something, and what they mean."""

from __future__ import annotations

import pytest

from memsched.memory.ingest.forget_requests import forget_request, named_among

MEMORIES = [
    "I like jazz.",
    "I like jazz clubs in Berlin and old trains from the north.",
    "I don't like jazz.",
    "My sister likes opera.",
    "Ich mag Jazz.",
    "Me gusta el jazz.",
    "\u6211\u559c\u6b22\u7235\u58eb\u4e50\u3002",
]


@pytest.mark.parametrize(
    ("request_", "meant"),
    [
        ("Please forget that I like jazz.", [0]),
        ("Can you forget that my sister likes opera?", [3]),
        ("forget everything about opera", [3]),
        ("Can you please forget that I like jazz?", [0]),
        ("Forget that I like jazz, please", [0]),
        ("Kannst du bitte vergessen, dass ich Jazz mag?", [4]),
        ("Bitte vergiss, dass ich Jazz mag.", [4]),
        ("Por favor, olvida que me gusta el jazz.", [5]),
        ("\u8bf7\u5fd8\u8bb0\u6211\u559c\u6b22\u7235\u58eb\u4e50\u3002", [6]),
    ],
)
def test_only_what_is_named_is_meant(request_: str, meant: list[int]) -> None:
    request = forget_request(request_)

    assert (named_among(request, MEMORIES) if request else []) == meant


@pytest.mark.parametrize(
    ("request_", "meant", "not_meant"),
    [
        ("Forget my name.", "My name is Una.", "My dog's name is Rex."),
        ("Forget my name.", "The user's name is Una.", "My mother's name is Olga."),
        ("Forget my birthday.", "My old birthday is 3 May.", "Anna's birthday is 4 June."),
        ("Forget my birthday.", "My birthday is 3 May.", "I want to buy my mother's birthday cake."),
        ("Forget my job.", "I lost my job.", "My wife lost her job."),
        ("Forget my job.", "I have a job at Rossi.", "I think Anna found a job."),
        ("Forget my phone number.", "My phone number is 5.", "My phone rang, the number was hidden."),
        ("Remove my job from what you know.", "My job is hard.", "My wife lost her job."),
        ("Delete everything about my job.", "My wife lost her job.", "My wife lost her ring."),
        ("Vergiss meinen Geburtstag.", "Mein Geburtstag ist im Mai.", "Der Geburtstag meiner Mutter ist im Juni."),
        ("Olvida mi edad.", "Mi edad es 40.", "La edad de mi madre es 70."),
        ("Forget that Tom likes Anna.", "Tom really likes Anna.", "Anna likes Tom."),
        ("Forget that I hate my boss.", "I hate my boss.", "My boss hates me."),
        ("Forget that he is allergic.", "He's allergic.", "I am allergic."),
        ("Forget that I lived in Rome.", "I lived in Rome.", "I live in Rome."),
        ("Forget that I live in Porto.", "I live in Porto now.", "I would live in Porto."),
        ("Forget that I own a dog.", "I own a dog.", "I want a dog."),
        ("Forget that I like jazz.", "The user likes jazz.", "You like jazz."),
        ("Vergiss, dass Tom Anna mag.", "Tom mag Anna.", "Anna mag Tom."),
        ("Olvida que vivo en Roma.", "Vivo en Roma.", "Vive en Roma."),
        (
            "\u5fd8\u8bb0\u6211\u559c\u6b22\u7235\u58eb\u4e50",
            "\u6211\u559c\u6b22\u7235\u58eb\u4e50\u3002",
            "\u4ed6\u559c\u6b22\u7235\u58eb\u4e50\u3002",
        ),
    ],
)
def test_what_is_said_of_others_and_of_other_times_is_not_meant(request_: str, meant: str, not_meant: str) -> None:
    request = forget_request(request_)

    assert request is not None
    assert named_among(request, [meant, not_meant]) == [0]


@pytest.mark.parametrize(
    "text",
    [
        "Forget it.",
        "Don't forget that I am allergic to nuts.",
        "I always forget that I like jazz.",
        "Vergiss nicht, dass ich Jazz mag.",
        "No olvides que soy alérgica.",
        "\u522b\u5fd8\u4e86\u6211\u5bf9\u82b1\u751f\u8fc7\u654f\u3002",
        "I like jazz.",
        # to give up, to have forgotten, to edit
        "You can forget about the garden this year, too dry",
        "Forget about it, really",
        "Forget about work on weekends",
        "Delete that email I drafted to Tom",
        "remove everything about Kubernetes from this draft",
        "Vergiss: Milch kaufen",
        "Vergiss \u00fcber dem Reden das Essen nicht",
        "Borra de la lista la leche",
        "\u5fd8\u4e86\u544a\u8bc9\u4f60\u6211\u5bf9\u82b1\u751f\u8fc7\u654f",
        "\u5fd8\u8bb0\u5403\u836f\u4e86",
        "\u5fd8\u8bb0\u5bc6\u7801\u600e\u4e48\u529e",
        "\u5220\u6389\u7b2c\u4e09\u884c",
        "Drop the users table from the database.",
        "Don't keep my dog waiting.",
        "My cart has two pizzas, delete it.",
        "Mein Koffer ist weg, vergiss es.",
        'Translate to German: "Please forget everything I told you about my family."',
        "Would you forget my face if I left?",
        "My knee hurts. Please delete the appointment from my calendar.",
        "Remember my shoe size, and please don't delete it this time.",
        "\u522b\u4fdd\u5b58\u6211\u7684\u4fee\u6539",
        "forget it, let's move on",
        "You can forget about my help",
        "I want you to forget about work",
        "Forget I asked",
        "\u522b\u5fd8\u6389\u6211\u7684\u751f\u65e5",
        "\u8bf7\u4e0d\u8981\u5fd8\u8bb0\u6211\u7684\u751f\u65e5",
        "\u5fd8\u6389\u70e6\u607c",
        "\u5fd8\u6389\u5bc6\u7801\u4e86",
        "\u4e0d\u8981\u5fd8\u6389\u5c0f\u7f8e",
        "\u628a\u6211\u7684\u7b2c\u4e09\u6bb5\u5220\u6389\u5427",
        # what says something else as well
        "Please forget that the meeting is on Monday, it is on Tuesday",
        "Forget that I have a headache, let's go on: my dog is called Max",
        "forget that. My birthday is May 3.",
        "Forget that I like tea; I love coffee.",
    ],
)
def test_what_is_no_such_request(text: str) -> None:
    assert forget_request(text) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("I want you to forget about Kevin.", "Kevin"),
        ("You can forget about my trip to Oslo now.", "my trip to Oslo"),
        ("pls forget i own a dog", "i own a dog"),
        ("\u8bf7\u5fd8\u8bb0\u6211\u7684\u751f\u65e5\u3002", "\u6211\u7684\u751f\u65e5"),
        ("\u5fd8\u6389\u6211\u7684\u65e7\u5730\u5740", "\u6211\u7684\u65e7\u5730\u5740"),
        ("\u5fd8\u6389\u5c0f\u7f8e", "\u5c0f\u7f8e"),
        ("\u522b\u518d\u8bb0\u7740\u6211\u7684\u524d\u5973\u53cb\u4e86", "\u6211\u7684\u524d\u5973\u53cb"),
        ("\u628a\u6211\u7684\u65e7\u5730\u5740\u5220\u6389\u5427", "\u6211\u7684\u65e7\u5730\u5740"),
        ("\u5fd8\u8bb0\u6211\u5988\u5988\u7684\u4e00\u5207", "\u6211\u5988\u5988"),
        ("Could you please delete everything you know about my divorce?", "my divorce"),
        ("Remove my phone number from your memory.", "my phone number"),
        ("Forget that I told you that I am ill, it's private.", "I am ill"),
        ("I don't want you to remember my salary.", "my salary"),
        ("hey can u drop the thing about my ex from ur memory, thx", "my ex"),
        ("What I just said about my debts, please don't keep it, delete it.", "my debts"),
        ("My old number has no business in your memory, get rid of it.", "My old number"),
        ("Kannst du bitte alles \u00fcber meinen Chef vergessen?", "meinen Chef"),
        ("L\u00f6sche meine Telefonnummer aus deinem Ged\u00e4chtnis.", "meine Telefonnummer"),
        ("Das mit meinem Umzug kannst du wieder vergessen.", "meinem Umzug"),
        ("Borra todo lo que tengas guardado sobre mi jefe, por favor.", "mi jefe"),
        ("Quita mi n\u00famero de tel\u00e9fono de tu memoria.", "mi n\u00famero de tel\u00e9fono"),
        ("\u628a\u5173\u4e8e\u6211\u8001\u677f\u7684\u4e8b\u90fd\u5fd8\u6389\u5427\u3002", "\u6211\u8001\u677f"),
        (
            "\u8bf7\u4ece\u4f60\u7684\u8bb0\u5fc6\u4e2d\u5220\u9664\u6211\u7684\u751f\u65e5\u3002",
            "\u6211\u7684\u751f\u65e5",
        ),
    ],
)
def test_the_ways_to_ask(text: str, what: str) -> None:
    request = forget_request(text)

    assert request is not None
    assert (request.what, request.rest) == (what, "")


def test_what_is_said_before_a_request_is_told_apart() -> None:
    request = forget_request("I moved to Porto last week. Please forget my old address.")

    assert request is not None
    assert (request.what, request.rest) == ("my old address", "I moved to Porto last week.")


@pytest.mark.parametrize(
    "text", ["Wipe everything you've ever stored about me.", "L\u00f6sche alles, was du \u00fcber mich wei\u00dft."]
)
def test_to_forget_all_of_somebody_names_no_memory(text: str) -> None:
    request = forget_request(text)

    assert request is not None
    assert request.is_all
    assert named_among(request, MEMORIES) == []
