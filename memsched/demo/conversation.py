"""What is said in the demo. Alice talks about her dog Max; Bob, who knows nothing of either, about a bicycle tour."""

from __future__ import annotations

from dataclasses import dataclass

from memsched.messages import ADD_LABEL, ANSWER_LABEL, QUERY_LABEL, ScheduleMessageItem

ALICE, BOB = "alice", "bob"
CUBES = {ALICE: "home", BOB: "tour"}
NAMES = {ALICE: "Alice", BOB: "Bob"}
ASSISTANT = "assistant"
MAX = "Max"

PEANUT_BUTTER = "Max loves peanut butter, it is his favourite treat."
ALLERGY = "Max is allergic to nuts, the blood test says."
OLD_HOME = "Max and I live in Leipzig."
NEW_HOME = "Actually, Max and I live in Hamburg now, not in Leipzig."
WHERE = "Where does Alice live?"
TREAT = "Can I give Max a peanut butter treat?"

_ENTRIES_A_DAY = 4
_TOWNS = (
    "Donaueschingen",
    "Tuttlingen",
    "Sigmaringen",
    "Ulm",
    "Ingolstadt",
    "Regensburg",
    "Passau",
    "Linz",
    "Krems",
    "Vienna",
    "Bratislava",
    "Komarom",
    "Esztergom",
    "Budapest",
    "Mohacs",
    "Vukovar",
    "Novi Sad",
    "Belgrade",
    "Golubac",
    "Vidin",
    "Ruse",
    "Silistra",
    "Braila",
    "Tulcea",
    "Sulina",
)
_MEALS = ("noodles with mushrooms", "rice and beans", "bread and cheese", "lentil soup", "dumplings", "fried fish")
_COMPANY = ("a heron", "two anglers", "a ferryman", "a school class", "an otter", "a painter", "three cyclists")


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance.

    Args:
        user: whose conversation it is.
        by: who says it, if that is not the user.
        label: ``add`` for what is to be remembered, ``query`` for a question, ``answer`` for the assistant's answer.
        settled: it is said when everything before it has been handled; it builds on that.
    """

    user: str
    text: str
    by: str = ""
    label: str = ADD_LABEL
    settled: bool = False

    @property
    def speaker(self) -> str:
        return self.by or self.user

    def message(self, reference: str) -> ScheduleMessageItem:
        """As it is submitted; ``reference`` is what the store names as the utterance's source."""
        said = None
        if self.label == ADD_LABEL:
            said = [{"role": ASSISTANT if self.by else "user", "content": self.text, "id": reference}]
        return ScheduleMessageItem(
            user_id=self.user,
            mem_cube_id=CUBES[self.user],
            label=self.label,
            content=self.text,
            user_name=NAMES[self.user],
            session_id=f"{self.user}-today",
            chat_history=said,
        )


def _reply(user: str, text: str) -> Turn:
    return Turn(user, text, by=ASSISTANT)


def _question(user: str, text: str) -> Turn:
    return Turn(user, text, label=QUERY_LABEL, settled=True)


def _answer(user: str, text: str) -> Turn:
    return Turn(user, text, by=ASSISTANT, label=ANSWER_LABEL, settled=True)


BEFORE = (
    Turn(ALICE, "I have a dog. His name is Max, and he is a golden retriever."),
    _reply(ALICE, "He sounds lovely. How old is he?"),
    Turn(ALICE, "Max turned four in June, and he weighs 31 kilos."),
    Turn(ALICE, PEANUT_BUTTER),
    _reply(ALICE, "A spoonful of it makes a good reward for training."),
    Turn(BOB, "I am planning a bicycle tour along the Danube."),
    _reply(BOB, "From the source to the sea it is 2850 kilometres."),
    Turn(ALICE, OLD_HOME),
    Turn(ALICE, "Max climbs the stairs to the fourth floor all by himself."),
    _question(ALICE, "What is a good reward for Max?"),
    _answer(ALICE, "Peanut butter: Max loves it, it is his favourite treat."),
    Turn(ALICE, "My sister Ann walks with him on Tuesdays."),
    Turn(BOB, "My tent weighs two kilos, and the stove runs on petrol."),
    Turn(ALICE, "He chews shoes when he is alone for too long."),
    _reply(ALICE, "Hide a toy with something tasty in it."),
    Turn(BOB, "Here is my diary of the whole tour."),
)
"""Until Bob hands in his diary, and one of the workers dies over it."""

AFTER = (
    Turn(ALICE, "Today we went to the vet, because Max scratches himself all day."),
    _reply(ALICE, "Did she find a reason?"),
    Turn(ALICE, ALLERGY),
    _reply(ALICE, "Then read carefully what is in his food."),
    Turn(ALICE, "She gave us drops, ten in the morning and ten at night."),
    _question(BOB, "Where was there fried fish for supper?"),
    Turn(ALICE, "Moving house is next week, and all boxes are packed."),
    Turn(ALICE, "Max is afraid of the removal van."),
    _reply(ALICE, "Let him ride in your own car."),
    Turn(ALICE, NEW_HOME, settled=True),
    _question(ALICE, "Where do we live?"),
    _answer(ALICE, "You live in Hamburg."),
    Turn(ALICE, "He swims in the Elbe every evening."),
    Turn(ALICE, "There is a hedgehog in the garden, and Max is polite to it."),
    Turn(BOB, "Next summer I want to follow the Loire."),
    Turn(ALICE, "Ann visits us on Sunday and brings a cake."),
    _question(ALICE, TREAT),
    _answer(ALICE, "Better not: he loves peanut butter, and yet Max is allergic to nuts."),
)


def diary(entries: int) -> list[Turn]:
    """Bob's diary: no two entries alike, none of them about Alice or her dog."""
    turns = []
    for number in range(entries):
        day, which = divmod(number, _ENTRIES_A_DAY)
        town, nights = _TOWNS[day % len(_TOWNS)], 1 + day // len(_TOWNS)
        turns.append(
            Turn(
                BOB,
                (
                    f"Day {day + 1}: rode {31 + day * 7 % 50} kilometres and reached {town}.",
                    f"Day {day + 1}: for supper there was {_MEALS[day % len(_MEALS)]} in {town}.",
                    f"Day {day + 1}: pitched the tent near {town}, night {nights} by the river.",
                    f"Day {day + 1}: met {_COMPANY[day % len(_COMPANY)]} on the way to {town}.",
                )[which],
            )
        )
    return turns
