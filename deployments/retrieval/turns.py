"""Turns that the processes of one machine take, by file locks: a dead one loses its turn."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from deployments.errors import StoreUnavailable

_FIRST_WAIT_S: Final = 0.002
_LONGEST_WAIT_S: Final = 0.05


@contextlib.asynccontextmanager
async def turn(of: str, timeout_s: float) -> AsyncIterator[None]:
    """Be the only one, of all tasks and processes, inside a turn of this name.

    Raises:
        StoreUnavailable: others did not leave in time.
    """
    handle = _open_lock(of)
    try:
        try:
            async with asyncio.timeout(timeout_s):
                await _lock(handle)
        except TimeoutError:
            raise StoreUnavailable("others keep the vector store busy") from None
        yield
    finally:
        os.close(handle)


async def _lock(handle: int) -> None:
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        else:
            return


def _open_lock(of: str) -> int:
    folder = Path(tempfile.gettempdir()) / f"ragserve-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    name = blake2b(of.encode(), digest_size=12).hexdigest()
    return os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
