"""What a failed call to another replica means to the caller.

An exception that crossed a replica arrives wrapped, and its text is the traceback of the other
side: only the cause's own message may travel on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RequestCancelledError,
)

from deployments.errors import DependencyError, Overloaded, RagserveError

ANSWER_TIMEOUT_S = 300.0
"""For background work. Where no replica is left, Serve would hold a call for ever."""
_RETRY_AFTER_S = 1.0
"""Full queues of a few requests empty within about this."""


async def answer_of(
    method: Callable[..., Any],
    *arguments: object,
    unavailable: type[DependencyError],
    what: str,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Any:
    """The answer of a handle's `method.remote`; a caller who leaves takes the remote call along.

    Raises:
        What `translating_remote_errors` raises; `unavailable` too after `timeout_s`.
    """
    limit = asyncio.timeout(timeout_s)
    with translating_remote_errors(unavailable, what):
        response = method(*arguments)
        try:
            async with limit:
                return await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except TimeoutError as error:
            if not limit.expired():
                raise
            response.cancel()
            raise unavailable(f"{what} did not answer within {timeout_s:g} s") from error


@contextmanager
def translating_remote_errors(unavailable: type[DependencyError], what: str) -> Iterator[None]:
    """Raise our own errors for Ray's; `what` names the deployment in the message.

    Raises:
        RagserveError: the one that the other replica raised.
        Overloaded: the deployment's queue is full.
        unavailable: the replica was lost, or failed in a way that it did not foresee.
    """
    try:
        yield
    except RayTaskError as error:
        # This class also derives from the cause's: it must be asked for its cause first.
        if isinstance(error.cause, RagserveError):
            raise error.cause from None
        failure = type(error.cause).__name__
        raise unavailable(f"{what} failed unexpectedly ({failure})") from error
    except BackPressureError as error:
        raise Overloaded(f"{what} has no room", retry_after_s=_RETRY_AFTER_S) from error
    except (RayError, DeploymentUnavailableError, RequestCancelledError) as error:
        raise unavailable(f"{what} is out ({type(error).__name__})") from error
