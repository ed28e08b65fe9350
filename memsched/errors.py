"""The error catalogue: what can go wrong, and the fields a caller needs to act on it.

A class's docstring is the first sentence of its message, so this file is also the list a user reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from memsched.task_status import SubmitResult


class MemschedError(Exception):
    """Something went wrong in memsched."""

    def __init__(self, detail: str = "") -> None:
        summary = " ".join((type(self).__doc__ or "").split())
        super().__init__(f"{summary} {detail}".strip())


class SettingsError(MemschedError):
    """A setting cannot be used."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__(" ".join(problems))


class InvalidMessage(MemschedError):
    """A message cannot be understood."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class NewerMessage(InvalidMessage):
    """A message was written by a newer memsched, in a form that is not known here."""


class QueueFull(MemschedError):
    """The lane already holds as many unfinished messages as it may."""

    def __init__(self, lane: str, limit: int, retry_after: float, results: Sequence[SubmitResult] = ()) -> None:
        self.lane = lane
        self.limit = limit
        self.retry_after = retry_after
        self.results = list(results)
        refused = sum(not result.accepted for result in self.results) or 1
        total = len(self.results) or 1
        accepted = "Nothing was accepted" if refused == total else f"{total - refused} of {total} were accepted"
        super().__init__(
            f"Lane {lane!r} is limited to {limit} (MEMSCHED_MAX_BACKLOG). {accepted}; try the rest again "
            f"in {retry_after:g} s, or add workers."
        )


class ServerUnreachable(MemschedError):
    """The Redis server does not answer."""

    advice = "Check MEMSCHED_REDIS_URL, and that the server is running and reachable from here."

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        super().__init__(f"{url}: {reason}. {self.advice}")


class ServerUnusable(ServerUnreachable):
    """The Redis server cannot be used as MEMSCHED_REDIS_URL says."""

    advice = ""


class UnreachableError(Exception):
    """A call found no Redis server; what it would have done may or may not have happened.

    Never seen by a user: whoever calls retries what is idempotent, and raises ServerUnreachable in the end.

    Args:
        answers: somebody does answer there, and says what is wrong.
        hopeless: the address or the login has to be changed.
    """

    def __init__(self, reason: str, *, answers: bool = False, hopeless: bool = False) -> None:
        self.answers = answers
        self.hopeless = hopeless
        super().__init__(reason)

    def given_up(self, url: str) -> ServerUnreachable:
        """What is told to the user in the end."""
        return (ServerUnusable if self.answers else ServerUnreachable)(url, str(self))


class ServerRefused(MemschedError):
    """The Redis server refused a command, which may be done in part. Submitting the same messages again is safe."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"It says: {reason}")


class AnswerTooLate(MemschedError):
    """What was asked gives no answer in time, or gave none a moment ago. The same call may succeed later."""

    def __init__(self, seconds: float | None = None) -> None:
        """
        Args:
            seconds: for which it was waited; None: not at all, because it gave no answer a moment ago.
        """
        super().__init__("It gave no answer a moment ago." if seconds is None else f"No answer within {seconds:g} s.")


class ServerTooOld(MemschedError):
    """The Redis server is too old."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"It says version {version}; memsched needs Redis 7.0 or later, or Valkey.")


class EmbeddedServerError(MemschedError):
    """The embedded server cannot be started."""


class EmbeddedServerNotReady(EmbeddedServerError):
    """The embedded server does not answer yet; it is being started, and the next call waits for the rest."""


class LeaseLost(MemschedError):
    """This message now belongs to another worker; what this one does with it no longer counts."""

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        super().__init__(f"item_id={item_id}")


class CallEnded(MemschedError):
    """The handler's call has ended, and with it what may be asked of its context; nothing was done."""

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        super().__init__(f"item_id={item_id}: ask before the handler returns, and within its time limit.")


class HandlerTimeout(MemschedError):
    """The handler ran longer than it may."""

    def __init__(self, label: str, seconds: float) -> None:
        self.label = label
        self.seconds = seconds
        super().__init__(
            f"label={label} limit={seconds:g} s (its Handler's timeout_seconds, or MEMSCHED_HANDLER_TIMEOUT_SECONDS)"
        )


class HandlerNotLoaded(MemschedError):
    """The handlers to run cannot be loaded."""


