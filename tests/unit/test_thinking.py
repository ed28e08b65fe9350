"""Thinking in an answer: whole, unclosed, begun before the text, cut anywhere; and marks that are spoken about."""

from __future__ import annotations

import pytest

from memsched.thinking import ThinkingFilter, parted, without_thinking

THINKS = [
    ("<think>\nHard to please.\n</think>\n\nYou live in Rome.", "You live in Rome."),
    ("<think></think>You live in Rome.", "You live in Rome."),
    ("&lt;think&gt;Hm.&lt;/think&gt;\n\nYou live in Rome.", "You live in Rome."),
    ("\n&lt;thinking&gt;Is 3 &lt; 5?&lt;/thinking&gt;3 &lt; 5.", "3 &lt; 5."),
    ("<think>I write &lt;/think&gt; here.</think>Rome.", "Rome."),
    ("&lt;think&gt;It goes on, and never", ""),
    ("\n<THINK>short</THINK> You live in Rome.", "You live in Rome."),
    ("<thinking>a\nb</thinking>\n<think>c</think>\nyou live in Rome", "you live in Rome"),
    ('<think>maybe {"name": "blue"}?</think>{"name": "red"}', '{"name": "red"}'),
    ("[THINK]Let me see.[/THINK]Rome, 5 > 3.", "Rome, 5 > 3."),
    ("\u25c1think\u25b7Hm.\u25c1/think\u25b7\u7f57\u9a6c\u3002", "\u7f57\u9a6c\u3002"),
    ("<think>\nIt goes on and on, and never", ""),
    ("<think>Okay, so", ""),
    ("<think>\nThe mark </think> ends it", "ends it"),
    ("<think> okay, what do I know? </think> you live in Rome", "you live in Rome"),
    ("<think> okay, so", ""),
    ("<think>, hm, let me see", ""),
    ("<think>, hm</think>, so you live in Rome", ", so you live in Rome"),
    ("<think> is this about Rome?\n</think>\nYou live in Rome.", "You live in Rome."),
    ("<think>a <think>b</think> c</think>You live in Rome.", "You live in Rome."),
    ("<think><think>a</think></think>\n\nYou live in Rome.", "You live in Rome."),
    ("<think>\n<think>\na</think>\nYou live in Rome.", "You live in Rome."),
    ("<think>a</think>\n</think>\nYou live in Rome.", "You live in Rome."),
    ("<think>Who says <think> has an end?</think>You live in Rome.", "You live in Rome."),
    ("<think>I write `</think>` to end it.</think>You live in Rome.", "You live in Rome."),
    ('<think>Do I say "</think>" now?\n</think>\nYou live in Rome.', "You live in Rome."),
    ("<think>It is \u201c</think>\u201d or '</think>'.</think>Rome.", "Rome."),
    ("<think>Between <think> and </think>, it is hidden.\n</think>\nRome.", "Rome."),
    ("<think>As `<think>x</think>`.\n</think>\nRome.", "Rome."),
    ("<think>As in\n```\n<think>x</think>\n```\nso</think>Rome.", "Rome."),
    ("<think>A draft:\n```\ncode\n</think>\nRome:\n```\ncode\n```", "Rome:\n```\ncode\n```"),
    ('<think>They say "yes"</think>"Yes."', '"Yes."'),
    ("<think>I quote `</think>`, and", ""),
    ("\ufeff<think>Hm.</think>You live in Rome.", "You live in Rome."),
    ("\u200b\n<think>Hm.</think>You live in Rome.", "You live in Rome."),
    ("<think >Hm.</think >You live in Rome.", "You live in Rome."),
    ('<think type="deep" budget=3>Hm.</think>You live in Rome.', "You live in Rome."),
    ("<Thinking\n>Hm.</ THINKING>You live in Rome.", "You live in Rome."),
    ("<thinking> hm, </thinking> you live in Rome", "you live in Rome"),
    ("<think>Hm.</think>The mark </think> ends it.", "The mark </think> ends it."),
    ("<think>Hm.</think>`<think>` opens it.", "`<think>` opens it."),
    ("<think>Hm.</think>\n<think> and </think> are tags.", "<think> and </think> are tags."),
    ('<think>The screen is 27"</think>Your screen is 27 inches.', "Your screen is 27 inches."),
    ('<think>The screen is 27"</think>"27 inches" it is.', '"27 inches" it is.'),
    ("<think>He calls it 'Rex'</think>'Rex' is his name.", "'Rex' is his name."),
    ('<think>It ends with "</think>Rome.', "Rome."),
    ("<think>As `x </think>` y", "` y"),
    ("<think>Seat? Secret</think>Section B.", "Section B."),
    ("<think>Seat? Secret</think> Section B.", "Section B."),
    ("<think>Secret</think>Tokens cost 5 dollars.", "Tokens cost 5 dollars."),
    ("<think>Secret</think>block 7 is your seat", "block 7 is your seat"),
    ("<think>Secret</think> block 7 is your seat", "block 7 is your seat"),
    ("<think>Section? Secret</think>Section B.", "Section B."),
    ("<|im_start|>assistant\n<think>Secret</think>Hello", "Hello"),
    ("assistant\n<think>Secret</think>Hello", "Hello"),
    ("<|channel|>analysis<|message|>Secret<|end|><|start|>assistant<|channel|>final<|message|>Rome.", "Rome."),
    (
        "<|start|>assistant<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>analysis<|message|>B<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Rome, 3 < 5.<|return|>",
        "Rome, 3 < 5.",
    ),
    ("<|channel|>analysis<|message|>Secret<|end|>", ""),
    ("<|channel|>final<|message|>Rome.<|end|>", "Rome."),
    (
        "<|begin_of_thought|>\nSecret\n<|end_of_thought|>\n\n<|begin_of_solution|>\nRome.\n<|end_of_solution|>\n",
        "Rome.\n",
    ),
    ("<|begin_of_thought|>Secret<|end_of_thought|>Rome.", "Rome."),
    ("<analysis>Secret </think> and</analysis>\nRome.", "Rome."),
    ("<scratchpad>Secret</scratchpad>Rome.", "Rome."),
    ("<reflection>Secret</reflection>\n<reasoning>Secret</reasoning>Rome.", "Rome."),
    ("<think>They ask for </analysis>.</think>Rome.", "Rome."),
    ("<think/>Rome.", "Rome."),
    ("<think />\nRome.", "Rome."),
    ("Sure.\n<think>\nSecret\n</think>\nYou live in Rome.", "Sure.\nYou live in Rome."),
    ("Sure.\n\n<THINK>\nSecret\n\n</THINK>\n\nRome.\n<think>\nSecret\n</think>", "Sure.\n\n\nRome.\n"),
    ("<think>Secret</think>Sure.\n<think>\nSecret\n</think>\nRome.", "Sure.\nRome."),
    ("Sure.\n<think>Secret.</think>\nRome.", "Sure.\nRome."),
    ("Sure.\n\n  <think>" + "Secret. " * 99 + "</think>\n\nRome.\n<thinking>Secret</thinking>", "Sure.\n\n\nRome.\n"),
    ("<|START_THINKING|>Secret<|END_THINKING|><|START_RESPONSE|>Rome, 3 < 5.<|END_RESPONSE|>", "Rome, 3 < 5."),
    ("<|START_THINKING|>Secret<|END_THINKING|>Rome.", "Rome."),
    ("<antThinking>Secret</antThinking>\nRome.", "Rome."),
    ("<inner_thoughts>Secret</inner_thoughts>Rome.", "Rome."),
]
UNOPENED = [
    ("Hard to please.\n</think>\n\nYou live in Rome.", "You live in Rome."),
    ("Hard to please.</think>You live in Rome.", "You live in Rome."),
    ("Hard to please.\n\n</think> You live in Rome.", "You live in Rome."),
    ("One. The `</think>` mark is near.\n</think>\nYou live in Rome.", "You live in Rome."),
    ("Hard to please. </think> You live in Rome.", "You live in Rome."),
    ("Hard to please.</think> you live in Rome", "you live in Rome"),
    ("They ask about `<think>`.\n</think>\n\nYou live in Rome.", "You live in Rome."),
    ("</think>\n\nYou live in Rome.", "You live in Rome."),
    ('The screen is 27"</think>Your screen is 27 inches.', "Your screen is 27 inches."),
    ("Secret</think>", ""),
    ("Hard to please.\n</think>\n", ""),
]
SPOKEN_ABOUT = [
    "You live in Rome.",
    "<b>Rome</b>, 5 > 3.",
    "A model writes <think> before it answers, and </think> after that.",
    "<think> and </think> are the marks of thinking.",
    "<think> opens a thought.",
    "<think> is a tag.\n\nIt ends with </think>.",
    "<think> opens it and </think> closes it.",
    "<think>...</think> tags hold what a model thinks.",
    "<think>your thoughts</think> blocks are hidden.",
    "<think> \u548c </think> \u662f\u6807\u7b7e\u3002",
    "<think> ist ein Tag.",
    "<think>: a tag that opens a thought.",
    "<think> signals that the model reasons.",
    "Two marks:\n</think> ends it.",
    "</think>",
    "<thinker> is no mark, <think-tank> is none.",
    "<th",
    "The mark `</think>` ends it.",
    "It ends with </think>",
    "It ends with this:\n</think>",
    'Write "</think>" then.',
    "As in:\n```\nthoughts\n</think>\nanswer\n```\nThat is all.",
    "<think/> is a tag without a thought.",
    "<analysis> and </analysis> are tags.",
    "&lt;think&gt; and &lt;/think&gt; are tags.",
    "&lt;think&gt; opens a thought.",
    "In HTML, write &lt;/think&gt; to end it.",
    "&lt;b&gt; is bold, &amp; is and.",
    "<|channel|>analysis<|message|> opens it.",
    "assistant\nis the role.",
    "It ends with <|end|>",
    "As I said.\n```\n<think>\na thought\n</think>\n```\nThat is all.",
    "As I said.\n<think>\nand so on",
    "As I said.\n<think>and so on",
    "As I said.\n<think>...</think>\nThat is all.",
    "Like this:\n<think>a thought</think>\nand then the answer.",
    "As I said.\n```\n<think>a thought</think>\n```\nThat is all.",
    "As I said.\n<think>a</think> and <think>b</think>\nThat is all.",
    "As I said.\n<think> and </think> are tags.\nThat is all.",
    "Like this:\n<think>\na thought\n</think>\nand then the answer.",
    "",
]


