"""Two hundred turns with ten corrections and ten traps: what is known at the end, and after all of it was undone.

    python examples/corrections.py

A trap sounds like a correction and is none: what was said before stays right. Exits with 1 if a row is wrong.

It needs no server and no language model: memsched starts what it needs, and keeps its data in ./memsched-data. With
MEMSCHED_REDIS_URL=memory:// everything stays inside this process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from uuid import uuid4

from memsched import MOS
from memsched.logs import configure_logs
from memsched.memory.model import Memory

CORRECTIONS = [
    ("I live in Porto.", "Actually, I live in Braga."),
    ("My phone number is 555-2031.", "My phone number is 555-9940 now."),
    ("My cat is called Luna.", "Sorry, I meant my cat is called Lena."),
    ("The rehearsal is on Monday.", "The rehearsal is on Thursday, not on Monday."),
    ("I work at the harbour office.", "I no longer work at the harbour office."),
    ("My favourite colour is green.", "I changed my mind, my favourite colour is orange."),
    ("My train leaves at 7 am.", "Correction: my train leaves at 9 am."),
    ("Our garage door is blue.", "Our garage door is white now."),
    ("My manager is called Filipe.", "Actually, my manager is called Marta."),
    ("I am a vegetarian.", "I am not a vegetarian anymore."),
]
TRAPS = [
    ("My sister is allergic to nuts.", "My sister now works at a bakery."),
    ("I drink tea every morning.", "I no longer drink coffee."),
    ("My brother Paul plays the piano.", "My brother Paul is not tall, but strong."),
    ("My son Tom has asthma.", "Actually, my son Tom is good at chess."),
    ("My bicycle is a red Kestrel.", "I took my bicycle to the garage instead of walking."),
    ("My aunt lives in Faro.", "My uncle lives in Lagos now."),
    ("I speak Dutch.", "I wish I no longer had to speak Dutch at work."),
    ("My neighbour has two dogs.", "My neighbour used to have a parrot."),
    ("The key is under the mat.", "Is the key not under the mat anymore?"),
    ("I play the violin.", "My friend said: I don't play the violin anymore."),
]
TURNS, AT_ONCE = 200, 25
CUBE = f"talk-{uuid4()}"
"""A new one each time: what was undone once is not corrected again by the same words."""


def conversation() -> list[dict[str, str]]:
    """The statements, small talk, and then what corrects them or seems to."""
    pairs = [pair for two in zip(CORRECTIONS, TRAPS, strict=True) for pair in two]
    talk = small_talk()
    said: list[dict[str, str]] = []
    for texts in zip(*pairs, strict=True):
        for text in texts:
            said.append({"role": "user", "content": text})
            said += [next(talk) for _ in range(TURNS // (2 * len(pairs)) - 1)]
    return said


def small_talk() -> Iterator[dict[str, str]]:
    towns = "Aveiro Beja Chaves Elvas Fafe Guarda Leiria Mafra Nelas Ovar".split()
    number = 0
    while True:
        number += 1
        town = f"{towns[number % len(towns)]} {number}"
        yield {"role": "user", "content": f"How do I get to {town}?"}
        yield {"role": "assistant", "content": f"Would you like to see {town} on a map?"}


def known(mos: MOS) -> dict[str, Memory]:
    (cube,) = mos.get_all(CUBE)["text_mem"]
    return {memory.text: memory for memory in cube["memories"]}


def report(memories: dict[str, Memory], *, undone: bool) -> bool:
    """Print a row for each statement; whether all are right."""
    rows = [(older, newer, True) for older, newer in CORRECTIONS] + [(older, newer, False) for older, newer in TRAPS]
    fine = True
    for older, newer, corrects in rows:
        memory = memories[older]
        by = next((text for text, each in memories.items() if each.memory_id == memory.superseded_by), "")
        is_right = by == (newer if corrects and not undone else "")
        fine = fine and is_right
        state = f"until {memory.valid_until:%H:%M:%S}: {by}" if memory.valid_until else "holds"
        print(f"{'OK   ' if is_right else 'wrong'} {older:34} {state}")
    print(f"{len(memories)} memories, {sum(each.superseded_by is not None for each in memories.values())} superseded")
    return fine


def main() -> int:
    mos = MOS(user_id="ines", log_level="error")
    configure_logs(mos.settings)
    try:
        said = conversation()
        for at in range(0, len(said), AT_ONCE):
            mos.add(said[at : at + AT_ONCE], mem_cube_id=CUBE, session_id="talk", wait=True)
        print(f"After {len(said)} turns:")
        fine = report(known(mos), undone=False)
        for memory in known(mos).values():
            if memory.superseded_by is not None:
                mos.restore(memory.memory_id, CUBE)
        print("\nAfter every correction was undone:")
        return 0 if report(known(mos), undone=True) and fine else 1
    finally:
        mos.stop()


if __name__ == "__main__":
    sys.exit(main())
