"""A client of Redis in which nothing waits for ever, and its errors in our own words.

Commands are not retried here: a script whose answer was lost may have run. Those that a
supervisor must be able to send again (submit, start, commit, finish) are written so that a
second call changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from deployments.errors import StateUnavailable

CONNECT_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 5.0
POOL_WAIT_S = 2.0
HEALTH_CHECK_PERIOD_S = 15
"""A connection idle for longer is pinged before it is used."""


def connect(
    url: str, password: str | None = None, *, max_connections: int = 32, decode: bool = True
) -> Redis:
    """Make a client; it connects on first use, and the caller closes it with `aclose`.

    `url` is redis://, rediss:// or unix://; a password in it wins over `password`. Answers are
    str, or bytes with `decode` off. Use it inside `answering`, which bounds the wait.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        password=password,
        max_connections=max_connections,
        timeout=POOL_WAIT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        # With a timeout of its own the client sends by asyncio.wait_for, which in Python 3.11 can
        # swallow a cancellation; `answering` bounds the whole exchange instead.
        socket_timeout=None,
        health_check_interval=HEALTH_CHECK_PERIOD_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=decode,
        # Telling Redis the client's version means looking it up among the installed packages'
        # files, a millisecond on the loop for each new connection.
        driver_info=None,
        # With notifications on, the pool hands out connections that the server has closed.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    client: Any = Redis.from_pool(pool)
    return client  # type: ignore[no-any-return]


@asynccontextmanager
async def answering(timeout_s: float = COMMAND_TIMEOUT_S) -> AsyncIterator[None]:
    """Raise StateUnavailable for whatever Redis or the way to it raises, and for a late answer."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        raise StateUnavailable("The state store cannot be reached.") from error


async def ping(client: Redis, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
    """Return when Redis answers. Raises StateUnavailable."""
    async with answering(timeout_s):
        await client.echo("ping")
