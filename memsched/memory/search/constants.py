"""The constants of search, all in one place.

They are in BM25's own units, so that parts add up as log odds do. Chosen on five talks of LoCoMo (Maharana et al. 2024)
where recall is flat in all of them; ``scripts/fit_search.py`` fits the weights there, docs/measurements.md has tables.
"""

from __future__ import annotations

REACH = 3
"""Turns, and utterances, on either side that a window reaches."""
FADE = (1.0, 0.75, 0.5, 0.25)
"""What a memory has of another one's words, by distance."""
FADE_WITHOUT_SPACES = (1.0, 0.5, 0.25, 0.0)
"""Of scripts without spaces: pairs of characters meet by chance more often than words do."""

OWN_KEYWORDS = 1.0
"""So much more a memory's own words count where the query is nothing but words: who names words wants what has them,
and what was said around it can only mislead."""
SPEAKER = 1.8
"""For a memory of who is asked about: 0.9 for being theirs, and 0.9 for not being somebody else's."""
VALUE = 0.65
"""Times what the text is worth (memory/content)."""
VALUE_OF_KEYWORDS = 0.2
"""The same where the query is nothing but words."""
MONTH, ONLY_YEAR, DAY = 7.0, 0.3, 6.0
"""For what was said in the month that is asked for; that share of it for the year; and for the day."""
DENSE_OF_HASHING, DENSE_OF_A_MODEL = 6.0, 12.0
"""Times the cosine."""

IN_TIME = 30
"""Candidates of the time that is asked for."""
HASHING_CANDIDATES, MODEL_CANDIDATES = 30, 100
"""Of the dense ranking."""
FOR_EACH_NEAR = 0.5
"""What a memory loses by each better one around it, where several things are asked for."""
SUPERSEDED = 0.5
"""Times the score of what was corrected: still to be found, for who asks how it was before."""
NO_ANSWER = 0.3
"""Times the score of what only asks, or only says that it does not know (no_answer.py)."""
ASKS_THE_SAME = 0.34
"""Of its words, so many must be the query's: else it asks something else."""
