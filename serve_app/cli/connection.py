"""Which server a command talks to, and with which key.

Address: --url, --profile, RAGSERVE_URL, the profile in use, the local default. Key: --api-key,
RAGSERVE_API_KEY, then the key that belongs to the address: its profile's, or for this machine
the development key that `ragserve up` writes. A stored key goes only to its own address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from serve_app.cli import profiles
from serve_app.cli.profiles import Profile, Profiles
from serve_app.client import Ragserve, RetryPolicy

DEFAULT_URL = "http://127.0.0.1:3400"
# A person at a terminal is told of a longer wait rather than left wondering.
IMPATIENT = RetryPolicy(longest_retry_after_s=2.0)
DEV_KEY_PATH = Path(".ragserve") / "dev-key"

_PANEL = "Server"
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help=f"Address of ragserve; or RAGSERVE_URL. Default {DEFAULT_URL}.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="API key; better RAGSERVE_API_KEY, which other users of the machine cannot see.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="Name of a profile made with `ragserve profile set`.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address and the key for it."""

    url: str
    api_key: str | None


def connect(
    url: str | None,
    api_key: str | None,
    profile: str | None,
    *,
    retry: RetryPolicy = IMPATIENT,
) -> Ragserve:
    """A client for the server that options, environment, profiles and this folder name."""
    target = resolve(
        url,
        api_key,
        profile,
        environment=os.environ,
        known=profiles.load(),
        folder=Path.cwd(),
    )
    return Ragserve(target.url, target.api_key, retry=retry)


def resolve(
    url: str | None,
    api_key: str | None,
    profile: str | None,
    *,
    environment: Mapping[str, str],
    known: Profiles,
    folder: Path,
) -> Target:
    """The target by the order that the module describes. Raises UsageFailure."""
    chosen = known.get(profile) if profile else None
    current = known.known.get(known.current) if known.current else None
    address = (
        url
        or (chosen.url if chosen else None)
        or environment.get("RAGSERVE_URL")
        or (current.url if current else DEFAULT_URL)
    ).rstrip("/")
    key = api_key or environment.get("RAGSERVE_API_KEY")
    if chosen and chosen.api_key and not api_key:
        # A profile that was asked for by name is meant more than the environment is.
        key = _key_for(address, chosen) or key
    return Target(address, key or _key_for(address, current) or _dev_key(address, folder))


def _key_for(address: str, profile: Profile | None) -> str | None:
    if profile is None or profile.url.rstrip("/") != address:
        return None
    return profile.api_key


def _dev_key(address: str, folder: Path) -> str | None:
    if urlsplit(address).hostname not in ("127.0.0.1", "localhost", "::1"):
        return None
    try:
        return (folder / DEV_KEY_PATH).read_text("utf-8").strip() or None
    except OSError:
        return None
