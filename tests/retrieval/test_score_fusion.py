from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.retrieval.fusion import reciprocal_ranks, weighted

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 50), max_size=8)


def test_weighted_fusion_keeps_how_far_ahead_the_best_is() -> None:
    fused = weighted({"a": 0.9, "b": 0.5, "c": 0.1}, {"c": 12.0, "d": 2.0}, 0.25)
    assert fused == pytest.approx({"a": 0.75, "b": 0.375, "c": 0.25, "d": 0.0})


def test_one_score_alone_is_the_best_there_is() -> None:
    assert weighted({"a": 0.2}, {}, 0.25) == {"a": 0.75}
    assert weighted({}, {"a": 3.0}, 0.25) == {"a": 0.25}


def test_reciprocal_ranks_count_ranks_alone() -> None:
    fused = reciprocal_ranks({"a": 0.9, "b": 0.89}, {"b": 100.0, "c": 1.0})
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62})


@given(SCORES, SCORES, st.floats(0, 1))
def test_weighted_scores_lie_between_0_and_1_and_nothing_is_lost(
    dense: dict[str, float], lexical: dict[str, float], weight: float
) -> None:
    fused = weighted(dense, lexical, weight)
    assert set(fused) == set(dense) | set(lexical)
    assert all(0.0 <= score <= 1.0 + 1e-9 for score in fused.values())


@given(SCORES)
def test_either_ranking_alone_keeps_its_order(scores: dict[str, float]) -> None:
    for fused in (weighted(scores, {}, 0.25), reciprocal_ranks(scores, {})):
        for ahead, behind in permutations(scores, 2):
            if scores[ahead] > scores[behind]:
                assert fused[ahead] >= fused[behind]
