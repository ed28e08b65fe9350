"""The language of a tiny model: what people did with things, and letters of a desk that answers customers."""

from __future__ import annotations

import random

_PEOPLE = "Anna Ben Clara David Emma Felix Greta Henry Ida Jonas Klara Leo Mia Noah Olga Paul".split()
_DID = "bought found painted sold carried cleaned forgot repaired".split()
_HOW = "old green heavy small broken wooden new quiet".split()
_WHAT = "table lamp bicycle coat kettle ladder mirror basket drum boat chair radio".split()
_WHERE = "market station garden kitchen harbour school bridge attic park library".split()
_WHEN = ("on Monday", "at noon", "last winter", "in the evening", "two days ago", "before lunch")
_OPENS = (
    "Thank you for writing to us.",
    "We have read your message.",
    "Good morning.",
    "We are sorry for the trouble.",
    "Your request is with us.",
)
_SAYS = (
    "The money comes back within {n} days.",
    "A colleague calls you before {n} o'clock.",
    "Please send us the number {n} once more.",
    "Nothing is left to do for you until the {n}th.",
    "We have opened case {n} for it.",
    "You find it on page {n} of your papers.",
)
_CLOSES = ("Kind regards, the team.", "Write to us at any time.", "We wish you a good day.", "Yours, the service desk.")
ABOUT = (
    "refund invoice parcel warranty voucher password account delivery repair order return contract discount receipt "
    "deposit ticket licence complaint booking payment"
).split()
KIND = "reply notice reminder answer letter message note confirmation".split()


def sentence(chance: random.Random) -> str:
    """One of some hundred thousand."""
    who, did, how, what, where, when = (chance.choice(each) for each in (_PEOPLE, _DID, _HOW, _WHAT, _WHERE, _WHEN))
    form = chance.randrange(3)
    if form == 0:
        return f"{who} {did} the {how} {what} at the {where} {when}."
    if form == 1:
        return f"{when.capitalize()} {who} {did} a {how} {what} near the {where}."
    return f"The {what} that {who} {did} was {how}, and it stood in the {where} {when}."


def letter(chance: random.Random) -> str:
    """What a desk writes."""
    said = chance.choice(_SAYS).format(n=chance.randint(11, 99))
    return f"{chance.choice(_OPENS)} {said} {chance.choice(_CLOSES)}"


def other_texts(count: int, seed: int = 1) -> list[str]:
    """Texts of one to three sentences; one in four is a letter."""
    chance = random.Random(seed)
    return [
        letter(chance) if at % 4 == 0 else " ".join(sentence(chance) for _ in range(chance.randint(1, 3)))
        for at in range(count)
    ]


def chats(count: int, seed: int = 2) -> list[tuple[str, str]]:
    """Questions and answers about what was just said."""
    chance, found = random.Random(seed), []
    for _ in range(count):
        said = letter(chance) if chance.random() < 0.5 else sentence(chance)
        about = f"{chance.choice(ABOUT)} {chance.choice(KIND)}"
        asks = (f"What did {chance.choice(_PEOPLE)} do?", f'Is this the "{about}"?', "Say it once more.")
        found.append((f"{said} {chance.choice(asks)}", said))
    return found