class CannotStart(MemschedError):
    """A worker process cannot start, and starting it again would not help."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        Exception.__init__(self, reason)  # the worker's own words, which say it all


class SchedulerNotStarted(MemschedError):
    """The scheduler has no handlers running."""


class SchedulerStopped(MemschedError):
    """The scheduler was stopped while this call waited for it."""


class CalledFromOwnLoop(MemschedError):
    """The sync face was called on the event loop that runs it, and would wait for itself for ever.

    That is: in an async handler. There, submit with the handler's context, or make the handler a plain function.
    """


class OtherEventLoop(MemschedError):
    """The scheduler is in use on another event loop, which still runs.

    Stop it there first, use one AsyncMemScheduler for each loop, or MemScheduler for any number of threads.
    """


class LeftInParent(MemschedError):
    """A memory:// queue is in the process that opened it, and this is a fork of that process.

    For several processes use embedded://FOLDER or redis://; or make a new scheduler here.
    """


class InvalidArgument(MemschedError, ValueError):
    """An argument cannot be used."""

    def __init__(self, name: str, given: object, expected: str) -> None:
        self.name = name
        super().__init__(f"{name}={given!r:.80}: {expected}.")


class WorkerFailed(MemschedError):
    """A worker ended by itself: a part of it failed. What it held is handed back, for other workers."""


class HandlersStuck(MemschedError):
    """Handlers that ran too long and cannot be stopped hold the places of this worker until its process ends."""


class WaitTimeout(MemschedError):
    """Not everything was finished in time."""

    def __init__(self, unfinished: int, seconds: float, *, advice: str = "") -> None:
        self.unfinished = unfinished
        self.advice = advice
        super().__init__(f"{unfinished} unfinished after {seconds:g} s. {advice}".rstrip())


class MessagesLost(MemschedError):
    """The server was emptied since messages were submitted here: those that were unfinished then are lost.

    Submit again what must run. What is submitted from now on is waited for as always.
    """


class InvalidId(MemschedError):
    """A user's or a cube's id cannot be used."""

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what}: {reason}.")


class UnknownUser(MemschedError):
    """There is no such user."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        super().__init__(f"user_id={user_id!r}: create the user first, or set MEMSCHED_AUTO_REGISTER_CUBES=true.")


class UnknownInvitation(MemschedError):
    """Nobody shares a cube with the user under this name, or no longer."""

    def __init__(self, user_id: str, mem_cube_id: str) -> None:
        self.user_id, self.mem_cube_id = user_id, mem_cube_id
        super().__init__(f"user_id={user_id!r} mem_cube_id={mem_cube_id!r}: there is no such invitation (any more).")


class UnknownCube(MemschedError):
    """The user has no cube of this name.

    Raised with MEMSCHED_AUTO_REGISTER_CUBES=false, and by the commands; otherwise such a name is an empty cube of the
    user's own.
    """

    def __init__(
        self, user_id: str, mem_cube_id: str, known: Sequence[str] | None = None, users: Sequence[str] = ()
    ) -> None:
        """``known``: the names that they have; ``users``: if there are none, who has cubes."""
        self.user_id = user_id
        self.mem_cube_id = mem_cube_id
        advice = "register the cube first"
        if known:
            advice = f"there are {', '.join(map(repr, known[:10]))}"
        elif known is not None:
            advice = f"the user has none; users are {', '.join(map(repr, users[:10])) or 'none'}"
        Exception.__init__(
            self, f"The user has no cube of this name. user_id={user_id!r} mem_cube_id={mem_cube_id!r}: {advice}."
        )


class UnknownMemory(MemschedError):
    """There is no such memory in the cubes that the user sees."""

    def __init__(self, memory_id: str, *, advice: str = "") -> None:
        self.memory_id = memory_id
        super().__init__(f"memory_id={str(memory_id)[:64]!r}. {advice}".rstrip())


class TooManyPins(MemschedError):
    """Only half of a working set may be pinned, so that it can still follow the talk. Nothing was pinned."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"Pinned are {limit} already: unpin one, or raise MEMSCHED_WORKING_SET_SIZE.")


class MemoryPinned(MemschedError):
    """A pinned memory is not archived. Nothing was changed."""

    def __init__(self, memory_id: str) -> None:
        self.memory_id = memory_id
        super().__init__(f"memory_id={memory_id!r}: unpin it first.")


class MemorySuperseded(MemschedError):
    """The memory was corrected, or merged into one that says the same. Nothing was changed."""

    def __init__(self, memory_id: str, by: str) -> None:
        self.memory_id = memory_id
        self.by = by
        super().__init__(f"memory_id={memory_id!r}: what counts now is {by!r}.")


class CubeExists(MemschedError):
    """The name already stands for another cube."""

    def __init__(self, user_id: str, mem_cube_id: str, reason: str) -> None:
        self.user_id = user_id
        self.mem_cube_id = mem_cube_id
        self.reason = reason
        super().__init__(f"user_id={user_id!r} mem_cube_id={mem_cube_id!r}: {reason}.")


class CubeForbidden(MemschedError):
    """The user may not do this with this cube."""

    def __init__(self, user_id: str, mem_cube_id: str, reason: str) -> None:
        self.user_id = user_id
        self.mem_cube_id = mem_cube_id
        self.reason = reason
        super().__init__(f"user_id={user_id!r} mem_cube_id={mem_cube_id!r}: {reason}.")


class NotAllowed(MemschedError):
    """The key may not do this."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class CubeDumpError(MemschedError):
    """A cube's dump cannot be written or read."""
