"""`memsched submit`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from memsched.backoff import poll_pauses
from memsched.cli.exit_codes import complain
from memsched.cli.shared_options import Prefix, RedisUrl
from memsched.cli.tool_settings import tool_settings
from memsched.console.terminal import duration, stdin_was_closed
from memsched.deadline import Deadline
from memsched.durations import seconds_or_none
from memsched.errors import InvalidMessage
from memsched.escaping import plain
from memsched.memory.exports.pasted import refuse_export
from memsched.messages import ADD_TASK_LABEL, ScheduleMessageItem, describe_validation_error
from memsched.scheduler import AsyncMemScheduler
from memsched.settings import Settings
from memsched.task_status import TaskState
from memsched.waiting import Waiting

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.005, 0.2


def submit(
    content: Annotated[str, typer.Argument(help="The message's text; - reads it from standard input.")],
    label: Annotated[str, typer.Option("--label", "-l", help="Which handler it is for.")],
    user: Annotated[str, typer.Option("--user", "-u", help="user_id: whose message it is.")],
    cube: Annotated[str, typer.Option("--cube", "-c", help="mem_cube_id: which memory it belongs to.")],
    delay: Annotated[float, typer.Option(min=0, help="Seconds before it may run.")] = 0.0,
    item_id: Annotated[str | None, typer.Option(help="Its identity: submitted twice under one, it runs once.")] = None,
    info: Annotated[str | None, typer.Option(metavar="JSON", help="A JSON object for the handler.")] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="After which it is not started any more: 2026-01-02T03:04:05Z.")
    ] = None,
    session_id: Annotated[str | None, typer.Option(help="The conversation it is from.")] = None,
    task_id: Annotated[str | None, typer.Option(help="The caller's own name for the work.")] = None,
    trace_id: Annotated[str | None, typer.Option(help="W3C traceparent of the request behind it.")] = None,
    user_name: Annotated[str | None, typer.Option(help="The user's name, for people.")] = None,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait for so long until it is finished.")
    ] = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Submit one message. Prints what became of it (queued, delayed or duplicate) and its item_id.

    With --wait, the exit code is 1 when the message failed or was not finished in time.
    """
    settings = tool_settings(redis_url=redis_url, prefix=prefix)
    until = seconds_or_none("--wait", wait)
    if content == "-" and stdin_was_closed():
        raise typer.BadParameter("standard input is closed.", param_hint="CONTENT")
    text = sys.stdin.read() if content == "-" else content
    if label == ADD_TASK_LABEL:
        refuse_export(text, "content")
    message = _message(
        item_id=item_id,
        user_id=user,
        mem_cube_id=cube,
        label=label,
        content=text,
        info=_object(info),
        expires_at=expires_at,
        session_id=session_id,
        task_id=task_id,
        trace_id=trace_id,
        user_name=user_name,
    )
    code = asyncio.run(_submit(settings, message, delay, until))
    raise typer.Exit(code)


def _object(text: str | None) -> Any:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"it is not JSON: {error}", param_hint="--info") from error
    if not isinstance(value, dict):
        raise typer.BadParameter('it must be a JSON object, {"name": ...}.', param_hint="--info")
    return value


def _message(**values: Any) -> ScheduleMessageItem:
    try:
        return ScheduleMessageItem(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise InvalidMessage(describe_validation_error(error)) from error


async def _submit(settings: Settings, message: ScheduleMessageItem, delay: float, wait: float | None) -> int:
    scheduler = AsyncMemScheduler(settings)
    try:
        (result,) = await scheduler.submit_messages(message, delay=delay)
        typer.echo(f"{result.outcome} {plain(result.item_id)}")
        return 0 if wait is None else await _wait(scheduler, message, wait)
    finally:
        await scheduler.stop()


async def _wait(scheduler: AsyncMemScheduler, message: ScheduleMessageItem, seconds: float) -> int:
    deadline = Deadline(seconds)
    for pause in poll_pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS):
        status = await scheduler.get_task_status(message)
        if status is None:
            complain("the message is not known any more: somebody cleared it.")
            return 1
        if status.state is TaskState.COMPLETED:
            typer.echo(f"completed after {duration((status.finished_ms - status.submitted_ms) / 1000)}")
            return 0
        if status.state is TaskState.FAILED:
            complain(f"the message failed and is a dead letter: {plain(status.error)}")
            return 1
        if pause > deadline.left:
            advice = await Waiting(scheduler, seconds).advice()
            left = f"the message is not finished after {seconds:g} s; its state is {status.state.value}. {advice}"
            complain(left.rstrip())
            break
        await asyncio.sleep(pause)
    return 1
