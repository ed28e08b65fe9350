"""The access policy: a YAML file of rules that says what of a memory may leave (MEMSCHED_ACCESS_POLICY).

It is a permission hook (``release.py``): asked for each memory on each way out, after ``Cubes`` has said who may read
the cube at all. So it takes away and never gives. The rules are asked in their order; the first one whose conditions
all hold decides. docs/access.md says it for operators.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from memsched.config_file import YamlPath, read_yaml_with_lines
from memsched.errors import SettingsError
from memsched.memory.access.reading_as import roles_now
from memsched.memory.access.release import LeavingMemory, Purpose

Effect = Literal["allow", "redact", "deny"]
_DECISIONS_KEPT = 10_000
"""A prompt asks about a hundred memories, most of them with the same tags."""


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


_Text = Annotated[str, Field(min_length=1, max_length=500)]
_Texts = Annotated[list[_Text], BeforeValidator(_listed), Field(min_length=1)]
_Readers = Annotated[list[_Text], BeforeValidator(_listed)]
_Purposes = Annotated[list[Purpose], BeforeValidator(_listed), Field(min_length=1)]
_Mark = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class When(_Strict):
    """The conditions of a rule: each that is given must hold, and of a list one.

    Args:
        roles: the reader has this role, by the file or by their key.
        purposes: what it is read for.
        tags: patterns; the memory has such a tag, or its cube.
        owners, cubes: patterns of the id of the cube's owner, and of the owner's name of it.
        whose: ``own``: the cube is the reader's own; ``foreign``: it is somebody else's.
        mark: of ``redact``: what stands in the place of the text; None: the file's.
    """

    roles: _Texts | None = None
    purposes: _Purposes | None = None
    tags: _Texts | None = None
    owners: _Texts | None = None
    cubes: _Texts | None = None
    whose: Literal["own", "foreign"] | None = None
    mark: _Mark | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _says_something(cls, given: Any) -> Any:
        if given is None:
            raise ValueError("it says nothing; leave it away, or say what")
        return given

    @field_validator("tags")
    @classmethod
    def _in_any_case(cls, tags: list[str] | None) -> list[str] | None:
        return None if tags is None else [tag.casefold() for tag in tags]

    @property
    def holds_always(self) -> bool:
        return not self.model_fields_set - {"mark"}

    def fits(self, reader: str, roles: frozenset[str], purpose: str, owner: str, cube: str) -> bool:
        """Whether all but the tags fits."""
        if self.roles is not None and roles.isdisjoint(self.roles):
            return False
        if self.purposes is not None and purpose not in self.purposes:
            return False
        if self.whose is not None and (reader == owner) != (self.whose == "own"):
            return False
        return _any_fits(self.owners, owner) and _any_fits(self.cubes, cube)

    def names_tag(self, tags: Sequence[str]) -> bool:
        """Whether one of these tags is asked for; True where none is."""
        return self.tags is None or any(_any_fits(self.tags, tag) for tag in tags)


class Rule(_Strict):
    """One effect with its conditions: ``allow: {...}``, ``redact: {...}`` or ``deny: {...}``; ``why`` is for people."""

    why: str = ""
    allow: When | None = None
    redact: When | None = None
    deny: When | None = None

    @model_validator(mode="after")
    def _has_one_effect(self) -> Self:
        given = self.model_fields_set & {*get_args(Effect)}
        if len(given) != 1 or getattr(self, next(iter(given))) is None:
            raise ValueError("a rule has one of allow, redact and deny, with its conditions: deny: {tags: [medical]}")
        if self.when.mark is not None and self.redact is None:
            raise ValueError("only redact has a mark")
        return self

    @property
    def effect(self) -> Effect:
        return "allow" if self.allow is not None else "redact" if self.redact is not None else "deny"

    @property
    def when(self) -> When:
        found = self.allow or self.redact or self.deny
        assert found is not None
        return found


class Policy(_Strict):
    """What an access policy's file says.

    Args:
        roles: by name, the ids of the users who have it, or patterns of them; none: only keys give it.
        mark: what stands in the place of a redacted text.
        rules: in the order in which they are asked.
        default: what leaves where no rule fits: the reader's ``own``, ``all`` of what they may read, or ``none``.
    """

    version: Literal[1]
    roles: dict[_Text, _Readers] = {}
    mark: _Mark = "(redacted)"
    rules: list[Rule] = []
    default: Literal["own", "all", "none"] = "own"


class AccessPolicy:
    """The permission hook of an access policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._decided = lru_cache(maxsize=_DECISIONS_KEPT)(self._decide)

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file. Raises SettingsError, one sentence per problem, each with its line."""
        document, line_of = read_yaml_with_lines(path)

        def problem(at: YamlPath, what: str) -> str:
            where = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in at).lstrip(".")
            return f"{os.fspath(path)}: line {line_of(at)}: {where + ': ' if where else ''}{what}"

        if not isinstance(document, dict):
            raise SettingsError([f"{os.fspath(path)}: expected version: 1, roles: and rules: (docs/access.md)."])
        try:
            policy = Policy.model_validate(document)
        except ValidationError as error:
            raise SettingsError(
                [problem(each["loc"], _said(each)) for each in error.errors(include_url=False, include_input=False)]
            ) from None
        if problems := [problem(at, what) for at, what in _contradictions(policy)]:
            raise SettingsError(problems)
        return cls(policy)

    def release(self, reader: str, purpose: Purpose, memory: LeavingMemory) -> str | None:
        """See PermissionHook. What nobody can read any more does not leave (``cube_tags`` None)."""
        if memory.cube_tags is None:
            return None
        # An event's words that name no memory, such as a question, may be about one with any tags.
        any_tags = not memory.memory_id and not memory.about
        tags = (*memory.tags, *memory.cube_tags)
        effect, mark = self._decided(reader, roles_now(), purpose, memory.owner, memory.mem_cube_id, tags, any_tags)
        return memory.text if effect == "allow" else mark if effect == "redact" else None

    def _decide(
        self,
        reader: str,
        roles: frozenset[str],
        purpose: str,
        owner: str,
        cube: str,
        given: tuple[str, ...],
        any_tags: bool,
    ) -> tuple[Effect, str]:
        """What becomes of a memory, and the mark of a redaction."""
        policy = self._policy
        roles = roles.union(role for role, readers in policy.roles.items() if reader and _any_fits(readers, reader))
        tags = [each.casefold() for each in given]
        allowed_tags: set[str] = set()
        for rule in policy.rules:
            when = rule.when
            if not when.fits(reader, roles, purpose, owner, cube):
                continue
            if when.names_tag(tags):
                return rule.effect, when.mark or policy.mark
            if any_tags and rule.effect == "allow":
                allowed_tags.update(when.tags or ())
            elif any_tags and not allowed_tags.issuperset(when.tags or ()):
                return rule.effect, when.mark or policy.mark
        allowed = policy.default == "all" or (policy.default == "own" and reader == owner)
        return "allow" if allowed else "deny", policy.mark

    def decides_by(self, tag: str) -> bool:
        """Whether a rule asks for this tag."""
        return any(rule.when.tags is not None and rule.when.names_tag([tag.casefold()]) for rule in self._policy.rules)


def _any_fits(patterns: Sequence[str] | None, text: str) -> bool:
    return patterns is None or any(fnmatchcase(text, each) for each in patterns)


def _contradictions(policy: Policy) -> list[tuple[YamlPath, str]]:
    """What is well-formed, and cannot be meant."""
    found: list[tuple[YamlPath, str]] = []
    for number, rule in enumerate(policy.rules):
        at = ("rules", number, rule.effect)
        for place, role in enumerate(rule.when.roles or ()):
            if role not in policy.roles:
                close = get_close_matches(role, policy.roles, n=1)
                meant = f"did you mean {close[0]!r}?" if close else "write it there, with [] if only keys give it."
                found.append(((*at, "roles", place), f"{role!r} is not in roles; {meant}"))
        if rule.when.holds_always and number < len(policy.rules) - 1:
            found.append((at, "it always holds, so no rule after it is ever asked; let it be the last one."))
    return found


_KNOWN: dict[str, Callable[[dict[str, Any]], str]] = {
    "extra_forbidden": lambda each: f"there is no such key: {each['loc'][-1]!r}.",
    "missing": lambda each: f"{each['loc'][-1]} is missing.",
    "too_short": lambda _: "there is nothing in it; leave it away, or say what.",
}


def _said(error: Any) -> str:
    known = _KNOWN.get(error["type"])
    told = known(error) if known else error["msg"].removeprefix("Value error, ")
    return told if told.endswith(".") else f"{told}."
