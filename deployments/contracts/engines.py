"""Engines as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Which engine a replica runs, as plain data that travels in a deployment's arguments.

    `target` is "module:Class"; `options` are its keyword arguments and hold no secret. The module
    is imported on the replica only, so that no other process pays for it.
    """

    target: str
    options: Mapping[str, object] = field(default_factory=dict)

    def load(self) -> Any:
        """Import the engine's class and make one; its own errors pass through."""
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name)(**self.options)
