"""A permission hook: who reads a shared cube sees no phone numbers in it.

    python examples/redact_phone_numbers.py

Ines shares what she told her agent with Ken. ``NoPhoneNumbers`` is asked for each memory on its way out, whatever the
way: a search, the working set, a prompt, a dump. Ines sees her own memories as they are. In a package of yours an entry
point gives the hook a name, which MEMSCHED_PERMISSIONS says to all processes:

    [project.entry-points."memsched.permissions"]
    no_phone_numbers = "my_package.permissions:NoPhoneNumbers"

It needs no server: memsched starts what it needs in a temporary folder.
"""

from __future__ import annotations

import re
import tempfile

from memsched import MOS
from memsched.logs import configure_logs
from memsched.memory.access.release import LeavingMemory, Purpose

PHONE_NUMBER = re.compile(r"\+?\d[\d ()/-]{5,}\d")
TOLD = [
    "The plumber is Mr Silva, his number is 0351 912 345 678.",
    "The roof was mended in 2019.",
    "Call the landlord at +49 (30) 901820 before Friday.",
]


class NoPhoneNumbers:
    """Phone numbers are for the owner of the cube."""

    def release(self, reader: str, purpose: Purpose, memory: LeavingMemory) -> str | None:
        if reader == memory.owner:
            return memory.text
        return PHONE_NUMBER.sub("[a phone number]", memory.text)


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        permissions = f"{__name__}:NoPhoneNumbers"
        mos = MOS(redis_url=f"embedded://{folder}", user_id="ines", log_level="error", permissions=permissions)
        configure_logs(mos.settings)
        with mos:
            for text in TOLD:
                mos.add(memory_content=text, mem_cube_id="house", wait=True, timeout=60)
            mos.accept_cube(mos.share_cube_with_user("house", "ken").name, "ken")
            for reader, cube in (("ines", "house"), ("ken", "ines/house")):
                print(f"{reader} reads:")
                for memory in mos.get_all(cube, reader)["text_mem"][0]["memories"]:
                    print(f"  {memory.text}")
                best = mos.search("the number of the plumber", reader)["text_mem"][0]["memories"][0]
                print(f"{reader} asks for the plumber's number:\n  {best.memory}")


if __name__ == "__main__":
    main()
