"""Makes a file as ChatGPT's export of one's data has it (conversations.json), the same in every run.

    python -m benchmarks.chatgpt_export conversations.json --conversations 2000

It has what such files have beside questions and answers: edited questions and answers that were asked for again, each a
branch; instructions, hidden messages, calls of tools and their output, thoughts, pictures, spoken turns, messages
without content and without a time. ``kept`` of each conversation is what an import is to keep of it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.talk import Talk

_BEGIN = 1_672_531_200.0  # 2023-01-01
_HOURS_BETWEEN = 6.0
_MOST_EXCHANGES = 12


@dataclass
class Made:
    """A conversation, and the texts of its current branch, in order."""

    value: dict[str, Any]
    kept: list[str] = field(default_factory=list)


class ChatGptExport:
    """A source of conversations.

    Args:
        exchanges: questions with their answers in a conversation, at most.
        hours: from the beginning of a conversation to that of the next.
    """

    def __init__(self, seed: int = 1, exchanges: int = _MOST_EXCHANGES, hours: float = _HOURS_BETWEEN) -> None:
        self._random = random.Random(seed)
        self._talk = Talk(seed)
        self._exchanges = exchanges
        self._between = 3600.0 * hours

    def conversations(self, count: int) -> Iterator[Made]:
        for number in range(count):
            yield self._conversation(number)

    def _conversation(self, number: int) -> Made:
        began = at = _BEGIN + self._between * number
        tree = _Tree(self._id)
        made = Made({})
        root = tree.add(None, None)
        last = tree.add(root, self._message("system", [""], None, hidden=True))
        if self._chance(0.2):
            about = {"content_type": "user_editable_context", "user_profile": "", "user_instructions": "Be brief."}
            last = tree.add(last, self._message("user", [], None, hidden=True) | {"content": about})
        for _ in range(self._random.randint(1, self._exchanges)):
            at += self._random.uniform(5, 600)
            last = self._question(tree, made, last, at)
            at += self._random.uniform(1, 60)
            last = self._answer(tree, made, last, at)
        conversation_id = self._id()
        made.value = {
            "title": self._talk.sentence(2),
            "create_time": began,
            "update_time": at,
            "mapping": tree.nodes,
            "moderation_results": [],
            "current_node": last,
            "conversation_id": conversation_id,
            "id": conversation_id,
            "is_archived": False,
            "default_model_slug": "model-1",
        }
        return made

    def _question(self, tree: _Tree, made: Made, before: str, at: float) -> str:
        text = self._talk.sentence(self._random.randint(4, 30))
        if self._chance(0.1):  # it was edited: what stood there first is a branch that is not shown
            first = tree.add(before, self._message("user", [self._talk.sentence(5)], at))
            tree.add(first, self._message("assistant", [self._talk.sentence(20)], at + 1))
        parts: list[Any] = [text]
        kind = "text"
        if self._chance(0.08):
            kind = "multimodal_text"
            pointer = {"content_type": "image_asset_pointer", "asset_pointer": f"file-service://{self._id()}"}
            parts = [pointer | {"size_bytes": 12345, "width": 800, "height": 600, "metadata": None}, text]
        elif self._chance(0.03):
            kind = "multimodal_text"
            parts = [{"content_type": "audio_transcription", "text": text, "direction": "in"}]
        made.kept.append(text)
        return tree.add(before, self._message("user", parts, at, kind=kind))

    def _answer(self, tree: _Tree, made: Made, before: str, at: float) -> str:
        last = before
        if self._chance(0.15):
            thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "Thinks", "content": "About it."}]}
            last = tree.add(last, self._message("assistant", [], at) | {"content": thoughts})
        if self._chance(0.15):
            code = {"content_type": "code", "language": "python", "text": "print(17 * 23)"}
            last = tree.add(last, self._message("assistant", [], at) | {"content": code, "recipient": "python"})
            output = {"content_type": "execution_output", "text": "391"}
            last = tree.add(last, self._message("tool", [], at) | {"content": output})
        if self._chance(0.02):
            last = tree.add(last, self._message("assistant", [], at) | {"content": None})
        if self._chance(0.1):  # it was asked for again: the first answer is not shown
            tree.add(last, self._message("assistant", [self._talk.sentence(15)], at))
        text = " ".join(self._talk.sentence(self._random.randint(8, 20)) for _ in range(self._random.randint(1, 4)))
        made.kept.append(text)
        return tree.add(last, self._message("assistant", [text], None if self._chance(0.02) else at))

    def _message(
        self, role: str, parts: list[Any], at: float | None, *, kind: str = "text", hidden: bool = False
    ) -> dict[str, Any]:
        return {
            "id": self._id(),
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": at,
            "update_time": None,
            "content": {"content_type": kind, "parts": parts},
            "status": "finished_successfully",
            "end_turn": None,
            "weight": 1.0,
            "metadata": {"is_visually_hidden_from_conversation": True} if hidden else {"model_slug": "model-1"},
            "recipient": "all",
        }

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))


class _Tree:
    def __init__(self, new_id: Any) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self._new_id = new_id

    def add(self, parent: str | None, message: dict[str, Any] | None) -> str:
        node_id: str = message["id"] if message else self._new_id()
        self.nodes[node_id] = {"id": node_id, "message": message, "parent": parent, "children": []}
        if parent is not None:
            self.nodes[parent]["children"].append(node_id)
        return node_id


def write_export(file: Path, conversations: int, seed: int = 1, hours: float = _HOURS_BETWEEN) -> int:
    """Returns how many turns an import is to keep."""
    kept = 0
    with file.open("w", encoding="utf-8") as out:
        out.write("[")
        for number, made in enumerate(ChatGptExport(seed, hours=hours).conversations(conversations)):
            out.write((", " if number else "") + json.dumps(made.value, ensure_ascii=False))
            kept += len(made.kept)
        out.write("]")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--conversations", type=int, default=2_000, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--hours", type=float, default=_HOURS_BETWEEN, metavar="N", help="from one to the next, default %(default)s"
    )
    given = parser.parse_args()
    print(f"{write_export(given.file, given.conversations, given.seed, given.hours):,} turns to be kept")


if __name__ == "__main__":
    main()
