"""What the embedders of the contract suite may be."""

from __future__ import annotations

from deployments.embedding.deployment import RemoteEmbedder
from deployments.embedding.memory import HashEmbedder
from deployments.embedding.onnx import OnnxEmbedder

AnyEmbedder = HashEmbedder | OnnxEmbedder | RemoteEmbedder
