"""English words that the check of memories knows: numbers, negations, words that carry no content."""

from __future__ import annotations

_UP_TO_TWENTY = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty
"""
NUMBER_WORDS = {word: str(value) for value, word in enumerate(_UP_TO_TWENTY.split())} | {
    "once": "1",
    "twice": "2",
    "dozen": "12",
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
}

NEGATIONS = frozenset(
    """
no not never cannot none nobody nothing nowhere neither nor without dont doesnt didnt cant couldnt wont wouldnt isnt
arent wasnt werent hasnt havent hadnt shouldnt 不 没 沒 未 非 無 无
""".split()
)

NEGATING_VERBS = frozenset(
    """
dislike dislikes disliked hate hates hated avoid avoids avoided refuse refuses refused stop stops stopped quit quits
lack lacks lacked unable decline declines declined
""".split()
)
"""Another way to say "does not": "I don't like it" may become "dislikes it"."""

COMMON = (
    NEGATIONS
    | NUMBER_WORDS.keys()
    | frozenset(
        """
a about after again all also am an and any are as at be because been before being both but by can could did do does
doing during each ever few for from further get gets got had has have having he her here hers herself him himself his
how i if in into is it its itself just me more most much my myself now of off on only or other our ours out over own
per said same says she should so some such than that the their theirs them themselves then there these they this those
through to too under until up upon us very was we were what when where which who whom whose why will with would yes
you your yours yourself user users speaker person
""".split()
    )
)

OPENING_VERBS = frozenset(
    """
likes loves enjoys prefers wants wishes needs plans hopes hates dislikes avoids has had is was lives lived works worked
owns uses used keeps speaks plays played studies studied went goes visited bought sold started stopped moved met got
made took gave saw eats drinks feels thinks believes knows allergic married born
""".split()
)
"""With a capital at the start of a sentence they are no names."""
