"""Hybrid search in one cube: words and the words around them, who said it, when, what it is worth, and the model.

All parts are in BM25's own units, so that they add up as log odds do (constants.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from memsched.lexicon import STOP_WORDS, content_words, is_without_spaces, stem, stems, words
from memsched.memory.access.permissions import CubeRef
from memsched.memory.content.topic_words import stop_words_by_language
from memsched.memory.embedding.embedder import Embedder
from memsched.memory.model import Memory, event_ms, to_ms
from memsched.memory.search.arguments import FoundWord, Method, SearchArgs, SearchResult
from memsched.memory.search.bm25 import TermCounts, own_weights
from memsched.memory.search.constants import (
    ASKS_THE_SAME,
    DENSE_OF_A_MODEL,
    DENSE_OF_HASHING,
    HASHING_CANDIDATES,
    IN_TIME,
    MODEL_CANDIDATES,
    NO_ANSWER,
    OWN_KEYWORDS,
    REACH,
    SPEAKER,
    SUPERSEDED,
    VALUE,
    VALUE_OF_KEYWORDS,
)
from memsched.memory.search.dates import Dates, dates_in
from memsched.memory.search.evidence import Evidence
from memsched.memory.search.likelihood import Kind, likelihood
from memsched.memory.search.no_answer import asks_about_asking
from memsched.memory.search.ranking_cache import RankingCache
from memsched.memory.search.rerank import (
    ScoredHit,
    behind_what_they_stand_beside,
    newer_first,
    revisers_first,
    spread,
    without_repetitions,
)
from memsched.memory.search.several import asks_for_several, spread_over_places
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.search.window import (
    QUESTION_MARKS,
    FoundBy,
    Surroundings,
    names_of,
    own_name,
    places_around,
    sparse_of,
    speaker_names,
)
from memsched.memory.search.wording import asked_for
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.points import LEXICAL, Hit, Ranking, Sparse
from memsched.memory.store.store import MemoryStore
from memsched.pace import Pace
from memsched.tracing import memory_operation

_MOST_CANDIDATES = 4_000
_LIKELIEST = 3
"""Of what is near, so many that have the most of a question are looked at for whether they answer it."""
_BEST = 1
_MINUTE_MS = 60_000
_ROUNDED = 1e-3
"""The store's sums are that much off."""
_CORRECTED_AGAIN = 5
"""Corrections of corrections that are followed from a memory which was found."""

Windows = Mapping[str, Mapping[str, float]]
"""By memory id, the stems of its window with their weights."""


