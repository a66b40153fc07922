"""LlamaIndex's OpenAI-like client, which needs an older `openai` than ragserve has.

Its packages go into a folder of their own, without their dependencies, and are put before the
others in the process that runs them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from served_room import missing

_LOCK = Path(__file__).with_name("llama_index.lock")


def llama_index_folder() -> Path:
    """The folder, filled at the first call. Skips (in CI: fails) where that cannot be done."""
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
    folder = Path(".ragserve/clients").resolve() / f"llama-index-{digest}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        missing("llama-index-llms-openai-like", "there is no uv to install it with")
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        done = subprocess.run(
            [
                *(uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
                *("--python", sys.executable, "--target", f"{made}/packages", "-r", str(_LOCK)),
            ],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if done.returncode:
            missing("llama-index-llms-openai-like", done.stderr[-500:])
        try:
            os.rename(f"{made}/packages", folder)  # noqa: PTH104 - all of it or nothing
        except OSError:
            if not folder.exists():  # another run may have been quicker
                raise
    return folder
