"""Bodies of requests: what all have in common, and the types of their fields.

Types are strict: ``"5"`` is no number. What is not known is refused, never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from memsched.memory.context_tags import LONGEST_TAG, TAG
from memsched.memory.metadata import METADATA_SCHEMA
from memsched.messages import MAX_ID_CHARACTERS

MOST_TOP_K = 100
MOST_MESSAGES = 1_000
LARGEST = 2**63 - 1
DEEPEST = 64
"""Levels of free JSON: deeper is no message, and nobody wants to walk it."""


class Body(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)


def an_example(rule: JsonDict | None = None, /, **given: Any) -> ConfigDict:
    """For ``model_config``: what such a body may be, for the OpenAPI document.

    Args:
        rule: more that its schema says, of several fields together.
    """
    return ConfigDict(json_schema_extra={**(rule or {}), "examples": [given]})


def _plain(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("text", "It must not hold a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("text", "It is not Unicode text: it has half a surrogate pair.") from None
    return text


def _said(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("text", "Nothing is said.")
    return text


def _json(value: Any) -> Any:
    """Free JSON whose texts, names and numbers all can be kept."""
    left: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while left:
        each, path = left.pop()
        if len(path) > DEEPEST:
            raise PydanticCustomError("json", f"It is nested deeper than {DEEPEST} levels.", {"at": path[:2]})
        if isinstance(each, str):
            _plain_at(each, path)
        elif isinstance(each, int | float) and not -LARGEST <= each <= LARGEST:  # NaN neither
            raise PydanticCustomError("json", "It is no number that can be kept.", {"at": path})
        elif isinstance(each, list):
            left += [(item, (*path, number)) for number, item in enumerate(each)]
        elif isinstance(each, dict):
            for name, item in each.items():
                _plain_at(name, path)
                left.append((item, (*path, name)))
    return value


def _plain_at(text: str, path: tuple[str | int, ...]) -> None:
    try:
        _plain(text)
    except PydanticCustomError as error:
        raise PydanticCustomError("text", error.message_template, {"at": path}) from None


def _only_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError("moment", "It must be a text such as 2026-01-02T03:04:05Z.")
    return value


def _whole(value: Any) -> Any:
    """To JSON, 5.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


NO_NUL = {"pattern": "^[^\\u0000]*$"}
SAYS_SOMETHING = {"pattern": "^[^\\u0000]*[^\\u0000\\s][^\\u0000]*$"}
FREE_JSON = "x-free-json"
"""Stands in a schema for any JSON (openapi.py puts it in)."""
IN_AN_ADDRESS = "x-json-in-an-address"
"""Stands in the schema of a parameter whose text is JSON, with the schema of that (openapi.py)."""
WHOLE = BeforeValidator(_whole)
"""For a whole number; its bounds stand before it: ``Annotated[int, Field(ge=1), WHOLE]``."""
Moment = Annotated[AwareDatetime, Field(strict=False, examples=["2026-01-02T03:04:05Z"]), BeforeValidator(_only_text)]
Text = Annotated[str, AfterValidator(_plain), Field(json_schema_extra=NO_NUL)]
Said = Annotated[Text, AfterValidator(_said), Field(json_schema_extra=SAYS_SOMETHING)]
Tag = Annotated[Text, Field(min_length=1, max_length=LONGEST_TAG, json_schema_extra={"pattern": TAG})]
TopK = Annotated[int, Field(ge=0, le=MOST_TOP_K), WHOLE]
_IdText = Annotated[Text, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]
UserId = Annotated[_IdText, Field(description="Whom it is for. A key of one user means that user.", examples=["ada"])]
CubeName = Annotated[_IdText, Field(description="The user's name of the cube.", examples=["default"])]
SessionId = Annotated[_IdText, Field(description="The conversation.", examples=["monday"])]
ItemId = Annotated[_IdText, Field(description="The id of a message: the caller's own.", examples=["order-17"])]
MemoryId = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        description="The id of a memory.",
        examples=["6f1de0c4-3f0a-5d3c-8b69-0d7c6f3a52c1"],
    ),
]
Json = Annotated[Any, AfterValidator(_json), WithJsonSchema({FREE_JSON: True})]
JsonObject = Annotated[
    dict[str, Any],
    AfterValidator(_json),
    WithJsonSchema({"type": "object", "additionalProperties": {FREE_JSON: True}, "propertyNames": NO_NUL}),
]


def _as_message(value: Any) -> Any:
    if not isinstance(_json(value), dict) or not isinstance(value.get("role"), str):
        raise PydanticCustomError("message", 'A message is an object with a role: {"role": "user", "content": "..."}.')
    return value


ModelMessage = Annotated[
    Any,
    AfterValidator(_as_message),
    WithJsonSchema(
        {
            "type": "object",
            "required": ["role"],
            "properties": {"role": {"type": "string", **NO_NUL}, "content": {FREE_JSON: True}},
            "additionalProperties": {FREE_JSON: True},
            "propertyNames": NO_NUL,
        }
    ),
]
"""As it goes to a model."""
Metadata = Annotated[dict[str, Any], AfterValidator(_json), WithJsonSchema(METADATA_SCHEMA)]


class _Plain:
    """For a body that is a model of elsewhere: all in it can be kept, and its schema says so.

    Fields that may be anything are those that nobody reads.
    """

    def __get_pydantic_core_schema__(self, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        unread = {name for name, field in source.model_fields.items() if field.annotation is Any}

        def read(value: Any) -> Any:
            if isinstance(value, dict):
                _json({name: each for name, each in value.items() if name not in unread})
            return value

        return core_schema.no_info_before_validator_function(read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        _say_plain(handler.resolve_ref_schema(found))
        return found


def _say_plain(schema: Any) -> None:
    """Say in a schema, at each place of a text and of a part that is any JSON, what ``_json`` sees to."""
    if isinstance(schema, list):
        for each in schema:
            _say_plain(each)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "string" and "enum" not in schema:
        schema.setdefault("pattern", NO_NUL["pattern"])
    if schema.get("additionalProperties") is True:
        schema |= {"additionalProperties": {FREE_JSON: True}, "propertyNames": NO_NUL}
    if schema.get("items") == {}:
        schema["items"] = {FREE_JSON: True}
    for part in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("anyOf")):
        _say_plain(part)


PLAIN = _Plain()
