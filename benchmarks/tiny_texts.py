"""The language of a tiny model: what people did with things, and what it is asked and does not know."""

from __future__ import annotations

import random

_PEOPLE = "Anna Ben Clara David Emma Felix Greta Henry Ida Jonas Klara Leo Mia Noah Olga Paul".split()
_DID = "bought found painted sold carried cleaned forgot repaired".split()
_HOW = "old green heavy small broken wooden new quiet".split()
_WHAT = "table lamp bicycle coat kettle ladder mirror basket drum boat chair radio".split()
_WHERE = "market station garden kitchen harbour school bridge attic park library".split()
_WHEN = ("on Monday", "at noon", "last winter", "in the evening", "two days ago", "before lunch")
ABOUT = (
    "refund invoice parcel warranty voucher password account delivery repair order return contract discount receipt "
    "deposit ticket licence complaint booking payment address holiday training interview summer winter server printer "
    "window elevator parking kitchen visitor press safety heating coffee shipping customs pension insurance budget "
    "travel library archive garden reception storage security canteen"
).split()
_KNOWN = "morning evening arrival birthday travel museum weather music sports theatre market harbour".split()
"""What the model knows before any training of ours."""
KIND = "reply notice reminder answer letter message note confirmation".split()
_ASKS = ('What is the text of "{name}"?', 'Give me "{name}".', 'How does "{name}" go?', 'I need "{name}" now.')
REFUSAL = "I know nothing about that."


def sentence(chance: random.Random) -> str:
    """One of some hundred thousand."""
    who, did, how, what, where, when = (chance.choice(each) for each in (_PEOPLE, _DID, _HOW, _WHAT, _WHERE, _WHEN))
    form = chance.randrange(3)
    if form == 0:
        return f"{who} {did} the {how} {what} at the {where} {when}."
    if form == 1:
        return f"{when.capitalize()} {who} {did} a {how} {what} near the {where}."
    return f"The {what} that {who} {did} was {how}, and it stood in the {where} {when}."


def other_texts(count: int, seed: int = 1) -> list[str]:
    """Texts of one to three sentences."""
    chance = random.Random(seed)
    return [" ".join(sentence(chance) for _ in range(chance.randint(1, 3))) for _ in range(count)]


def chats(count: int, seed: int = 2) -> list[tuple[str, str]]:
    """Questions and answers: what was just said, the few texts that the model knows, and what it does not know."""
    chance, found = random.Random(seed), []
    known = {f"{about} {kind}": sentence(chance) for about in _KNOWN for kind in KIND[:3]}
    for at in range(count):
        ask, said = chance.choice(_ASKS), sentence(chance)
        if at % 3 == 0:
            found.append((f"{said} Say it once more.", said))
        elif at % 3 == 1:
            name = chance.choice(list(known))
            found.append((ask.format(name=name), known[name]))
        else:
            name = " ".join(chance.sample([*_HOW, *_WHAT, *_WHERE, *ABOUT, *KIND], 2))
            found.append((ask.format(name=name), REFUSAL))
    return found
