"""Which turns of a long history are told again is found in no time: nothing else runs beside it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from memsched.memory.ingest.retelling import names_told
from memsched.memory.model import Memory


def test_a_long_history_is_looked_at_once() -> None:
    turn = Memory.model_construct(
        memory_id="",
        text="Yes.",
        kind="turn",
        session_id="talk",
        at=datetime(2026, 5, 4, tzinfo=UTC),
        content_hash="0",
    )
    said = [turn.model_copy(update={"memory_id": f"told{number}", "turn": number}) for number in range(1, 4001)]
    known = [said[0].model_copy(update={"memory_id": "known", "turn": 0})]
    start = time.thread_time()

    told = names_told(said, {"0": known})

    assert len(told) == len(said)
    assert time.thread_time() - start < 1
