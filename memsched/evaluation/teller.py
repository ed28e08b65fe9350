"""Tells, asks and answers a conversation as messages, through the real pipeline."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from memsched.evaluation.streams import Asked, Told
from memsched.memory.access.permissions import CubeRef
from memsched.messages import ADD_TASK_LABEL, ANSWER_TASK_LABEL, QUERY_TASK_LABEL, ScheduleMessageItem
from memsched.scheduler import AsyncMemScheduler

Answers = Literal["gold", "none"]
_CUBE = "conversation"
_PATIENCE_SECONDS = 300.0
_ANSWERED_AFTER = timedelta(milliseconds=500)


class Teller:
    """A user of one cube. Each call returns when all that follows from it is done."""

    def __init__(self, scheduler: AsyncMemScheduler, user: str, answers: Answers) -> None:
        self.scheduler = scheduler
        self.ref = CubeRef(user, _CUBE)
        self._answers = answers

    async def tell(self, told: Told) -> None:
        history = [
            {
                "speaker": turn.speaker,
                "content": turn.text,
                "id": turn.reference,
                "timestamp": told.at(number).isoformat(),
            }
            for number, turn in enumerate(told.turns)
        ]
        session = told.session.name
        await self._send(self._message(ADD_TASK_LABEL, "", told.at(0), session_id=session, chat_history=history))

    async def ask(self, asked: Asked) -> None:
        await self._say(QUERY_TASK_LABEL, asked.question.text, asked)

    async def answer(self, asked: Asked) -> None:
        """Say what is right, if that is told at all."""
        if self._answers == "gold" and asked.question.answer:
            await self._say(ANSWER_TASK_LABEL, asked.question.answer, asked)

    async def _say(self, label: str, text: str, asked: Asked) -> None:
        at = asked.at + (_ANSWERED_AFTER if label == ANSWER_TASK_LABEL else timedelta())
        await self._send(self._message(label, text, at))

    def _message(self, label: str, content: str, at: datetime, **more: Any) -> ScheduleMessageItem:
        user, name = self.ref.user_id, self.ref.mem_cube_id
        return ScheduleMessageItem(user_id=user, mem_cube_id=name, label=label, content=content, timestamp=at, **more)

    async def _send(self, message: ScheduleMessageItem) -> None:
        await self.scheduler.submit_messages(message)
        await self.scheduler.wait(user_id=self.ref.user_id, timeout=_PATIENCE_SECONDS)
