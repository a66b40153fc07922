"""The graph computes what the model's definition says, and building it is safe."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from deployments.embedding import minilm
from deployments.embedding.minilm import ensure_minilm, weights_dir
from deployments.embedding.session import OnnxSession
from deployments.errors import ConfigurationError

TEXTS = [
    "How do I reset my password?",
    "rust",
    "Milvus keeps dense and sparse vectors of one chunk in one row, and searches both at once. "
    * 9,
    "def embed(texts): return [model(text) for text in texts]  # naïve, but it works",
]


@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.99999), ("int8", 0.98)])
def test_embeddings_match_the_models_definition(
    cache_dir: Path, precision: str, cosine: float
) -> None:
    session = OnnxSession(ensure_minilm(cache_dir, precision))
    weights = load_file(weights_dir() / "model.safetensors")

    vectors = session.encode(TEXTS)

    for vector, ids in zip(vectors, session.tokenize(TEXTS), strict=True):
        reference = _by_definition(weights, ids).mean(axis=0)
        assert vector @ reference / np.linalg.norm(reference) > cosine


def test_token_rows_match_the_models_definition(cache_dir: Path) -> None:
    session = OnnxSession(ensure_minilm(cache_dir, "fp32"))
    weights = load_file(weights_dir() / "model.safetensors")
    prepared = session.tokenize(TEXTS)

    for encoded, ids in zip(session.forward(prepared), prepared, strict=True):
        assert np.allclose(encoded.tokens, _by_definition(weights, ids), atol=1e-3)


def test_an_fp32_vector_does_not_depend_on_what_shares_its_batch(cache_dir: Path) -> None:
    session = OnnxSession(ensure_minilm(cache_dir, "fp32"))
    alone = np.concatenate([session.encode([text]) for text in TEXTS])
    assert np.allclose(session.encode(TEXTS), alone, atol=1e-5)


def test_long_texts_are_read_to_256_tokens_not_to_the_tokenizer_files_128(
    cache_dir: Path,
) -> None:
    session = OnnxSession(ensure_minilm(cache_dir, "fp32"))
    assert [len(ids) for ids in session.tokenize(["one " * 200, "one " * 500])] == [202, 256]


def test_replicas_that_start_at_once_share_one_build(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        entries = set(pool.starmap(ensure_minilm, [(tmp_path, "int8")] * 2))

    assert len(entries) == 1
    assert sorted(path.name for path in entries.pop().iterdir()) == ["model.onnx", "tokenizer.json"]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [
        path.name for path in tmp_path.glob("all-MiniLM-L6-v2-int8-*")
    ]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_weights")
    with pytest.raises(ConfigurationError, match="no_such_weights"):
        ensure_minilm(tmp_path, "fp32")


def test_an_unknown_precision_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="int4"):
        ensure_minilm(tmp_path, "int4")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        OnnxSession(tmp_path)


def _by_definition(weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """BERT's last layer for one text, by the paper's formulas."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(ids), 12, 32).transpose(1, 0, 2)

    gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))
    prefix = "embeddings."
    x = weights[prefix + "word_embeddings.weight"][ids]
    x = x + weights[prefix + "position_embeddings.weight"][: len(ids)]
    x = norm(x + weights[prefix + "token_type_embeddings.weight"][0], prefix + "LayerNorm")
    for number in range(6):
        layer = f"encoder.layer.{number}."
        query, key, value = (
            heads(linear(x, f"{layer}attention.self.{part}")) for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(32)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(len(ids), 384)
        x = norm(
            x + linear(mixed, f"{layer}attention.output.dense"),
            f"{layer}attention.output.LayerNorm",
        )
        inner = gelu(linear(x, f"{layer}intermediate.dense"))
        x = norm(x + linear(inner, f"{layer}output.dense"), f"{layer}output.LayerNorm")
    return x
