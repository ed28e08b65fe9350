"""What a request can fail with, in Qdrant's words and status codes."""

from __future__ import annotations


class RequestError(Exception):
    """An answer other than 200; the message is shown to the client."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


def bad_request(message: str) -> RequestError:
    return RequestError(400, f"Wrong input: {message}")


def unsupported(what: str) -> RequestError:
    return RequestError(501, f"The embedded vector server does not support {what}. A Qdrant server does.")


def of_engine(error: Exception) -> RequestError:
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
