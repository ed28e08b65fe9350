"""What a model answers through the proxy, read from the bytes that pass: for memory, which never holds them up."""

from __future__ import annotations

import json
from typing import Any

from memsched.llm.errors import LLMError, LLMRefused
from memsched.llm.responses import DONE, is_whole_event, read_answer, read_piece
from memsched.llm.server_errors import ServerError
from memsched.memory.ingest.turns import MAX_UTTERANCE_CHARACTERS
from memsched.thinking import without_thinking

_DATA = b"data:"
_MOST_BYTES = 16 * 1024 * 1024
"""Of a whole answer: a longer one is passed on, and not remembered."""


class Heard:
    """Collects an answer, whole or streamed.

    Args:
        streamed: whether it comes as events.
    """

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self._rest = bytearray()
        self._texts: list[str] = []
        self._characters = 0
        self._ended = self._failed = self._says_nothing = False

    def feed(self, piece: bytes) -> None:
        """Take what came."""
        self._rest += piece
        if self._streamed:
            *lines, rest = self._rest.split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._read(bytes(line).strip())
        if len(self._rest) > _MOST_BYTES:
            self._rest.clear()
            self._failed = True

    @property
    def is_whole(self) -> bool:
        """Whether it came to its end, and was no error."""
        if self._streamed:
            last = bytes(self._rest).strip()
            if last.startswith(_DATA) and is_whole_event(last[len(_DATA) :].decode("utf-8", "replace").strip()):
                self._rest.clear()
                self._read(last)
            return self._ended and not self._failed
        return not self._failed and self._answer() is not None

    def said(self) -> str:
        """What the model said, without what it thought; "" for calls of tools, a refusal, one of several answers, an
        answer that broke off, or one that is longer than what somebody can say.
        """
        if not self.is_whole or self._says_nothing:
            return ""
        text = without_thinking("".join(self._texts)) if self._streamed else self._only_text()
        return "" if len(text := text.strip()) > MAX_UTTERANCE_CHARACTERS else text

    def _only_text(self) -> str:
        """Of a whole answer, the text of its one choice."""
        answer = self._answer()
        try:
            several = answer is None or len(answer["choices"]) != 1
            return "" if several else read_answer(bytes(self._rest)).text
        except (LLMError, ServerError, KeyError, TypeError):
            return ""

    def _answer(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._rest)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def _read(self, line: bytes) -> None:
        """One line of an event stream."""
        if not line.startswith(_DATA):
            return
        data = line[len(_DATA) :].strip()
        if data == DONE.encode():
            self._ended = True
            return
        try:
            chunk: Any = json.loads(data)
            choices = chunk.get("choices") or []
            self._failed = self._failed or bool(chunk.get("error")) or chunk.get("object") == "error"
            self._says_nothing = self._says_nothing or any(each.get("index") for each in choices)
            piece = read_piece({"choices": choices})
        except LLMRefused:
            self._says_nothing = True
            return
        except (ServerError, ValueError, AttributeError, TypeError, RecursionError):
            self._failed = True
            return
        self._ended = self._ended or bool(piece.finish)
        if self._characters <= MAX_UTTERANCE_CHARACTERS:  # a longer one no reader takes
            self._characters += len(piece.text)
            self._texts.append(piece.text)
