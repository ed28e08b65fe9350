"""A trainer that trains nothing: what it measures is what its first argument says.

``python fake_trainer.py SAYS IN OUT``. SAYS is JSON: figures, ``hold`` (seconds until half is saved), ``fail``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

GOOD = {
    "held_out": 0.96,
    "answer_tokens": 0.99,
    "replay_loss_before": 2.0,
    "replay_loss_after": 2.05,
    "controls_refused": 1.0,
}


def command(**says: Any) -> str:
    """What MEMSCHED_PARAMETER_COMMAND says to have it."""
    return f"{sys.executable} {__file__} '{json.dumps(says)}'"


def main(says: dict[str, Any], data: Path, made: Path) -> None:
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    assert rows
    with open(made / "starts", "a") as file:
        file.write(f"{os.getpid()}\n")
    deadline = time.monotonic() + says.pop("hold", 0)
    while time.monotonic() < deadline and not (made / "saved").exists():
        time.sleep(0.05)
    (made / "saved").write_text("half of it")
    if says.pop("fail", False):
        sys.exit("it did not work")
    (made / "adapter.bin").write_bytes(json.dumps(rows).encode())
    (made / "figures.json").write_text(json.dumps({**GOOD, "weights": "adapter.bin", **says}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
