"""Who has which cube, and who may see it.

Every user has names of their own for cubes: their own ones, and those that others share with them. What a name stands
for is one field of one hash, the user's; it is read, never cached, before every use of a cube, so that a revoked share
ends at once. An entry of that hash is ``own``, ``shared <permission> <change> <owner> <cube>``, the same with
``invited``, or ``revoked <change> <owner> <cube>``; ids in it are escaped. Whom somebody shares a cube with is invited:
nothing of it comes to them before they accept it.

The owner's side holds a list of whom they share with. It is written before the other user's entry, and cleared after
it: whatever dies in between, nobody sees a cube without being on its owner's list, so every share can be revoked. The
owner's changes are numbered: the number is a fencing token, and a change that was held up on its way does not undo a
later one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from memsched.broker.client import Server, answered
from memsched.broker.keys import Keys, escape, unescape
from memsched.broker.scripting import Command, as_int, as_text, as_texts, script
from memsched.errors import (
    CubeExists,
    CubeForbidden,
    InvalidArgument,
    InvalidId,
    UnknownCube,
    UnknownInvitation,
    UnknownUser,
)
from memsched.logs import get_logger
from memsched.memory.access.permissions import Access, AccessState, CubeRef, Permission
from memsched.memory.access.trail import touched_cube
from memsched.memory.context_tags import checked_tags
from memsched.messages import MAX_ID_CHARACTERS
from memsched.redaction import Secrets, redacted, refuse_secret_id
from memsched.settings import Settings

log = get_logger(__name__)

_REGISTER = script("register", "memory/access")
_GRANT = script("grant", "memory/access")
_RECEIVE = script("receive", "memory/access")
_REPLY = script("reply", "memory/access")
_WITHDRAW = script("withdraw", "memory/access")
_UNGRANT = script("ungrant", "memory/access")
_USERS_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class User:
    """One known user; ``name`` is for people, and may be empty."""

    user_id: str
    name: str


@dataclass(frozen=True, slots=True)
class CubeView:
    """A cube as one user sees it: their name of it, what it is, and what they may do with it.

    emptied: when all of it was deleted last, ms since the epoch, as far as whoever asked for it wanted to know.
    is_there: whether it was made already. The first message in it makes it.
    """

    name: str
    ref: CubeRef
    permission: Permission
    emptied: int = 0
    is_there: bool = True


@dataclass(frozen=True, slots=True)
class Grant:
    """One user with whom a cube is shared, and their name of it; they have it once they have ``accepted``.

    known: whether there is a user of that id yet. Otherwise the invitation waits for one.
    """

    user_id: str
    name: str
    permission: Permission
    accepted: bool = False
    known: bool = field(default=True, compare=False)


class Cubes:
    """The users, their cubes, and who shares which with whom.

    All methods raise InvalidId for an id that is empty, too long or no Unicode text, ServerUnreachable when the
    server does not answer in time, and are safe to repeat.
    """

    def __init__(self, server: Server, keys: Keys, settings: Settings) -> None:
        self._server = server
        self._keys = keys
        self._auto = settings.auto_register_cubes
        self._secrets: Secrets = settings.secrets
        self._hook_asks = bool(settings.permissions or settings.access_policy)
        """Only a permission hook wants to know of tags."""

    # -- users ---------------------------------------------------------------------------------------------------

    async def create_user(self, user_id: str, name: str = "") -> None:
        """Make a user known; a name that is given replaces the one they had, and is kept without secrets."""
        check_id("user_id", user_id)
        refuse_secret_id("user_id", user_id, self._secrets)
        name = redacted(name, self._secrets)
        if name:
            check_id("name", name)
        (new,) = await self._run([self._user_command(user_id, name)])
        if new:
            log.info("a user is known from now on", action="user.created", user_id=user_id)

    async def name_of(self, user_id: str) -> str:
        """What people call the user; "" if nobody said so."""
        check_id("user_id", user_id)
        (name,) = await self._run([Command(("HGET", self._keys.users, escape(user_id)), _text_or_none)])
        return name or ""

    async def list_users(self) -> list[User]:
        """All users that were created or registered a cube, by id."""
        found: dict[str, str] = {}
        cursor: Any = b"0"
        while True:
            page = Command(("HSCAN", self._keys.users, cursor, "COUNT", _USERS_PER_PAGE), lambda reply: reply)
            ((cursor, fields),) = await self._run([page])
            found |= {unescape(user): name for user, name in _mapping(fields).items()}
            if as_int(cursor) == 0:
                return [User(user, name) for user, name in sorted(found.items())]

    # -- a user's own cubes --------------------------------------------------------------------------------------

    async def register(self, user_id: str, mem_cube_id: str, config: dict[str, Any] | None = None) -> CubeRef:
        """Make a cube of the user's own; registering it again changes nothing but a ``config`` that is given.

        A name whose share was revoked becomes free for the user by this. Raises CubeExists if the name stands for a
        cube that another user shares with them, and TypeError or ValueError for a ``config`` that is not JSON.

        Args:
            config: any JSON object, kept for whoever asks (``config_of``).
        """
        check_ids(user_id, mem_cube_id)
        access = await self._register(user_id, mem_cube_id, "asked", config)
        if access.state is not AccessState.OWN:
            why = f"it is shared by {access.ref.user_id!r} (decline_cube frees the name)"
            raise CubeExists(user_id, mem_cube_id, why)
        return access.ref

    async def config_of(self, ref: CubeRef) -> dict[str, Any] | None:
        """What the cube was registered with; None if with nothing."""
        check_ids(ref.user_id, ref.mem_cube_id)
        field = escape(ref.mem_cube_id)
        (config,) = await self._run([Command(("HGET", self._keys.user_configs(ref.user_id), field), _text_or_none)])
        return None if config is None else json.loads(config)

    async def tag(self, owner: str, mem_cube_id: str, tags: Iterable[str]) -> tuple[str, ...]:
        """Say what a cube is: its tags, in place of those it had. They count from the next read on, for all it holds.

        Raises UnknownCube and CubeForbidden if it is not the owner's cube, InvalidArgument for what are no tags, and
        InvalidId for those that hold a secret.
        """
        check_ids(owner, mem_cube_id)
        try:
            kept = checked_tags(tags)
        except ValueError as error:
            raise InvalidArgument("tags", tags, str(error)) from error
        for each in kept:
            refuse_secret_id("tags", each, self._secrets)
        (access,) = await self._run([self.resolve_command(owner, mem_cube_id)])
        ref = await self.admit(access, Permission.WRITE) if access.state is AccessState.UNKNOWN else access.ref
        if ref.user_id != owner:
            raise CubeForbidden(owner, mem_cube_id, f"only its owner {ref.user_id!r} may tag it")
        key, name = self._keys.user_tags(owner), escape(mem_cube_id)
        said = ("HSET", key, name, " ".join(map(escape, kept))) if kept else ("HDEL", key, name)
        await self._run([Command(said, as_int)])
        log.info(
            "a cube's tags are said", action="cube.tagged", user_id=owner, mem_cube_id=mem_cube_id, tags=", ".join(kept)
        )
        return kept

    async def tags_of(self, ref: CubeRef) -> tuple[str, ...]:
        """A cube's tags. Who may is checked by the caller."""
        found: list[tuple[str, ...]] = await self._run([self._tags_command(ref)])
        return found[0]

    async def cubes_of(self, user_id: str) -> list[CubeView]:
        """The cubes that the user has: first their own, then those of others that they accepted; each part by name."""
        return await self._views(user_id, (AccessState.OWN, AccessState.SHARED))

    async def invitations(self, user_id: str) -> list[CubeView]:
        """The cubes that others share with the user, and that they neither accepted nor declined yet."""
        return await self._views(user_id, (AccessState.INVITED,))

    async def _views(self, user_id: str, states: Sequence[AccessState]) -> list[CubeView]:
        check_id("user_id", user_id)
        (entries,) = await self._run([Command(("HGETALL", self._keys.user_cubes(user_id)), _mapping)])
        found = (Access.of(user_id, unescape(name), entry) for name, entry in entries.items())
        views = [CubeView(each.name, each.ref, each.granted) for each in found if each.state in states and each.granted]
        if self._hook_asks and views:
            tags = await self._run([self._tags_command(view.ref) for view in views])
            views = [replace(view, ref=replace(view.ref, tags=its)) for view, its in zip(views, tags, strict=True)]
        return sorted(views, key=lambda view: (view.ref.user_id != user_id, view.name))

    # -- sharing -------------------------------------------------------------------------------------------------

    async def share(
        self,
        owner: str,
        mem_cube_id: str,
        with_user: str,
        permission: Permission,
        name: str | None = None,
        *,
        accepted: bool = False,
    ) -> Grant:
        """Invite another user to a cube; sharing it again changes the permission, also of who accepted it already.

        Raises UnknownCube and CubeForbidden if it is not the owner's cube, CubeExists if that user has another cube of
        that name (or this one under another name), UnknownUser if cubes are not made by themselves and nobody created
        that user.

        Args:
            name: what they call it; default: the name that they have for it already, else ``<owner>/<cube>``. Another
                name is for callers who may decide for both: one that the user takes for their own would lead them to
                the owner's cube.
            accepted: it is theirs at once. For callers who may decide for both.
        """
        check_ids(owner, mem_cube_id)
        usual = f"{owner}/{mem_cube_id}"
        check_ids(with_user, usual if name is None else name)
        if name is not None:
            refuse_secret_id("name", name, self._secrets)
        permission = Permission(permission)
        if with_user == owner:
            raise CubeExists(owner, mem_cube_id, "it is the user's own")
        is_known = Command(("HEXISTS", self._keys.users, escape(with_user)), as_int)
        if not self._auto and not (await self._run([is_known]))[0]:
            raise UnknownUser(with_user)
        grants, grantee = self._keys.user_grants(owner, mem_cube_id), escape(with_user)
        command = _GRANT.command(
            [self._keys.user_cubes(owner), grants, self._keys.user(owner)],
            [escape(mem_cube_id), grantee, permission, "" if name is None else escape(name), escape(usual)],
            as_texts,
        )
        (outcome, *details), known = await self._run([command, is_known])
        if outcome == "not own":
            raise _not_owner(owner, mem_cube_id, details[0])
        if outcome == "named":
            known_as = unescape(details[0])
            raise CubeExists(with_user, name or mem_cube_id, f"it is shared with the user as {known_as!r} already")
        change, local = details
        whose = _whose(owner, mem_cube_id)
        state = AccessState.SHARED if accepted else AccessState.INVITED
        arguments = [local, permission, change, whose, state]
        receive = _RECEIVE.command([self._keys.user_cubes(with_user)], arguments, as_text)
        (received,) = await self._run([receive])
        if received == "taken":
            await self._run([_UNGRANT.command([grants], [grantee, change], as_int)])
            raise CubeExists(with_user, unescape(local), "the user has another cube of that name")
        log.info(
            "a cube is shared",
            action="cube.shared",
            user_id=owner,
            mem_cube_id=mem_cube_id,
            with_user=with_user,
            permission=permission.value,
            accepted=received == AccessState.SHARED,
        )
        if not known:
            log.warning(
                "a cube is shared with somebody whom nobody knows yet: the invitation waits until they come",
                action="cube.shared_with_unknown",
                user_id=owner,
                mem_cube_id=mem_cube_id,
                with_user=with_user,
                advice="if that is no user of yours, take it back (revoke_cube_from_user)",
            )
        return Grant(with_user, unescape(local), permission, received == AccessState.SHARED, bool(known))

    async def accept(self, user_id: str, name: str) -> CubeView:
        """Take a cube that somebody shares with the user; once more changes nothing. Raises UnknownInvitation."""
        access = await self._reply(user_id, name, "accept")
        if access.granted is None or access.state is AccessState.OWN:
            raise UnknownInvitation(user_id, name)
        return CubeView(name, access.ref, access.granted)

    async def decline(self, user_id: str, name: str) -> bool:
        """Refuse a cube that somebody shares with the user, or end what they accepted; False if there was none.

        As after a revocation, the name stays taken until they register a cube of their own. The owner may invite them
        once more.
        """
        access = await self._reply(user_id, name, "decline")
        if access.state in (AccessState.OWN, AccessState.UNKNOWN):
            return False
        grants = self._keys.user_grants(access.ref.user_id, access.ref.mem_cube_id)
        await self._run([_UNGRANT.command([grants], [escape(user_id), access.change], as_int)])
        return access.state is not AccessState.REVOKED

    async def _reply(self, user_id: str, name: str, what: str) -> Access:
        """Returns what the name stood for before."""
        check_ids(user_id, name)
        command = _REPLY.command([self._keys.user_cubes(user_id)], [escape(name), what], as_text)
        (entry,) = await self._run([command])
        access = Access.of(user_id, name, entry or None)
        if access.state in (AccessState.INVITED, AccessState.SHARED):
            log.info(
                f"a user says what they do with a shared cube: {what}",
                action="cube.accept" if what == "accept" else "cube.decline",
                user_id=user_id,
                mem_cube_id=name,
                owner=access.ref.user_id,
            )
        return access

    async def revoke(self, owner: str, mem_cube_id: str, from_user: str) -> bool:
        """End a share, from the other user's next message on; False if there was none.

        Their name of it stays taken: what they still send there is refused, and does not start a cube of their own
        until they register one. Raises UnknownCube and CubeForbidden if it is not the owner's cube.
        """
        check_ids(owner, mem_cube_id)
        check_id("user_id", from_user)
        grants, grantee = self._keys.user_grants(owner, mem_cube_id), escape(from_user)
        entry, change, noted = await self._run(
            [
                Command(("HGET", self._keys.user_cubes(owner), escape(mem_cube_id)), _text_or_none),
                Command(("HINCRBY", self._keys.user(owner), "changes", 1), as_int),
                Command(("HGET", grants, grantee), _text_or_none),
            ]
        )
        if entry != AccessState.OWN:
            raise _not_owner(owner, mem_cube_id, entry or "")
        if noted is None:
            return False
        local = noted.split(" ")[2]
        arguments = [local, change, _whose(owner, mem_cube_id)]
        await self._run([_WITHDRAW.command([self._keys.user_cubes(from_user)], arguments, as_int)])
        await self._run([_UNGRANT.command([grants], [grantee, change], as_int)])
        log.info(
            "a cube is no longer shared",
            action="cube.revoked",
            user_id=owner,
            mem_cube_id=mem_cube_id,
            from_user=from_user,
        )
        return True

    # -- every read and write ------------------------------------------------------------------------------------

    async def resolve(self, user_id: str, mem_cube_id: str, need: Permission) -> CubeRef:
        """The cube that a user's name stands for, if they may: one HGET. Raises CubeForbidden or UnknownCube.

        An unknown name is the user's own cube (MEMSCHED_AUTO_REGISTER_CUBES); it is made by the first WRITE, which
        takes one round trip more.
        """
        return (await self.view(user_id, mem_cube_id, need)).ref

    async def view(self, user_id: str, mem_cube_id: str, need: Permission) -> CubeView:
        """As ``resolve``, with what the user may do with the cube."""
        (access,) = await self._run([self.resolve_command(user_id, mem_cube_id)])
        return await self.view_of(access, need)

    async def view_of(self, access: Access, need: Permission) -> CubeView:
        """As ``view``, of what the server said already."""
        ref = await self.admit(access, need)
        # One that is not there yet is the user's own.
        is_there = access.state is not AccessState.UNKNOWN or need is Permission.WRITE
        return CubeView(access.name, ref, access.permission or Permission.WRITE, is_there=is_there)

    async def once_shared(self, user_id: str, mem_cube_id: str) -> CubeRef | None:
        """The cube of somebody else that the user's name stands for, also when it is shared with them no longer.

        For what a user may undo of their own there: it lets them see nothing. None: the name is their own, or unknown.
        """
        (access,) = await self._run([self.resolve_command(user_id, mem_cube_id)])
        return access.ref if access.state in (AccessState.SHARED, AccessState.REVOKED) else None

    def resolve_command(self, user_id: str, mem_cube_id: str) -> Command[Access]:
        """The question of ``resolve``, for a pipeline; ``admit`` understands the answer."""
        check_ids(user_id, mem_cube_id)
        return Command(
            ("HGET", self._keys.user_cubes(user_id), escape(mem_cube_id)),
            lambda reply: Access.of(user_id, mem_cube_id, _text_or_none(reply)),
        )

    async def admit(self, access: Access, need: Permission) -> CubeRef:
        """The cube, if ``access`` is enough. Calls the server only to make a cube, and, where a permission hook asks,
        for its tags. Raises as ``resolve``.
        """
        touched_cube(access.user_id, access.name)
        ref = await self._admit(access, need)
        return replace(ref, tags=await self.tags_of(ref)) if self._hook_asks else ref

    async def _admit(self, access: Access, need: Permission) -> CubeRef:
        if access.state is AccessState.UNKNOWN:
            if not self._auto:
                raise UnknownCube(access.user_id, access.name)
            if need is Permission.READ:
                return access.ref
            access = await self._register(access.user_id, access.name, "auto", None)
        return access.require(need)

    # -- parts ---------------------------------------------------------------------------------------------------

    async def _register(self, user_id: str, mem_cube_id: str, how: str, config: dict[str, Any] | None) -> Access:
        refuse_secret_id("user_id", user_id, self._secrets)
        refuse_secret_id("mem_cube_id", mem_cube_id, self._secrets)
        text = "" if config is None else json.dumps(config, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        _, entry = await self._run(
            [
                self._user_command(user_id, ""),  # a user is listed before they have a cube, or nobody would see them
                _REGISTER.command(
                    [self._keys.user_cubes(user_id), self._keys.user_configs(user_id)],
                    [escape(mem_cube_id), how, text],
                    as_text,
                ),
            ]
        )
        access = Access.of(user_id, mem_cube_id, entry)
        if access.state is AccessState.OWN:
            log.info(
                "a cube is registered", action="cube.registered", user_id=user_id, mem_cube_id=mem_cube_id, how=how
            )
        return access

    def _tags_command(self, ref: CubeRef) -> Command[tuple[str, ...]]:
        return Command(
            ("HGET", self._keys.user_tags(ref.user_id), escape(ref.mem_cube_id)),
            lambda reply: tuple(map(unescape, (_text_or_none(reply) or "").split())),
        )

    def _user_command(self, user_id: str, name: str) -> Command[int]:
        """Returns 1 if the user was not known."""
        return Command(("HSET" if name else "HSETNX", self._keys.users, escape(user_id), name), as_int)

    async def _run(self, commands: list[Command[Any]]) -> list[Any]:
        return [answered(reply) for reply in await self._server.persistently(lambda: self._server.run(commands))]


def check_ids(user_id: str, mem_cube_id: str) -> None:
    """Raises InvalidId unless both can be ids."""
    check_id("user_id", user_id)
    check_id("mem_cube_id", mem_cube_id)


def check_id(what: str, value: str) -> None:
    """Raises InvalidId unless ``value`` can be an id: 1 to MAX_ID_CHARACTERS characters of any Unicode text."""
    if not isinstance(value, str):
        raise InvalidId(what, f"it must be text, not {type(value).__name__}")
    if not 1 <= len(value) <= MAX_ID_CHARACTERS:
        raise InvalidId(what, f"it has {len(value)} characters; 1 to {MAX_ID_CHARACTERS} are possible")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise InvalidId(what, "it is not Unicode text") from error


def _not_owner(user_id: str, mem_cube_id: str, entry: str) -> UnknownCube | CubeForbidden:
    if not entry:
        return UnknownCube(user_id, mem_cube_id)
    owner = Access.of(user_id, mem_cube_id, entry).ref.user_id
    return CubeForbidden(user_id, mem_cube_id, f"only its owner {owner!r} may share it")


def _whose(owner: str, mem_cube_id: str) -> str:
    return f"{escape(owner)} {escape(mem_cube_id)}"


def _text_or_none(reply: Any) -> str | None:
    return None if reply is None else as_text(reply)


def _mapping(reply: Any) -> dict[str, str]:
    """A hash, as RESP2's flat list or as the dict that a client makes of it."""
    flat = [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply
    texts = as_texts(flat)
    return dict(zip(texts[::2], texts[1::2], strict=True))
