"""What an operator may choose about the query path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deployments.contracts.retrieval import Fusion
from deployments.query.relevance import MINILM, RelevanceModel


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """Defaults of every question; a request's own options come first."""

    top_k: int = 5
    candidates: int = 30
    fusion: Fusion = Fusion.WEIGHTED
    lexical_weight: float = 0.2
    rerank: bool = True
    """Where a reranker is given at all."""
    rerank_candidates: int = 20
    """nDCG@10 on held-out questions: 0.754 unranked, 0.760 with 10, 0.768 with 20."""
    rerank_weight: float = 1.0
    """The reranker's share of the score; 1 takes its word alone. MaxSim does best with half (0.768,
    alone 0.745): it sees words, the vectors see the matter."""
    rerank_timeout_s: float = 2.0
    """Past this the fused order is served instead, labelled."""
    evidence: Literal["sentences", "passages"] = "sentences"
    """What the prompt shows: the best sentences (small models) or whole passages (large ones)."""
    prompt_sentences: int = 1
    ungrounded: Literal["flag", "replace"] = "flag"
    """What becomes of an answer that no passage supports: it is served with its low grounding, or
    replaced by the sentences that bear on the question, labelled (small models)."""
    max_sentences: int = 40
    """Sentences weighed a question, of all its passages."""
    deadline_s: float = 60.0
    """Where the caller names none."""
    answer_ttl_s: float = 3600.0
    description_ttl_s: float = 30.0
    """How long a model's or a collection's description is trusted."""
    relevance: Mapping[str, RelevanceModel] = field(default_factory=lambda: dict(MINILM))
    """By embedding model; words alone decide for a model that is not here."""
