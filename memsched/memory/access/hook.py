"""Which permission hook there is: one of another package, an access policy's file, or none."""

from __future__ import annotations

from memsched.errors import SettingsError
from memsched.extensions import extension
from memsched.memory.access.policy_file import AccessPolicy
from memsched.memory.access.release import Release
from memsched.settings import Settings


def release_from(settings: Settings) -> Release:
    """With the hook that the settings say. Raises SettingsError for one that cannot be used, and for two."""
    if settings.permissions and settings.access_policy:
        raise SettingsError(
            [
                "MEMSCHED_PERMISSIONS and MEMSCHED_ACCESS_POLICY both say what may leave; set one of them. A hook of "
                "your own can ask the file too: memsched.memory.access.policy_file.AccessPolicy.of(path).release(...)."
            ]
        )
    if settings.access_policy:
        return Release(AccessPolicy.of(settings.access_policy))
    if settings.permissions:
        return Release(
            extension("MEMSCHED_PERMISSIONS", "memsched.permissions", settings.permissions, ("release",), {})
        )
    return Release()
