"""Hybrid search in one cube: two rankings, scaled and added, and a share of the score for what stands around a hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memsched.lexicon import stems
from memsched.memory.access.permissions import CubeRef
from memsched.memory.embedding.embedder import Embedder
from memsched.memory.model import Memory
from memsched.memory.search.arguments import Method, SearchArgs, SearchResult
from memsched.memory.search.bm25 import TermCounts, query_weights
from memsched.memory.search.ranking_cache import RankingCache
from memsched.memory.search.rerank import ScoredHit, newer_first, spread, without_repetitions
from memsched.memory.search.term_statistics import TermStatistics
from memsched.memory.store.conditions import Conditions
from memsched.memory.store.points import Hit
from memsched.memory.store.store import MemoryStore

_AROUND = (0.6, 0.4, 0.2)
"""Share of a hit's score for the turns one, two and three places away. Measured on LoCoMo: on a plateau that reaches
from (0.5, 0.25) to (0.7, 0.5, 0.3, 0.15), 12 points of recall@10 above none."""
_SUPERSEDED = 0.5
"""Factor of a memory that was corrected: still to be found, for who asks how it was before."""
_CORRECTED_AGAIN = 5
"""Corrections of corrections that are followed from a memory which was found."""


class HybridSearch:
    """Finds memories of a cube, for whoever may read it: permissions are checked by the caller (``Retriever``).

    ``MemoryStore.query`` returns the two rankings, dense and BM25; here they become one.

    Args:
        cache: answers some of these queries in the store's place.
    """

    def __init__(
        self, store: MemoryStore, embedder: Embedder, terms: TermStatistics, cache: RankingCache | None = None
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._terms = terms
        self._rankings = cache or store

    async def search(
        self,
        ref: CubeRef,
        query: str,
        top_k: int,
        method: Method = "hybrid",
        args: SearchArgs | None = None,
        counts: TermCounts | None = None,
    ) -> list[SearchResult]:
        """The best ``top_k`` memories for the query, best first; [] for a query without a word.

        Args:
            counts: of the query's stems, if the caller has them already.
        """
        args = args or SearchArgs()
        words = stems(query)
        if not words or top_k < 1:
            return []
        if counts is None:
            counts = await self._terms.counts(ref, words)
        dense = lexical = None
        if method != "lexical":
            dense = await self._embedder.embed_query(query, counts.idfs(words))
        if method != "dense":
            lexical = query_weights(words, counts)
        limit = max(args.candidates, 3 * top_k // 2)
        by_dense, by_lexical = await self._rankings.query(
            ref, dense=dense, lexical=lexical, conditions=args, limit=limit
        )
        candidates = _fused({"dense": by_dense, "lexical": by_lexical}, limit)
        if args.neighbours:
            await self._share_with_neighbours(ref, candidates, args, top_k)
        await self._put_corrections_first(ref, candidates, args)
        ranked = sorted(candidates.values(), key=lambda each: (-each.score, each.memory_id))
        ranked = newer_first(without_repetitions(ranked, top_k), top_k, frozenset(words))
        if args.diversity:
            ranked = spread(ranked, top_k, args.diversity)
        return [
            SearchResult(Memory.as_stored(each.memory_id, each.payload), each.score, each.parts)
            for each in ranked[:top_k]
        ]

    async def _share_with_neighbours(
        self, ref: CubeRef, candidates: dict[str, ScoredHit], args: SearchArgs, top_k: int
    ) -> None:
        """Raise what was said around hits; bring what is raised into the results, though no ranking found it."""
        own: dict[tuple[str, int], float] = {}
        for each in candidates.values():
            if (place := each.place) is not None:
                own[place] = max(own.get(place, 0.0), each.score)
        shares = _shares(own, args.neighbours)
        for each in candidates.values():
            if (place := each.place) is not None and (share := shares.get(place, 0.0)):
                each.parts["neighbours"] = share
                each.score += share
        # Only those that would be among the results are worth a second call.
        enough = sorted((each.score for each in candidates.values()), reverse=True)[:top_k]
        bar = enough[-1] if len(enough) == top_k else 0.0
        raised = [
            (share, place) for place, share in shares.items() if share > bar and place[1] >= 0 and place not in own
        ]
        missing: dict[str, set[int]] = {}
        for _, (session, turn) in sorted(raised, reverse=True)[:top_k]:
            missing.setdefault(session, set()).add(turn)
        for hit in await self._store.at_places(ref, missing, args):
            found = ScoredHit(hit.memory_id, hit.payload)
            place = found.place
            if hit.memory_id not in candidates and place is not None:
                found.score = shares[place]
                found.parts["neighbours"] = shares[place]
                candidates[hit.memory_id] = found

    async def _put_corrections_first(
        self, ref: CubeRef, candidates: dict[str, ScoredHit], conditions: Conditions
    ) -> None:
        """What was corrected counts less, and what corrects it, as far as it was asked for, no less than it did."""
        corrected: list[ScoredHit] = []
        new = list(candidates.values())
        for _ in range(_CORRECTED_AGAIN):
            found = [each for each in new if each.payload.get("superseded_by")]
            corrected += found
            unknown = {each.payload["superseded_by"] for each in found} - candidates.keys()
            if not unknown:
                break
            hits = await self._store.hits(ref, sorted(unknown), conditions)
            new = [ScoredHit(hit.memory_id, hit.payload) for hit in hits]
            candidates.update((each.memory_id, each) for each in new)
        for each in sorted(
            corrected, key=lambda each: each.said_at
        ):  # a correction that was corrected itself hands on what it got
            before, each.score = each.score, each.score * _SUPERSEDED
            each.parts["superseded"] = each.score - before
            correction = candidates.get(each.payload["superseded_by"])
            if correction is not None and correction.score < before:
                correction.raise_to(before, "corrects")


def _shares(own: Mapping[tuple[str, int], float], factor: float) -> dict[tuple[str, int], float]:
    """What each place gets from its neighbours: of each distance the better one counts, so that two sides of a hit
    do not add up.
    """
    shares: dict[tuple[str, int], float] = {}
    for distance, weight in enumerate(_AROUND, 1):
        best: dict[tuple[str, int], float] = {}
        for (session, turn), score in own.items():
            for place in ((session, turn - distance), (session, turn + distance)):
                if score > best.get(place, 0.0):
                    best[place] = score
        for place, score in best.items():
            shares[place] = shares.get(place, 0.0) + factor * weight * score
    return shares


def _fused(rankings: Mapping[str, Sequence[Hit]], limit: int) -> dict[str, ScoredHit]:
    """The candidates of all rankings with the sum of their scaled scores.

    Args:
        limit: how many hits were asked for.
    """
    candidates: dict[str, ScoredHit] = {}
    for name, hits in rankings.items():
        for hit, score in zip(hits, _scaled([hit.score for hit in hits], complete=len(hits) < limit), strict=True):
            each = candidates.setdefault(hit.memory_id, ScoredHit(hit.memory_id, hit.payload))
            each.parts[name] = score
            each.score += score
    return candidates


def _scaled(scores: Sequence[float], *, complete: bool) -> list[float]:
    """To 1 for the best candidate, and 0 for the best that is none; scaling, not rank fusion, keeps the distances.

    Args:
        complete: whether these are all that matched at all. Then no match is 0; otherwise it is the worst candidate.
    """
    if not scores:
        return []
    highest, lowest = max(scores), 0.0 if complete else min(scores)
    if highest <= lowest:
        return [1.0 if highest > 0 else 0.0] * len(scores)
    return [max(0.0, (score - lowest) / (highest - lowest)) for score in scores]