@pytest.mark.parametrize(("text", "said"), [*THINKS, *UNOPENED, *((text, text) for text in SPOKEN_ABOUT)])
def test_what_is_said_is_what_is_left(text: str, said: str) -> None:
    assert without_thinking(text) == said
    assert parted(text).unopened == (text in dict(UNOPENED))


def streamed(text: str, size: int, *, holds: bool) -> str:
    thinking = ThinkingFilter(holds=holds)
    pieces = [thinking.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join([*pieces, thinking.end()])


@pytest.mark.parametrize(("text", "said"), [*THINKS, *UNOPENED, *((text, text) for text in SPOKEN_ABOUT)])
def test_it_is_the_same_however_the_answer_is_cut(text: str, said: str) -> None:
    for size in range(1, len(text) + 1):
        assert streamed(text, size, holds=True) == said, size
        if (text, said) not in UNOPENED:
            assert streamed(text, size, holds=False) == said, size


def test_an_answer_without_thinking_is_not_kept_back() -> None:
    thinking = ThinkingFilter(holds=False)

    assert [thinking.feed("You"), thinking.feed(" live"), thinking.end()] == ["You", " live", ""]


def test_a_long_thought_takes_no_time() -> None:
    thinking = ThinkingFilter(holds=True)

    given = [thinking.feed(piece) for piece in ["<think>", *["so "] * 20_000, "</think>", "Rome"]]

    assert "".join(given) + thinking.end() == "Rome"
