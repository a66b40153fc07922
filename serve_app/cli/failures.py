"""Every failure as one sentence that says what to do, and its exit code.

0 done   1 failed   2 wrong usage   3 cannot connect   4 not allowed   130 interrupted
"""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from serve_app.client.errors import (
    ApiError,
    AuthenticationFailed,
    ClientError,
    ConnectionFailed,
    PermissionDenied,
    RateLimited,
)

FAILED = 1
USAGE = 2
NO_CONNECTION = 3
NOT_ALLOWED = 4
INTERRUPTED = 130

EXIT_CODES_HELP = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 cannot connect, 4 not allowed, 130 interrupted."
)


class CommandFailure(Exception):
    """It could not be done; its text says why, and what to do."""


class UsageFailure(Exception):
    """What was asked for cannot be done as written; its text says how to write it."""


class Commands(TyperGroup):
    """The group at the top: no command below it shows a traceback for an expected failure."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an expected failure becomes its sentence and its exit code."""
        try:
            return super().invoke(ctx)
        except UsageFailure as failure:
            raise _exit(str(failure), USAGE) from None
        except CommandFailure as failure:
            raise _exit(str(failure), FAILED) from None
        except ClientError as failure:
            raise _exit(sentence(failure), exit_code(failure)) from None
        except BrokenPipeError:
            # `ragserve jobs list | head`: the reader has enough.
            sys.stderr.close()
            raise typer.Exit(0) from None
        except (KeyboardInterrupt, typer.Abort):
            raise _exit("Interrupted.", INTERRUPTED) from None


def exit_code(failure: ClientError) -> int:
    """The exit code for a client's error."""
    if isinstance(failure, ConnectionFailed):
        return NO_CONNECTION
    if isinstance(failure, AuthenticationFailed | PermissionDenied):
        return NOT_ALLOWED
    return FAILED


def sentence(failure: ClientError) -> str:
    """What went wrong and what to do about it."""
    text = str(failure).rstrip(".")
    if isinstance(failure, ConnectionFailed):
        return f"{text}. Start it with `ragserve up`, or name its address with --url."
    if isinstance(failure, AuthenticationFailed):
        return f"{text}. Give a key with --api-key, RAGSERVE_API_KEY or `ragserve profile set`."
    if isinstance(failure, RateLimited) and failure.retry_after_s is not None:
        return f"{text}. Try again in {failure.retry_after_s:.0f} s."
    if isinstance(failure, ApiError):
        note = f" (request {failure.request_id})" if failure.request_id else ""
        return f"{text}{note}."
    return f"{text}."


def _exit(text: str, code: int) -> typer.Exit:
    typer.secho(text, err=True, fg=None if code == INTERRUPTED else "red")
    return typer.Exit(code)
