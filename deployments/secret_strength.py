"""What makes a secret unfit for use, in words that never show the secret."""

from __future__ import annotations

from collections.abc import Mapping

MIN_SECRET_BYTES = 32
MIN_DISTINCT = 8
"""Characters of its own that a secret of 32 must have; a random one has more than 20."""
PLACEHOLDERS = (
    "change-me",
    "change_me",
    "changeme",
    "default",
    "development",
    "example",
    "insecure",
    "minioadmin",
    "not-a-secret",
    "password",
    "placeholder",
    "ragserve-dev",
    "replace-me",
    "your-secret",
    "your_secret",
)
"""Long enough that a random secret holds one of them once in a hundred million times."""


def too_short(secret: str) -> str | None:
    """Why a secret is not long enough, or None."""
    size = len(secret.encode())
    if size < MIN_SECRET_BYTES:
        return f"has {size} bytes, and needs {MIN_SECRET_BYTES} or more"
    return None


def guessable(secret: str) -> str | None:
    """Why a secret of whatever length could be guessed, or None."""
    lowered = secret.lower()
    if any(word in lowered for word in PLACEHOLDERS):
        return "holds a development default"
    if len(set(secret)) < MIN_DISTINCT:
        return "repeats a few characters"
    return None


def faults(secrets: Mapping[str, str], *, required: bool) -> list[str]:
    """Every fault of named secrets, one sentence each; an empty secret counts as missing.

    Args:
        secrets: by the names of their variables.
        required: whether each must be there, hard to guess and nobody else's.
    """
    found = []
    users: dict[str, list[str]] = {}
    for name, secret in secrets.items():
        if not secret:
            if required:
                found.append(f"{name} is missing")
            continue
        users.setdefault(secret, []).append(name)
        reasons = [too_short(secret), guessable(secret) if required else None]
        found += [f"{name} {reason}" for reason in reasons if reason]
    if required:
        found += [
            f"{' and '.join(names)} are the same secret"
            for names in users.values()
            if len(names) > 1
        ]
    return found
