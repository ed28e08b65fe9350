"""What gives no answer is left alone for a while; then one call tries whether it is back."""

from __future__ import annotations

import asyncio

import pytest

from memsched.errors import AnswerTooLate
from memsched.patience import Patience


async def _hangs() -> str:
    await asyncio.sleep(60)
    return "late"


async def _answers() -> str:
    return "soon"


async def test_after_a_call_in_vain_nobody_waits_until_the_pause_is_over() -> None:
    patience = Patience(0.2)

    assert await patience.wait(_answers, 1) == "soon"
    with pytest.raises(AnswerTooLate):
        await patience.wait(_hangs, 0.01)
    assert patience.is_over
    with pytest.raises(AnswerTooLate):
        await patience.wait(_answers, 1)
    await asyncio.sleep(0.2)

    assert await patience.wait(_answers, 1) == "soon"
    assert not patience.is_over


async def test_one_call_tries_whether_it_is_back_and_the_others_go_on() -> None:
    patience = Patience(0.0)
    patience.lose()

    trying = asyncio.create_task(patience.wait(_hangs, 0.1))
    await asyncio.sleep(0)
    with pytest.raises(AnswerTooLate):
        await patience.wait(_answers, 1)
    with pytest.raises(AnswerTooLate):
        await trying

    assert await patience.wait(_answers, 1) == "soon"


async def test_errors_are_those_of_what_was_asked_and_no_reason_to_leave_it_alone() -> None:
    patience = Patience()

    async def fails() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await patience.wait(fails, 1)
