"""A sentence-embedding model in onnxruntime: token ids in, vectors out, nothing asynchronous.

This is the bare engine, and what benchmarks compare a deployment with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from deployments.contracts.embedding import Vectors
from deployments.embedding.model_files import MODEL_FILE, TOKENIZER_FILE
from deployments.errors import ConfigurationError, EmbeddingUnavailable

TokenIds: TypeAlias = list[int]

_POOLED_OUTPUTS = ("embedding", "sentence_embedding")
"""Ours and sentence-transformers'. Not BERT's `pooler_output`, which is no sentence's embedding."""
_TOKENS_RANK = 3


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the model says of one text: its unit vector, and the last layer's row per token."""

    vector: Vectors
    tokens: Vectors


class OnnxSession:
    """The model in `model_dir` (`model.onnx`, `tokenizer.json`) on `threads` CPU threads.

    The graph takes `input_ids`, `attention_mask` and perhaps `token_type_ids`, and gives a vector
    per token. Where it pools them itself, into `embedding` or `sentence_embedding`, that is used;
    else `pooling` says how.

    Raises:
        ConfigurationError: a file is missing or unreadable, or the graph is no sentence encoder.
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        threads: int = 1,
        max_tokens: int = 256,
        pooling: Literal["mean", "cls"] = "mean",
    ) -> None:
        self.max_tokens = max_tokens
        self._pooling = pooling
        self._tokenizer = _tokenizer(model_dir / TOKENIZER_FILE, max_tokens)
        self._session = _session(model_dir / MODEL_FILE, threads)
        self._inputs = {tensor.name for tensor in self._session.get_inputs()}
        self._tokens_output, self._pooled_output = self._find_outputs(model_dir)
        self.dimension = len(self.forward(self.tokenize(["dimension"]))[0].vector)

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """The ids of each text, special ones included, cut to `max_tokens`."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def forward(self, batch: Sequence[TokenIds]) -> list[Encoded]:
        """Run the model once over `batch`, padded to its longest text.

        The token rows are views that keep the whole batch's alive.

        Raises:
            EmbeddingUnavailable: the engine failed.
        """
        lengths = np.array([len(ids) for ids in batch])
        shape = (len(batch), int(lengths.max()))
        mask = (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)
        padded = np.zeros(shape, np.int64)
        padded[mask.astype(bool)] = np.concatenate(batch)
        feeds = {
            "input_ids": padded,
            "attention_mask": mask,
            "token_type_ids": np.zeros(shape, np.int64),
        }
        fed = {name: values for name, values in feeds.items() if name in self._inputs}
        wanted = [name for name in (self._tokens_output, self._pooled_output) if name]
        try:
            tokens, *pooled = self._session.run(wanted, fed)
        except Exception as error:  # Each failure is a class of its own, with no parent in common.
            raise EmbeddingUnavailable(f"the embedding engine failed: {error}") from error
        vectors = self._unit(pooled[0] if pooled else self._pool(tokens, mask))
        return [
            Encoded(vector, row[:length])
            for vector, row, length in zip(vectors, tokens, lengths, strict=True)
        ]

    def encode(self, texts: Sequence[str], batch_tokens: int = 512) -> Vectors:
        """Unit vectors of `texts`, order kept: sorted by length, `batch_tokens` padded a batch."""
        prepared = self.tokenize(texts)
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for group in _by_length([len(ids) for ids in prepared], batch_tokens):
            encoded = self.forward([prepared[index] for index in group])
            vectors[group] = [item.vector for item in encoded]
        return vectors

    def _find_outputs(self, model_dir: Path) -> tuple[str, str | None]:
        outputs = {tensor.name: len(tensor.shape) for tensor in self._session.get_outputs()}
        tokens = next((name for name, rank in outputs.items() if rank == _TOKENS_RANK), None)
        if "input_ids" not in self._inputs or tokens is None:
            raise ConfigurationError(
                f"the model in {model_dir} is no sentence encoder: it must take input_ids and "
                "give a vector per token"
            )
        return tokens, next((name for name in _POOLED_OUTPUTS if name in outputs), None)

    def _pool(self, tokens: Vectors, mask: NDArray[np.int64]) -> Vectors:
        if self._pooling == "cls":
            return tokens[:, 0]
        summed: Vectors = np.einsum("bsd,bs->bd", tokens, mask.astype(np.float32))
        return summed

    @staticmethod
    def _unit(vectors: Vectors) -> Vectors:
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def _tokenizer(path: Path, max_tokens: int) -> Any:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises bare Exception.
        raise ConfigurationError(f"no tokenizer can be read from {path}") from error
    # The file's own settings pad every text to 128 tokens and cut it there.
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Shapes never repeat, so that remembered memory plans would only pile up.
    options.enable_mem_pattern = False
    # Idle threads must leave their cores to the other replicas of the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # Each failure is a class of its own, with no parent in common.
        raise ConfigurationError(f"no model can be loaded from {path}") from error


def _by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        # The first of a group is its longest, to which the others are padded.
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= batch_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
