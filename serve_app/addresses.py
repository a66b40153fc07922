"""Where a request comes from, as far as that can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.types import Scope

Network: TypeAlias = IPv4Network | IPv6Network

UNKNOWN = "unknown"


def client_address(scope: Scope, trusted_proxies: Sequence[Network]) -> str:
    """The address nearest to us that is none of our proxies'.

    `X-Forwarded-For` grows at its end: what stands before the first address that is not ours was
    written by a stranger, and is not believed.
    """
    nearest = (scope.get("client") or (UNKNOWN,))[0]
    passed_on = [
        address.strip()
        for line in Headers(scope=scope).getlist("x-forwarded-for")
        for address in line.split(",")
    ]
    while passed_on and _within(nearest, trusted_proxies):
        further = passed_on.pop()
        if _parsed(further) is None:
            break
        nearest = further
    return str(nearest)


def _within(address: str, networks: Sequence[Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(address: str) -> object:
    try:
        return ip_address(address)
    except ValueError:
        return None
