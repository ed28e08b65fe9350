"""Validation of requests, and the HTTP errors that answer a bad one, in Qdrant's words and status codes."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class RequestError(Exception):
    """An answer other than 200; the message is shown to the client."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


def bad_request(message: str) -> RequestError:
    return RequestError(400, f"Wrong input: {message}")


def unsupported(what: str) -> RequestError:
    return RequestError(501, f"The embedded vector server does not support {what}. A Qdrant server may.")


def engine_error(error: Exception) -> RequestError:
    """The engine has one exception class for everything; its text begins with the kind of the error."""
    text = str(error)
    if "No space left" in text:
        return RequestError(507, f"The disk is full: {text}")
    if text.startswith("No point with id"):
        return RequestError(404, f"Not found: {text} found")
    if type(error) is not Exception or text.startswith(
        ("Service runtime error", "Inconsistent", "Out of memory", "Operation", "IO ", "Unexpected")
    ):
        return RequestError(500, f"Service internal error: {text}")
    return bad_request(text)


def is_of_engine(error: BaseException) -> bool:
    """An error, or a panic: the engine's bug, as Python sees it: a class of its own, below BaseException."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def as_object(value: Any, what: str, *known: str) -> Json:
    """A JSON object with no other keys than these: what is not known is refused, never ignored.

    Keys that are null are as good as absent.
    """
    if not isinstance(value, dict):
        raise bad_request(f"{what} must be an object")
    if not value.keys() <= set(known):
        raise unsupported(f"{', '.join(sorted(value.keys() - set(known)))} in {what}")
    return {key: item for key, item in value.items() if item is not None}


def required(given: Json, field: str) -> Any:
    if field not in given:
        raise bad_request(f"missing field {field}")
    return given[field]