class HybridSearch:
    """Finds memories of a cube, for whoever may read it: permissions are checked by the caller (``Retriever``).

    Args:
        cache: answers some of the queries in the store's place.
        own_words: find a memory by its own words only, whatever is asked: who must not see one must not find another
            one by its words.
    """

    def __init__(
        self,
        store: MemoryStore,
        embedder: Embedder,
        terms: TermStatistics,
        cache: RankingCache | None = None,
        *,
        own_words: bool = False,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._terms = terms
        self._rankings = cache or store
        self._own_words = own_words

    @memory_operation("search_memory")
    async def search(
        self,
        ref: CubeRef,
        query: str,
        top_k: int,
        method: Method = "hybrid",
        args: SearchArgs | None = None,
        counts: TermCounts | None = None,
        windows: Windows | None = None,
        *,
        links: bool = True,
    ) -> list[SearchResult]:
        """The best ``top_k`` memories for the query, best first; [] for a query without a word.

        Args:
            counts: of the query's stems, if the caller has them already.
            windows: other ones than those in the store, for whoever asks as of a time before they were complete.
            links: whether what may revise a memory comes before it.
        """
        words = list(dict.fromkeys(stems(query)))
        if not words or top_k < 1:
            return []
        if counts is None:
            counts = await self._terms.counts(ref, words)
        args = (args or SearchArgs()).as_of()
        prepared = await self._query(ref, query, words, counts, method, args, top_k, windows or {})
        return await self._results(
            ref, prepared, await self._rankings.query(ref, prepared.rankings), top_k, links=links
        )

    def sufficiency(self, ref: CubeRef, query: str, near: Mapping[str, dict[str, Any]], counts: TermCounts) -> float:
        """How probable it is that one of these memories answers the question, 0 to 1: by their own words alone, without
        the store and without a model. Of a question for several things nobody can say so by what is near: 0.

        Args:
            near: by id, the payload of each: text, caption, speaker, at.
            counts: of the query's stems.
        """
        words = list(dict.fromkeys(stems(query)))
        if not words or asks_for_several(query):
            return 0.0
        asked = _Asked(ref, query, words, counts, has_windows=True, own_words=True, hides=True)
        hits = []
        for memory_id, payload in near.items():
            hit = ScoredHit(memory_id, payload)
            if points := asked.own_points(hit):
                hit.parts["words"] = hit.score = points
                hits.append(hit)
        if any(hit.no_answer for hit in hits) and not asks_about_asking(query):
            _keep_back(hits, frozenset(words), is_keywords=asked.is_keywords)
        best = sorted(hits, key=lambda each: -each.score)[:_LIKELIEST]
        return max(map(asked.fits(best, is_model=False), best), default=0.0)

    async def search_each(
        self, ref: CubeRef, queries: Sequence[tuple[str, SearchArgs]], top_k: int
    ) -> list[list[SearchResult]]:
        """``search`` for each of several queries, with all of them in one call to the store, and with all that say the
        same.
        """
        words = [list(dict.fromkeys(stems(query))) for query, _ in queries]
        counts = await self._terms.counts(ref, list(dict.fromkeys(chain.from_iterable(words))))
        asked = [
            await self._query(ref, query, theirs, counts, "hybrid", args.as_of(), top_k, {})
            for (query, args), theirs in zip(queries, words, strict=True)
            if theirs
        ]
        found = iter(await self._rankings.query(ref, [ranking for each in asked for ranking in each.rankings]))
        pace = Pace()
        results = []
        for each in asked:
            there = list(islice(found, len(each.rankings)))
            results.append(await self._results(ref, each, there, top_k, repetitions=True))
            await pace.rest()
        left = iter(results)
        return [next(left) if theirs else [] for theirs in words]

    async def _results(
        self,
        ref: CubeRef,
        query: _Query,
        found: Sequence[Sequence[Hit]],
        top_k: int,
        *,
        links: bool = True,
        repetitions: bool = False,
    ) -> list[SearchResult]:
        """The best of what the store found for a query."""
        args, asked = query.args, query.asked
        candidates = _candidates(query, found)
        if not asks_about_asking(query.text):
            _keep_back(candidates.values(), query.words, is_keywords=asked.is_keywords)
        await self._put_corrections_first(ref, candidates, args)
        ranked = sorted(candidates.values(), key=lambda each: (-each.score, each.memory_id))
        if asks_for_several(query.text):
            ranked = spread_over_places(ranked, top_k)
        ranked = newer_first(ranked if repetitions else without_repetitions(ranked, top_k), top_k, query.words)
        ranked = behind_what_they_stand_beside(ranked, top_k, asked.idfs.keys())
        if args.diversity:
            ranked = spread(ranked, top_k, args.diversity)
        if links:
            ranked = revisers_first([*ranked, *await self._revisers(ref, ranked, args)])
        best = ranked[:top_k]
        fits = asked.fits(candidates.values(), is_model=query.is_model)
        results = [
            SearchResult(Memory.as_stored(each.memory_id, each.payload), each.score, asked.parts_of(each), score)
            for each in best
            if (score := fits(each)) >= args.min_score
        ]
        if args.explain:
            told = None if args.at is None else Conditions(until=args.until, include_archived=True)
            return await self._explained(ref, asked, results, told, around=query.around)
        return results

    async def _explained(
        self,
        ref: CubeRef,
        asked: _Asked,
        results: Sequence[SearchResult],
        told: Conditions | None,
        *,
        around: bool,
    ) -> list[SearchResult]:
        """The same, with the words that found them.

        Args:
            told: what must hold of those that were said around them.
            around: also those that were said around them.
        """
        memories = [result.item for result in results]
        there = {each.memory_id: each for each in memories}
        if around:
            hits = await self._store.at_places(ref, places_around(memories, REACH), told)
            there |= {hit.memory_id: hit.memory() for hit in hits}
        surroundings = Surroundings(there.values())
        return [
            replace(result, found_by=asked.found_by(memory, surroundings.words(memory) if around else None))
            if result.parts.keys() & {"words", "around"}  # else the model, or a correction, has found it
            else result
            for result, memory in zip(results, memories, strict=True)
        ]

    async def _query(
        self,
        ref: CubeRef,
        query: str,
        words: Sequence[str],
        counts: TermCounts,
        method: Method,
        args: SearchArgs,
        top_k: int,
        windows: Windows,
    ) -> _Query:
        """What the store is asked, all in one call."""
        has_windows, own_words = await self._store.has_windows(), self._own_words or not args.neighbours
        around = has_windows and not own_words
        asked = _Asked(ref, query, words, counts, has_windows=has_windows, own_words=own_words, hides=self._own_words)
        windows = windows if around else {}
        dates = dates_in(query)
        # Of what later words have raised, all may stand before what was best then.
        limit = min(_MOST_CANDIDATES, max(args.candidates, 3 * top_k) + len(windows))
        rankings: list[Ranking] = []
        vector = asked.vector()
        if method != "dense":
            rankings.append(Ranking(vector, args, limit))
        if method == "hybrid":
            rankings += [Ranking(vector, _within(args, *each), IN_TIME) for each in dates.stretches()]
        is_model = not self._embedder.name.startswith("hashing")
        # Who asks for nothing but own words looks for the same subject in other words as well.
        wants_dense = is_model or asked.has_unknown or self._own_words or not args.neighbours
        by_dense = method == "dense" or (method == "hybrid" and wants_dense)
        if by_dense:
            embedding = await self._embedder.embed_query(query, asked.dense_weights())
            enough = MODEL_CANDIDATES if is_model else HASHING_CANDIDATES
            rankings.append(Ranking(embedding, args, max(enough, limit) if method == "dense" else enough))
        return _Query(
            query, frozenset(words), method, args, asked, dates, rankings, windows, by_dense, is_model, around
        )

    async def _put_corrections_first(
        self, ref: CubeRef, candidates: dict[str, ScoredHit], conditions: SearchArgs
    ) -> None:
        """What was corrected counts less, and what corrects it, as far as it was asked for, no less than it did."""
        corrected: list[ScoredHit] = []
        new = list(candidates.values())
        for _ in range(_CORRECTED_AGAIN):
            found = [each for each in new if each.payload.get("superseded_by") and not _held(each, conditions.at)]
            corrected += found
            unknown = {each.payload["superseded_by"] for each in found} - candidates.keys()
            if not unknown:
                break
            hits = await self._store.hits(ref, sorted(unknown), conditions)
            new = [_scored(hit, conditions.at) for hit in hits]
            candidates.update((each.memory_id, each) for each in new)
        for each in sorted(
            corrected, key=lambda each: each.said_at
        ):  # a correction that was corrected itself hands on what it got
            before, each.score = each.score, each.score * SUPERSEDED
            each.parts["superseded"] = each.score - before
            correction = candidates.get(each.payload["superseded_by"])
            if correction is not None:
                correction.stands_for.append(each)
                if correction.score < before:
                    correction.raise_to(before, "corrects")

    async def _revisers(self, ref: CubeRef, ranked: Sequence[ScoredHit], conditions: SearchArgs) -> list[ScoredHit]:
        """What may revise the best, and was not found: it may say it in other words than the question."""
        named = {name for each in ranked[:_BEST] if not each.payload.get("superseded_by") for name in each.revisers}
        unknown = named - {each.memory_id for each in ranked}
        hits = await self._store.hits(ref, sorted(unknown), conditions)
        shown = {each.payload.get("content_hash") for each in ranked}  # the like of it is here: without_repetitions
        return [_scored(hit, conditions.at) for hit in hits if hit.payload.get("content_hash") not in shown]


@dataclass(frozen=True, slots=True)
class _Query:
    """A search, as far as it is known before the store answers.

    Args:
        words: the stems of its words.
        by_dense: whether the last ranking is by the embedding.
        is_model: whether that is a model's.
        around: whether what was said around a memory finds it, too.
    """

    text: str
    words: frozenset[str]
    method: Method
    args: SearchArgs
    asked: _Asked
    dates: Dates
    rankings: list[Ranking]
    windows: Windows
    by_dense: bool
    is_model: bool
    around: bool


def _scored(hit: Hit, at: datetime | None) -> ScoredHit:
    """A hit as it was at that time: nobody had said it again later."""
    payload = hit.payload
    if at is not None and int(payload.get("last_said") or 0) > to_ms(at):
        payload = {name: value for name, value in payload.items() if name != "last_said"}
    return ScoredHit(hit.memory_id, payload)


def _candidates(query: _Query, found: Sequence[Sequence[Hit]]) -> dict[str, ScoredHit]:
    """All that the store found for a query, each with its score and the parts of it."""
    asked, windows = query.asked, query.windows
    weight = DENSE_OF_A_MODEL if query.is_model else DENSE_OF_HASHING
    # What only words found lacks its cosine: with a model it is about that of the last one that has one.
    last = found[-1][-1].score if query.by_dense and query.is_model and found[-1] else 0.0
    candidates: dict[str, ScoredHit] = {}
    for ranking, hits in zip(query.rankings, found, strict=True):
        for hit in hits:
            each = candidates.setdefault(hit.memory_id, _scored(hit, query.args.at))
            part = "words" if ranking.using == LEXICAL else "dense"
            each.parts[part] = hit.score if part == "words" else weight * max(0.0, hit.score)
    for memory_id in windows.keys() & candidates.keys():
        each = candidates[memory_id]
        each.parts["words"] = asked.score(windows[memory_id], each)
        if not each.parts["words"] and "dense" not in each.parts:
            del candidates[memory_id]
    for each in candidates.values():
        if query.by_dense:
            each.parts.setdefault("dense", weight * max(0.0, last))
        if query.method == "hybrid" and asked.has_windows:  # in the old form some have no value
            each.parts["value"] = asked.value * float(each.payload.get("value", 0.0))
        if query.method == "hybrid":
            local = int(each.payload.get("at", 0)) + int(each.payload.get("utc_offset", 0)) * _MINUTE_MS
            times = (local, event_ms(each.payload.get("event_date")))
            each.parts["time"] = max(query.dates.score(ms) for ms in times if ms is not None)
        each.score = sum(each.parts.values())
    return candidates


class _Asked:
    """A question, as the store is asked it.

    Attributes:
        idfs: of its words, without speakers' names: those say whose memories are meant, not which.
        has_unknown: whether no memory of the cube has one of them.
        is_keywords: whether it is no sentence but words.
        own: how much more a memory's own words count than those around it.
        value: how much counts what a text is worth.
    """

    def __init__(
        self,
        ref: CubeRef,
        query: str,
        words: Sequence[str],
        counts: TermCounts,
        *,
        has_windows: bool,
        own_words: bool,
        hides: bool,
    ) -> None:
        self._words = {stem(word): word for word in reversed(content_words(query))}
        self.is_keywords = names_words_only(query)
        things = asked_for(query, counts.vocabulary) if counts.vocabulary and not self.is_keywords else []
        self.has_windows = has_windows
        self._hides = hides
        self._memories = counts.memories
        only_own = own_words and has_windows
        self.value = VALUE_OF_KEYWORDS if self.is_keywords else VALUE
        self.own = OWN_KEYWORDS if self.is_keywords and has_windows and not own_words else 0.0
        # Without windows, who said it is a word of its own.
        self.names = counts.names.intersection(words) if has_windows else frozenset()
        self._things = [
            (each.share * counts.idf(*each.stems), each.stems) for each in things if self.names.isdisjoint(each.stems)
        ]
        if self._things:
            known = counts.vocabulary.keys()
            self.idfs = _weights(self._things)
            self.has_unknown = any(known.isdisjoint(named) for _, named in self._things)
            for thing in things:
                self._words = dict.fromkeys(thing.stems, thing.word) | self._words
        else:
            self.idfs = counts.idfs(each for each in words if each not in self.names) or counts.idfs(words)
            self.has_unknown = any(not counts.by_stem.get(each) for each in self.idfs)
            self._things = [(idf, {each: 1.0}) for each, idf in self.idfs.items()]
        self._ref, self._stems, self._only_own = ref, words, only_own

    def dense_weights(self) -> dict[str, float]:
        """Of its stems, for the embedding."""
        # Where not all may be read, how rare a word is must not show in what it does not stand in.
        known = dict.fromkeys(self.idfs, 1.0) if self._hides else self.idfs
        return {**dict.fromkeys(self._stems, 0.0), **known}

    def vector(self) -> Sparse:
        """What the store is asked."""
        own = self._only_own or self.own
        return sparse_of(
            {
                **({} if self._only_own else self.idfs),
                **({own_name(each): own * idf for each, idf in self.idfs.items()} if own else {}),
                **dict.fromkeys(speaker_names(self._ref, self.names), SPEAKER),
            }
        )

    def score(self, window: Mapping[str, float], hit: ScoredHit) -> float:
        """What the store says of a memory with such a window."""
        around = sum(idf * window.get(each, 0.0) for each, idf in self.idfs.items())
        return around + self.own * self._own_words(hit) + self._spoken(hit)

    def own_points(self, hit: ScoredHit) -> float:
        """What a memory's own words, and its speaker, give it."""
        return self._own_words(hit) + self._spoken(hit)

    def parts_of(self, hit: ScoredHit) -> dict[str, float]:
        """The parts of a score, where what the store said of words is taken apart: own ones, those around, the
        speaker.
        """
        parts = dict(hit.parts)
        found = parts.pop("words", 0.0)
        spoken = min(found, self._spoken(hit))
        words = min(found - spoken, (1 + self.own) * self._own_words(hit))
        around = found - spoken - words
        if abs(around) < _ROUNDED:
            words, around = words + around, 0.0
        told = {"words": words, "around": around, "speaker": spoken, **parts}
        return {name: value for name, value in told.items() if value}

    def found_by(self, memory: Memory, window: Mapping[str, FoundBy] | None) -> tuple[FoundWord, ...]:
        """The words by which a memory was found, those that give most first; without a window, its own."""
        found: list[FoundWord] = []
        own = self._own_weights(memory.speaker, memory.searched_text)
        if window is None:
            window = {stem: FoundBy(memory.memory_id, weight) for stem, weight in own.items()}
        for each, idf in self.idfs.items():
            word = self._words[each]
            extra = idf * self.own * own.get(each, 0.0)
            if (by := window.get(each)) is not None:
                is_own = by.memory_id == memory.memory_id
                points = idf * by.weight + (extra if is_own else 0.0)
                extra = 0.0 if is_own else extra
                found.append(FoundWord(word, points, by.memory_id, by.ahead, by.text))
            if extra:
                found.append(FoundWord(word, extra, memory.memory_id))
        return tuple(sorted(found, key=lambda by: (-by.points, by.word)))

    def fits(self, found: Iterable[ScoredHit], *, is_model: bool) -> Callable[[ScoredHit], float]:
        """How probable it is of each result that it is what was asked for, 0 to 1 (likelihood.py).

        Args:
            found: all that was found. Where not all may be read, none of it tells of another one.
        """
        evidence = Evidence(
            self._things, found, is_model=is_model, alone=self._hides, with_speaker=not self.has_windows
        )
        kind: Kind = "alone" if self._hides else "model" if is_model else "words"

        def fits_itself(hit: ScoredHit) -> float:
            spoken = self._spoken(hit)
            words = max(0.0, hit.parts.get("words", 0.0) - spoken) / (1 + self.own)
            features = evidence.of(hit, found=words, memories=self._memories, of_others=bool(self.names) and not spoken)
            return likelihood(features, kind) * (NO_ANSWER if "no_answer" in hit.parts else 1.0)

        return lambda hit: max(map(fits_itself, hit.with_all_it_stands_for))

    def _own_weights(self, speaker: str, text: str) -> Mapping[str, float]:
        return _weights_of(text if self.has_windows or not speaker else f"{speaker}: {text}")

    def _own_words(self, hit: ScoredHit) -> float:
        own = self._own_weights(hit.speaker, hit.searched_text)
        if self.idfs.keys().isdisjoint(own):  # as mostly
            return 0.0
        return sum([idf * own[each] for each, idf in self.idfs.items() if each in own])

    def _spoken(self, hit: ScoredHit) -> float:
        if not self.names:
            return 0.0
        return SPEAKER * len(self.names.intersection(names_of(hit.speaker, hit.searched_text)))


@lru_cache(maxsize=4_096)
def _weights_of(text: str) -> Mapping[str, float]:
    """What is near is looked at again with every question."""
    return own_weights(stems(text))


def _weights(things: Iterable[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """How much each stem counts: for each thing it may be, that thing's weight and its share of it."""
    found: dict[str, float] = {}
    for idf, named in things:
        for each, share in named.items():
            found[each] = found.get(each, 0.0) + share * idf
    return found


def _keep_back(candidates: Iterable[ScoredHit], asked: Set[str], *, is_keywords: bool) -> None:
    """What answers nothing counts less: it has the words of the query because it asks the same.

    A question that asks something else may tell by the way what the query is for; and who names words wants what has
    them.
    """
    for each in candidates:
        kind = each.no_answer
        if kind == "unknown" or (kind == "asks" and not is_keywords and _asks_the_same(each, asked)):
            before, each.score = each.score, each.score * NO_ANSWER
            each.parts["no_answer"] = each.score - before


def _asks_the_same(hit: ScoredHit, asked: Set[str]) -> bool:
    return len(hit.words & asked) >= ASKS_THE_SAME * len(hit.words)


def names_words_only(query: str) -> bool:
    """Whether a query is no sentence: it asks nothing, and has no word but such as mean something by themselves.

    Of scripts without spaces nobody can tell by so little.
    """
    if is_without_spaces(query) or any(mark in query for mark in QUESTION_MARKS):
        return False
    return _small_words().isdisjoint(words(query))


@lru_cache(maxsize=1)
def _small_words() -> frozenset[str]:
    """Words that are in any sentence. Of English the fewest: "really" and "great" may be what somebody looks for."""
    others = (listed for language, listed in stop_words_by_language().items() if language != "en")
    return STOP_WORDS.union(*others)


def _held(hit: ScoredHit, at: datetime | None) -> bool:
    """Whether at that time it was still right."""
    return at is not None and int(hit.payload.get("valid_until") or 0) > to_ms(at)


def _within(args: SearchArgs, since: datetime, until: datetime) -> SearchArgs:
    """The same conditions, within a stretch of time."""
    return args.model_copy(
        update={
            "since": since if args.since is None else max(since, args.since),
            "until": until if args.until is None else min(until, args.until),
        }
    )
