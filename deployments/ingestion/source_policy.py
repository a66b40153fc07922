"""What an operator lets the server read by URL. By default: nothing."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deployments.errors import ConfigurationError, SourceForbidden
from deployments.ingestion.readers.document import MIB

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_NAT64 = ip_network("64:ff9b::/96")
WEB_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """The allow-list for ingestion by URL, and how much one request may fetch.

    `roots` are URLs or absolute paths below which files may be read: `/srv/handbook`,
    `s3://bucket/docs`. `web` turns on http and https to addresses of the public internet;
    `private_networks` (CIDR) adds an intranet's. `ports` are those a web address may name.
    """

    roots: tuple[str, ...] = ()
    web: bool = False
    private_networks: tuple[str, ...] = ()
    ports: tuple[int, ...] = (80, 443)
    max_files: int = 10_000
    max_file_bytes: int = 200 * MIB
    max_redirects: int = 5
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        for root in self.roots:
            if scheme_of(root) in WEB_SCHEMES or ("://" not in root and not root.startswith("/")):
                raise ConfigurationError(f"Not a root for sources: {root!r}.")
        for network in self.private_networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise ConfigurationError(f"Not a network: {network!r}.") from error

    def check_store_url(self, url: str) -> None:
        """Raises SourceForbidden where a bucket's URL is not below one of the roots."""
        wanted = _normal(url)
        for root in self.roots:
            if "://" in root and scheme_of(root) != "file":
                allowed = _normal(root).rstrip("/")
                if wanted == allowed or wanted.startswith(f"{allowed}/"):
                    return
        raise SourceForbidden("The source is not below a root that this server may read.")

    def check_path(self, path: Path) -> None:
        """Raises SourceForbidden where the path, links resolved, is not below one of the roots."""
        resolved = path.resolve()
        for root in self.roots:
            if "://" not in root or scheme_of(root) == "file":
                folder = Path(unquote(urlsplit(root).path) if "://" in root else root).resolve()
                if resolved.is_relative_to(folder):
                    return
        raise SourceForbidden("The source is not below a root that this server may read.")

    def check_address(self, address: str) -> None:
        """Raises SourceForbidden for an address that is neither public nor of a network allowed."""
        for candidate in _meanings(ip_address(address.partition("%")[0])):
            if any(candidate in ip_network(network) for network in self.private_networks):
                continue
            if not candidate.is_global or candidate.is_multicast or candidate.is_reserved:
                raise SourceForbidden("The address is not on the public internet.")


def scheme_of(url: str) -> str:
    """The scheme in lower case; plain paths are `file`."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else "file"


def _normal(url: str) -> str:
    scheme, _, path = url.partition("://")
    if "::" in url or ".." in path.split("/"):
        raise SourceForbidden("The source's URL must name one place, without `..` or `::`.")
    return f"{scheme.lower()}://{posixpath.normpath(path).lstrip('/')}"


def _meanings(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address, and every IPv4 address that a gateway would make of it."""
    meanings = [address]
    if isinstance(address, IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            meanings.clear()  # it *is* the IPv4 address
        meanings.extend(found for found in inner if found is not None)
    return meanings
