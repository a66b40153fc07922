"""When a request is worth another try.

Only requests that may be repeated without harm are, and only for failures that pass: a broken
connection, 429, 502, 503, 504. A server that says when to come back (Retry-After) is obeyed;
one that says "much later" is believed, and its error reaches the caller at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from serve_app.client.errors import ClientError, ConnectionFailed, RateLimited, Unavailable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` in all; waits grow from `first_wait_s` to `longest_wait_s` with full jitter."""

    attempts: int = 3
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    longest_retry_after_s: float = 30.0

    def wait_s(self, attempt: int, error: ClientError) -> float | None:
        """Seconds before the try after `attempt` (from 1), or None to give up."""
        if attempt >= self.attempts:
            return None
        if not isinstance(error, ConnectionFailed | RateLimited | Unavailable):
            return None
        asked = None if isinstance(error, ConnectionFailed) else error.retry_after_s
        if asked is not None:
            return asked if asked <= self.longest_retry_after_s else None
        ceiling = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempt - 1))
        return random.uniform(0, ceiling)
