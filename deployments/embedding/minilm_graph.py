"""The graph of all-MiniLM-L6-v2, written down operator by operator.

No package ships the model as fp32 ONNX, and exporting it would take torch (gigabytes). Its six
layers are few enough to spell out, with onnxruntime's fused operators in place of the chains that
an exporter leaves behind.

Inputs are `input_ids` and `attention_mask` (int64, batch x sequence, padded on the right).
Outputs are `embedding` (float32, batch x 384, the L2-normalised mean over the mask) and `tokens`
(float32, batch x sequence x 384, the last layer as it is).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

Weights = Mapping[str, NDArray[np.float32]]

LAYERS = 6
HEADS = 12
HIDDEN = 384
_EPSILON = 1e-12
"""`layer_norm_eps` of the model's config.json."""
_FUSED = "com.microsoft"


class Precision(StrEnum):
    """How the weights of the linear layers are held; everything else is always fp32."""

    FP32 = "fp32"
    INT8 = "int8"
    """int8 a column of weights, activations quantised a batch at a time."""


def build(weights: Weights, precision: Precision) -> ModelProto:
    """The model's graph from the tensors of its safetensors file.

    Raises:
        KeyError: a tensor of the model is missing.
    """
    graph = _Graph(weights, precision)
    hidden = graph.embeddings()
    for number in range(LAYERS):
        hidden = graph.layer(number, hidden)
    graph.outputs(hidden)
    return graph.model()


class _Graph:
    """Nodes and constants in the making. Each method returns the name of its result."""

    def __init__(self, weights: Weights, precision: Precision) -> None:
        self._weights = weights
        self._precision = precision
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def embeddings(self) -> str:
        """Word, position and segment embeddings, normalised."""
        prefix = "embeddings."
        word = self._tensor(prefix + "word_embeddings.weight")
        # There is only ever segment 0, so its embedding is added to every position's once.
        position = self._constant(
            "positions",
            self._weights[prefix + "position_embeddings.weight"]
            + self._weights[prefix + "token_type_embeddings.weight"][0],
        )
        words = self._node("Gather", [word, "input_ids"], "words")
        length = self._node("Shape", ["input_ids"], "length", start=1, end=2)
        start = self._constant("start", np.array([0], np.int64))
        places = self._node("Slice", [position, start, length], "places")
        summed = self._node("Add", [words, places], "words_in_places")
        # The attention operator wants its padding mask in 32 bits.
        self._node("Cast", ["attention_mask"], "padding", to=TensorProto.INT32)
        return self._node(
            "LayerNormalization",
            [summed, *self._norm(prefix + "LayerNorm")],
            "embedded",
            axis=-1,
            epsilon=_EPSILON,
        )

    def layer(self, number: int, hidden: str) -> str:
        """One transformer layer: attention, then the feed-forward half."""
        prefix = f"encoder.layer.{number}."
        attended = self._node(
            "MultiHeadAttention",
            [*self._query_key_value(prefix, hidden), "", "padding"],
            prefix + "attended",
            _FUSED,
            num_heads=HEADS,
        )
        hidden = self._add_and_norm(prefix + "attention.output", attended, hidden)
        inner = self._linear(prefix + "intermediate.dense", hidden)
        active = self._node(
            "BiasGelu",
            [inner, self._tensor(prefix + "intermediate.dense.bias")],
            prefix + "active",
            _FUSED,
        )
        return self._add_and_norm(prefix + "output", active, hidden)

    def outputs(self, hidden: str) -> None:
        """Name the token vectors and pool them into the sentence's."""
        self._node("Identity", [hidden], "tokens")
        axis = self._constant("row", np.array([1], np.int64))
        mask = self._node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        row = self._node("Unsqueeze", [mask, axis], "mask_row")
        # The sum will do for the mean: normalising takes out the factor between them.
        summed = self._node("MatMul", [row, hidden], "summed_row")
        flat = self._node("Squeeze", [summed, axis], "summed")
        self._node("LpNormalization", [flat], "embedding", axis=-1, p=2)

    def model(self) -> ModelProto:
        """The finished model; operator set 18 is what the fused operators are tested with."""
        shape = ["batch", "sequence"]
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, shape)
                for name in ("input_ids", "attention_mask")
            ],
            [
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", HIDDEN]),
                helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [*shape, HIDDEN]),
            ],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def _query_key_value(self, prefix: str, hidden: str) -> list[str]:
        """The three projections as one product, which reads `hidden` once."""
        names = [f"{prefix}attention.self.{part}" for part in ("query", "key", "value")]
        joined = prefix + "query_key_value"
        matrix = np.concatenate([self._weights[f"{name}.weight"] for name in names])
        bias = np.concatenate([self._weights[f"{name}.bias"] for name in names])
        product = self._product(joined, hidden, matrix)
        summed = self._node(
            "Add", [product, self._constant(f"{joined}.bias", bias)], f"{joined}.sum"
        )
        self._nodes.append(helper.make_node("Split", [summed], names, axis=-1, num_outputs=3))
        return names

    def _add_and_norm(self, prefix: str, inner: str, skip: str) -> str:
        projected = self._linear(f"{prefix}.dense", inner)
        norm = self._norm(f"{prefix}.LayerNorm")
        return self._node(
            "SkipLayerNormalization",
            [projected, skip, *norm, self._tensor(f"{prefix}.dense.bias")],
            f"{prefix}.sum",
            _FUSED,
            epsilon=_EPSILON,
        )

    def _norm(self, name: str) -> list[str]:
        return [self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")]

    def _linear(self, name: str, hidden: str) -> str:
        """The product alone: the bias is added by the fused operator that follows."""
        return self._product(name, hidden, self._weights[f"{name}.weight"])

    def _product(self, name: str, hidden: str, matrix: NDArray[np.float32]) -> str:
        if self._precision is Precision.FP32:
            factor = self._constant(f"{name}.matrix", matrix.T)
            return self._node("MatMul", [hidden, factor], name)
        # Symmetric, a scale for each output: one scale for a whole matrix costs 5 % of cosine.
        scales = np.abs(matrix).max(axis=1) / np.float32(127)
        rounded = np.rint(matrix / scales[:, None]).astype(np.int8)
        factor = self._constant(f"{name}.matrix", rounded.T)
        scale = self._constant(f"{name}.scales", scales)
        return self._node("DynamicQuantizeMatMul", [hidden, factor, scale], name, _FUSED)

    def _tensor(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def _node(
        self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any
    ) -> str:
        self._nodes.append(
            helper.make_node(operator, inputs, [output], domain=domain, **attributes)
        )
        return output
