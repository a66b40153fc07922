from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.retrieval.fusion import reciprocal_ranks, weighted

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 50), max_size=8)
COSINES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 1), max_size=8)
BM25 = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 50), max_size=8)


def test_weighted_fusion_keeps_how_far_ahead_the_best_is() -> None:
    fused = weighted({"a": 0.9, "b": 0.5}, {"b": 12.0, "c": 3.0}, 0.2, depth=2)
    assert fused == pytest.approx({"a": 0.72 + 0.05, "b": 0.4 + 0.2, "c": 0.4 + 0.05})


def test_one_ranking_alone_keeps_its_scores() -> None:
    assert weighted({"a": 0.5}, {}, 0.2, 30) == pytest.approx({"a": 0.4})
    assert weighted({}, {"a": 3.0, "b": 1.5}, 0.2, 30) == pytest.approx({"a": 0.2, "b": 0.1})


def test_what_one_ranking_missed_is_no_better_than_the_last_it_found() -> None:
    fused = weighted({"a": 0.9, "b": 0.2}, {"c": 8.0, "d": 2.0}, 0.2, depth=2)
    assert fused == pytest.approx({"a": 0.77, "b": 0.21, "c": 0.36, "d": 0.21})


def test_what_a_search_for_all_matches_did_not_find_holds_no_word() -> None:
    fused = weighted({"a": 0.5, "b": 0.45}, {"b": 8.0}, 0.2, depth=30)
    assert fused == pytest.approx({"a": 0.4, "b": 0.56})


def test_reciprocal_ranks_count_ranks_alone() -> None:
    fused = reciprocal_ranks({"a": 0.9, "b": 0.89}, {"b": 100.0, "c": 1.0})
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62})


@given(COSINES, BM25, st.floats(0, 1), st.integers(1, 8))
def test_weighted_scores_are_at_most_1_and_nothing_is_lost(
    dense: dict[str, float], lexical: dict[str, float], weight: float, depth: int
) -> None:
    fused = weighted(dense, lexical, weight, depth)
    assert set(fused) == set(dense) | set(lexical)
    assert all(-1.0 - 1e-9 <= score <= 1.0 + 1e-9 for score in fused.values())


@given(SCORES)
def test_either_ranking_alone_keeps_its_order(scores: dict[str, float]) -> None:
    for fused in (weighted(scores, {}, 0.25, 30), reciprocal_ranks(scores, {})):
        for ahead, behind in permutations(scores, 2):
            if scores[ahead] > scores[behind]:
                assert fused[ahead] >= fused[behind]
