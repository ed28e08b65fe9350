"""What an access policy's file means, and what it is told where it means nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memsched import Settings
from memsched.errors import SettingsError
from memsched.memory.access.hook import release_from
from memsched.memory.access.policy_file import AccessPolicy
from memsched.memory.access.reading_as import reading_as, roles_now
from memsched.memory.access.release import LeavingMemory

MEDICAL = """
version: 1
roles:
  doctor: [dr-*, eve]
  clerk: []
rules:
  - allow: {tags: medical, roles: doctor}
  - redact: {tags: medical, roles: clerk, mark: "[medical]"}
  - deny: {tags: medical}
default: all
"""


def policy(tmp_path: Path, text: str) -> AccessPolicy:
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return AccessPolicy.of(path)


def leaves(hook: AccessPolicy, reader: str, purpose: Any = "search", **of_memory: Any) -> str | None:
    known = {"owner": "clinic", "mem_cube_id": "records", "memory_id": "m", "text": "kumquat", "cube_tags": ()}
    return hook.release(reader, purpose, LeavingMemory(**{**known, **of_memory}))


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    hook = policy(tmp_path, MEDICAL)

    assert leaves(hook, "dr-who", tags=("medical",)) == "kumquat"
    assert leaves(hook, "eve", tags=("medical",)) == "kumquat"
    assert leaves(hook, "bob", tags=("medical",)) is None
    assert leaves(hook, "clinic", tags=("Medical", "x")) is None, "its own owner is no doctor"
    assert leaves(hook, "bob", tags=("medic",)) == "kumquat"
    assert leaves(hook, "bob", cube_tags=("medical",)) is None, "the cube's tags are its memories'"
    assert leaves(hook, "dr-who", cube_tags=None) is None, "whose cube nobody can read"


def test_a_key_brings_roles_with_it(tmp_path: Path) -> None:
    hook = policy(tmp_path, MEDICAL)
    with reading_as(["clerk"]):
        assert leaves(hook, "bob", tags=("medical",)) == "[medical]"
        assert leaves(hook, "dr-who", tags=("medical",)) == "kumquat", "beside those of the file"
        with reading_as(["doctor"]):
            assert leaves(hook, "bob", tags=("medical",)) == "kumquat"
        assert roles_now() == {"clerk"}
    assert leaves(hook, "bob", tags=("medical",)) is None
    assert leaves(hook, "", "events", tags=("medical",)) is None


@pytest.mark.parametrize(
    ("default", "rules", "own", "foreign"),
    [
        ("own", "[]", "kumquat", None),
        ("all", "[]", "kumquat", "kumquat"),
        ("none", "[]", None, None),
        ("none", "[{allow: {}}]", "kumquat", "kumquat"),
        ("all", "[{deny: {whose: foreign}}]", "kumquat", None),
        ("all", "[{redact: {whose: own}}]", "(redacted)", "kumquat"),
        ("all", "[{deny: {owners: 'cl*', cubes: [records, x]}}]", None, None),
        ("all", "[{deny: {owners: CLINIC}}, {deny: {cubes: record}}]", "kumquat", "kumquat"),
        ("all", "[{deny: {purposes: [export, search], whose: foreign}}]", "kumquat", None),
        ("all", "[{deny: {purposes: export}}]", "kumquat", "kumquat"),
        ("all", "[{deny: {tags: ['*']}}]", "kumquat", "kumquat"),
    ],
)
def test_conditions_and_the_default(
    tmp_path: Path, default: str, rules: str, own: str | None, foreign: str | None
) -> None:
    hook = policy(tmp_path, f"version: 1\ndefault: {default}\nrules: {rules}\n")

    assert leaves(hook, "clinic") == own
    assert leaves(hook, "bob") == foreign


def test_words_of_an_event_may_be_about_anything_unless_it_says_about_what(tmp_path: Path) -> None:
    hook = policy(tmp_path, MEDICAL)
    asked: dict[str, Any] = {"memory_id": "", "text": "Asked: is it kumquat?"}

    assert leaves(hook, "bob", "events", **asked) is None
    assert leaves(hook, "dr-who", "events", **asked) == asked["text"]
    assert leaves(hook, "bob", "events", **asked, about=("m",)) == asked["text"]
    assert leaves(hook, "bob", "events", **asked, about=("m",), tags=("medical",)) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected version: 1"),
        ("rules: []", "line 1: version: version is missing."),
        ("version: 2", "line 1: version: Input should be 1."),
        ("version: 1\nrule: []", "line 2: rule: there is no such key: 'rule'."),
        ("version: 1\nrules:\n- {}\n", "line 3: rules[0]: a rule has one of allow, redact and deny"),
        ("version: 1\nrules:\n- {allow: {}, deny: {}}", "line 3: rules[0]: a rule has one of"),
        ("version: 1\nrules:\n- deny:\n    tag: [x]\n", "line 4: rules[0].deny.tag: there is no such key: 'tag'."),
        ("version: 1\nrules:\n- deny:\n    tags: []\n", "line 4: rules[0].deny.tags: there is nothing in it"),
        ("version: 1\nrules:\n- allow:\n    tags:\n", "line 4: rules[0].allow.tags: it says nothing; leave it away"),
        ("version: 1\nrules:\n- deny:\n    tags:\n    - 7\n", "line 5: rules[0].deny.tags[0]: Input should be a valid"),
        ("version: 1\nrules:\n- deny: {purposes: [reed]}", "line 3: rules[0].deny.purposes[0]: Input should be 'sear"),
        ("version: 1\nrules:\n- deny: {mark: x}", "line 3: rules[0]: only redact has a mark."),
        ("version: 1\nrules:\n- deny: {}\n- allow: {}", "line 3: rules[0].deny: it always holds, so no rule after it"),
        (
            "version: 1\nroles: {doctor: []}\nrules:\n- deny: {roles: [doktor]}",
            "line 4: rules[0].deny.roles[0]: 'doktor' is not in roles; did you mean 'doctor'?",
        ),
        ("version: 1\nroles: {doctor: [7]}", "line 2: roles.doctor[0]: Input should be a valid string."),
        ("version: 1\nversion: 1", "line 2: the key 'version' is there already"),
        ("version: 1\nrules: [", "line 2: "),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        policy(tmp_path, text)
    assert f"policy.yaml: {said}" in str(refused.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        policy(tmp_path, "version: 1\nrules:\n- deny: {tag: x}\n- {}\n")
    assert [each.split(": ")[1] for each in refused.value.problems] == ["line 3", "line 4"]


def test_the_settings_say_which_hook_there_is(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(MEDICAL, encoding="utf-8")
    named = {"redis_url": "memory://", "access_policy": str(tmp_path / "policy.yaml")}

    assert release_from(Settings.load(**named)).asks
    assert not release_from(Settings.load(redis_url="memory://")).asks
    with pytest.raises(SettingsError, match="set one of them"):
        release_from(Settings.load(**named, permissions="some:hook"))
    with pytest.raises(SettingsError, match="cannot be read"):
        release_from(Settings.load(redis_url="memory://", access_policy=str(tmp_path / "other.yaml")))


def test_the_policy_that_the_documentation_shows_is_the_example() -> None:
    root = Path(__file__).parents[4]
    example = (root / "examples" / "access_policy.yaml").read_text(encoding="utf-8")

    assert f"```yaml\n{example}```" in (root / "docs" / "access.md").read_text(encoding="utf-8")
    hook = AccessPolicy.of(root / "examples" / "access_policy.yaml")
    assert leaves(hook, "dr-who", tags=("medical",)) == "kumquat"
    assert leaves(hook, "frida", tags=("medical",)) == "(a medical record)"
    assert leaves(hook, "dr-who", "export", tags=("medical",)) is None
