"""A virtual environment of each peer's own, made from the package index, kept below `.ragserve/`.

OGX wants Python 3.12 or later: `RAGSERVE_PEERS_PYTHON`, or what is on the path or in pyenv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reporting import progress
from benchmarks.workers import CHECKOUT

FOLDER = CHECKOUT / ".ragserve" / "peers"
PYTHONS = ("python3.12", "python3.13", "python3.14")

PACKAGES = {
    # What `ogx stack list-deps` names for the providers that are used, as it leaves them out.
    "ogx": (
        "ogx==1.5.0", "faiss-cpu", "milvus-lite<3", "pymilvus", "setuptools<81", "aiosqlite",
        "sqlalchemy[asyncio]", "numpy", "chardet", "pypdf", "tokenizers",
    ),
    "hayhooks": ("hayhooks==2.1.0", "haystack-ai"),
    "lightrag": ("lightrag-hku[api]==1.5.7",),
}  # fmt: skip
_ENCODINGS = "litellm"
"""LightRAG counts with tiktoken, which would fetch its encodings from elsewhere: this has them."""


def environment(peer: str) -> Path:
    """The `bin` folder of a peer's environment, installed when it is not there."""
    folder = FOLDER / peer
    done = folder / "installed"
    wanted = "\n".join(PACKAGES[peer])
    if not done.exists() or done.read_text() != wanted:
        progress(f"installing {peer}")
        _uv("venv", "--quiet", "--clear", "--python", _python(), str(folder))
        _uv("pip", "install", "--quiet", "--python", str(folder / "bin/python"), *PACKAGES[peer])
        done.write_text(wanted)
    return folder / "bin"


def versions(peer: str, names: Sequence[str]) -> list[str]:
    """`NAME VERSION` of installed packages."""
    code = "import sys, importlib.metadata as m; [print(n, m.version(n)) for n in sys.argv[1:]]"
    command = [str(environment(peer) / "python"), "-c", code, *names]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return found.stdout.splitlines()


def encodings() -> Path:
    """A folder that tiktoken takes for its cache."""
    folder = FOLDER / "encodings"
    if not folder.exists():
        _uv("pip", "install", "--quiet", "--no-deps", "--target", str(folder), _ENCODINGS)
    return folder / "litellm" / "litellm_core_utils" / "tokenizers"


def _python() -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if named := os.environ.get("RAGSERVE_PEERS_PYTHON"):
        return named
    for name in PYTHONS:
        # First pyenv's own folders: its command on the path may refuse to run.
        for found in [*sorted(pyenv.glob(f"*/bin/{name}")), shutil.which(name)]:
            if found:
                return str(found)
    raise RuntimeError("the peers need Python 3.12 or later: name it in RAGSERVE_PEERS_PYTHON")


def _uv(*arguments: str) -> None:
    # A variable that names our own environment would send the packages there.
    outside = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True, env=outside)
