"""The permission of a cube: what a user's name of it stands for, and whether that is enough for what they ask.

``Cubes`` (cubes.py) keeps who has which permission, and resolves a name before every use of a cube.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from memsched.broker.keys import escape, unescape
from memsched.errors import CubeForbidden, InvalidArgument


class Permission(StrEnum):
    """What a user may do with a cube. Who may write may read as well."""

    READ = "read"
    WRITE = "write"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        raise InvalidArgument("permission", value, f"it is one of {', '.join(cls)}")

    def allows(self, need: Permission) -> bool:
        return self is Permission.WRITE or need is Permission.READ


@dataclass(frozen=True, slots=True)
class CubeRef:
    """A cube: its owner's id, and the owner's name of it. Keys and payloads hold this pair, whoever uses the cube.

    tags: what its owner says that it is (``Cubes.tag``), as far as a permission hook asks; None: nobody has looked.
    """

    user_id: str
    mem_cube_id: str
    tags: tuple[str, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def tenant(self) -> str:
        """One word for it, which is no other cube's."""
        return f"{escape(self.user_id)}/{escape(self.mem_cube_id)}"

    @classmethod
    def of_tenant(cls, tenant: str) -> Self:
        """The cube of such a word."""
        user_id, _, mem_cube_id = tenant.partition("/")
        return cls(unescape(user_id), unescape(mem_cube_id))


class AccessState(StrEnum):
    """What a name of a user stands for."""

    OWN = "own"
    SHARED = "shared"
    INVITED = "invited"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Access:
    """What a user's name of a cube stands for; ``Cubes.admit`` makes a cube, or a refusal, of it.

    Args:
        ref: the cube; for an unknown name, the one it would be.
        granted: what they may do with it, once they have accepted it; None where there is nothing to accept.
        change: number of the owner's change that made it so.
    """

    user_id: str
    name: str
    state: AccessState
    ref: CubeRef
    granted: Permission | None
    change: int = 0

    @property
    def permission(self) -> Permission | None:
        """What they may do with it now."""
        return None if self.state is AccessState.INVITED else self.granted

    @classmethod
    def of(cls, user_id: str, name: str, entry: str | None) -> Self:
        """What an entry of the user's hash says; None is no entry."""
        if entry is None:
            return cls(user_id, name, AccessState.UNKNOWN, CubeRef(user_id, name), None)
        state, *details = entry.split(" ")
        if state == AccessState.OWN:
            return cls(user_id, name, AccessState.OWN, CubeRef(user_id, name), Permission.WRITE)
        granted = Permission(details[0]) if state in (AccessState.SHARED, AccessState.INVITED) else None
        ref = CubeRef(unescape(details[-2]), unescape(details[-1]))
        return cls(user_id, name, AccessState(state), ref, granted, int(details[-3]))

    def require(self, need: Permission) -> CubeRef:
        """The cube, if the permission is enough. Raises CubeForbidden."""
        if self.state is AccessState.INVITED:
            why = f"{self.ref.user_id!r} shares it, and it was not accepted yet (accept_cube)"
            raise CubeForbidden(self.user_id, self.name, why)
        if self.permission is None:
            raise CubeForbidden(self.user_id, self.name, f"it was shared by {self.ref.user_id!r} and is no longer")
        if not self.permission.allows(need):
            raise CubeForbidden(self.user_id, self.name, f"{self.ref.user_id!r} shares it for reading only")
        return self.ref
