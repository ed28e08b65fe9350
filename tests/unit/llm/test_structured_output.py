"""JSON in the shapes in which models write it: it is read at the first try."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memsched.llm.errors import LLMInvalidAnswer
from memsched.llm.schemas import Extraction, Feedback, Ranking, Stated, Used
from memsched.llm.structured_output import MAX_CHARACTERS, parse_json

ANN: dict[str, Any] = {"kind": "fact", "text": "Ann likes tea", "quote": "I like tea", "source_turns": [0]}
BOB = {**ANN, "text": "Bob likes tea"}
WHOLE = {"memories": [ANN]}
PADDING = "\n \t" * MAX_CHARACTERS


def call(arguments: object) -> dict[str, object]:
    return {"name": "save_memories", "arguments": arguments}


ONE = {
    "a tool call": json.dumps(call(WHOLE)),
    "a tool call with its arguments as text": json.dumps(call(json.dumps(WHOLE))),
    "a tool call within its message": json.dumps({"tool_calls": [{"function": call(json.dumps(WHOLE))}]}),
    "a tool call around a bare list": json.dumps(call(json.dumps([ANN]))),
    "a tool call in markup": f"<tool_call>\n{json.dumps(call(WHOLE))}\n</tool_call>",
    "a string": json.dumps(json.dumps(WHOLE)),
    "a string in a string": json.dumps(json.dumps(json.dumps([ANN]))),
    "a string with a fence": json.dumps(f"```json\n{json.dumps(WHOLE)}\n```"),
    "a list as a string": json.dumps({"memories": json.dumps([ANN])}),
    "memories as strings": json.dumps({"memories": [json.dumps(ANN)]}),
    "a string within an object": json.dumps({"output": json.dumps(WHOLE)}),
    "padding before": PADDING + json.dumps(WHOLE),
    "padding after": json.dumps(WHOLE) + PADDING,
    "padding within": json.dumps(WHOLE).replace("[", f"[{PADDING}", 1),
    "padding until the tokens were used up": f'{{"memories": [{json.dumps(ANN)}{PADDING}',
    "a preface": f"Here it is:\n{json.dumps(WHOLE)}\nHope that helps {{}}",
}


@pytest.mark.parametrize("shape", ONE)
def test_a_memory_is_found_in_every_shape(shape: str) -> None:
    assert [memory.text for memory in parse_json(ONE[shape], Extraction).memories] == ["Ann likes tea"]


@pytest.mark.parametrize("several", ["{}\n{}", "[{},{}]"])
@pytest.mark.parametrize("as_text", [False, True])
def test_several_are_all_found(several: str, as_text: bool) -> None:
    each = [json.dumps(json.dumps(one) if as_text else one) for one in (ANN, BOB)]

    assert len(parse_json(several.format(*each), Extraction).memories) == 2


@pytest.mark.parametrize(
    "several",
    [
        {"memories": {"0": ANN, "1": BOB}},
        [[ANN, BOB]],
        [[ANN], [BOB]],
        {"memories": [ANN, {**BOB, "source_turns": "0"}]},
    ],
)
def test_none_of_several_is_lost(several: Any) -> None:
    assert len(parse_json(json.dumps(several), Extraction).memories) == 2


@pytest.mark.parametrize("none", ['{"memories": null}', '{"memories": ""}', json.dumps(call({"memories": None})), "[]"])
def test_null_is_no_memory(none: str) -> None:
    assert parse_json(none, Extraction).memories == []


def test_other_schemas_are_found_as_well() -> None:
    assert parse_json(json.dumps(call('{"order": [1, 0]}')), Ranking).order == [1, 0]
    assert parse_json('{"used": null}', Used).used == []
    assert parse_json('{"used": 0}', Used).used == [0]
    assert parse_json(json.dumps(call('{"corrected": 0, "text": "x"}')), Feedback).text == "x"


@pytest.mark.parametrize(
    "nothing", ["", "null", "Sorry.", '{"memories": "none"}', "[" * 5000, "x" * (MAX_CHARACTERS + 1)]
)
def test_what_is_none_is_refused(nothing: str) -> None:
    with pytest.raises(LLMInvalidAnswer):
        parse_json(nothing, Extraction)


@pytest.mark.parametrize(
    "answer",
    [
        '{"stated": false}',
        '{"stated": [false]}',
        '{"stated": [true]}',
        '[{"index": 0, "stated": false}]',
        '{"not_stated": [0]}',
        '{"no": [0]}',
        '{"stated": []}\n{"stated": [0]}',
        '{"stated": [0',
        '{"stated": "0"}',
        "[0]",
        json.dumps({"arguments": '{"stated": [0'}),
    ],
)
def test_only_an_index_in_its_list_is_a_yes(answer: str) -> None:
    with pytest.raises(LLMInvalidAnswer):
        parse_json(answer, Stated)


@pytest.mark.parametrize("answer", ['{"stated": [0, 2]}', 'They are:\n```json\n{"stated": [0, 2]}\n```'])
def test_which_statements_are_stated(answer: str) -> None:
    assert parse_json(answer, Stated).stated == [0, 2]
