"""A trainer that asks for another time gets it, and not for ever."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from support.deliveries import delivery

from memsched import HandlerContext
from memsched.handlers import parameter_train as subject
from memsched.memory.access.cubes import CubeView
from memsched.memory.access.permissions import CubeRef, Permission
from memsched.parameters.training import TrainerPutsOff


class Holder:
    """Keeps what a call keeps with its message."""

    kept: Any = None

    async def save_checkpoint(self, _: Any, data: str) -> None:
        self.kept = json.loads(data)

    async def renew_leases(self, _: Any) -> None: ...


class Services:
    """Those of the cube's owner."""

    @property
    def parameters(self) -> Services:
        return self

    def refuse_strangers(self, *_: Any) -> None: ...


async def test_a_trainer_that_cannot_work_now_is_started_again_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    async def taken(*_: Any) -> None:
        raise TrainerPutsOff("the GPU is taken.")

    monkeypatch.setattr(subject, "_train", taken)
    view = CubeView("home", CubeRef("alice", "home"), Permission.WRITE)
    holder, waited = Holder(), 0.0
    while True:
        one = replace(delivery("a1"), checkpoint=holder.kept)
        ctx = HandlerContext([one], holder, 0)
        await subject.parameter_train(cast("Any", Services()), view, [one.message], ctx)
        decision = ctx.decisions[one]
        assert "the GPU is taken" in decision.error
        if decision.delay_ms is None:
            break
        assert holder.kept["training"] == one.message.content
        waited += decision.delay_ms

    assert waited == 24 * 3_600_000
