"""What is told to whoever waits for messages that nobody handles."""

from __future__ import annotations

import pytest

from memsched.console.output import console
from memsched.console.tables import status_view
from memsched.queue.status import Counts, Status
from memsched.queue.workers import WorkerInfo
from memsched.waiting import advice_for


def status(labels: str = "add,query", *, alive: bool = True, paused: str = "", **backlog: int) -> Status:
    counted = {label: Counts(backlog=count) for label, count in backlog.items()}
    worker = WorkerInfo("w", 0, alive, {"labels": labels} if labels else {})
    return Status(labels=counted, workers=[worker], paused=frozenset(filter(None, [paused])))


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (status(add=2, adn=0), ""),
        (status(add=2, alive=False), "No worker is running: start one (memsched worker)"),
        (status(adn=1), "No worker has a handler for the label 'adn'; did you mean add?"),
        (status(work=1), "No worker has a handler for the label 'work'."),
        (status(add=1, paused="add"), "The label 'add' is paused (memsched resume add)."),
        (status("", work=1), ""),
    ],
)
def test_the_reason_is_named_with_what_to_do(seen: Status, told: str) -> None:
    advice = advice_for(seen)

    assert advice.startswith(told)
    assert bool(advice) == bool(told)


def test_a_look_at_the_status_names_labels_that_nobody_handles_or_can_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = status(adn=1, work=0)
    seen.unknown["old"] = "WRONGTYPE"
    for look in (seen, Status.from_dict(seen.as_dict())):
        console().print(status_view(look))
        told = capsys.readouterr().out
        assert "No worker has a handler for the label 'adn'; did you mean add?" in told
        assert "Nothing can be said of the label 'old': WRONGTYPE" in told
        assert "'work'" not in told
    assert seen.as_dict()["no_handler"].keys() == {"adn"}
    assert "no_handler" not in status(add=1).as_dict()
