"""Ingestion by URL: what a URL stands for, and its bytes, within the operator's allow-list.

The server never reads its own files on a caller's word (roots are named by the operator, links
that leave them are refused), and never speaks to its own network: a web address is resolved
once, every address it has is checked, and the connection goes to the address that was checked.
Each redirect starts over.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote, urlsplit

import fsspec
import httpx

from deployments.errors import (
    ConfigurationError,
    InvalidRequest,
    RagserveError,
    SourceForbidden,
    SourceNotFound,
    SourceUnavailable,
    TooLarge,
)
from deployments.ingestion.readers.document import MIB
from deployments.ingestion.source_policy import WEB_SCHEMES, SourcePolicy, scheme_of

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> its addresses."""

T = TypeVar("T")

_MAGIC = frozenset("*?[")
_OPERATION_TIMEOUT_S = 30.0
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that a URL stands for. `size_bytes` is -1 where only reading it will tell."""

    url: str
    name: str
    size_bytes: int = -1


async def resolve(host: str, port: int) -> Sequence[str]:
    """The host's addresses by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, proto=6)
    return [str(address[0]) for *_, address in found]


class Sources:
    """Expands URLs and streams their files. Nothing is kept between calls."""

    def __init__(self, policy: SourcePolicy, resolve: Resolve = resolve) -> None:
        self._policy = policy
        self._resolve = resolve

    async def expand(self, urls: Sequence[str]) -> list[SourceFile]:
        """The files behind folders, globs, buckets and web addresses, in a stable order.

        Raises:
            SourceForbidden: a URL that the policy does not allow.
            SourceNotFound: nothing is there.
            InvalidRequest: not a URL, or more files than one request may bring.
            SourceUnavailable: the store cannot be reached.
        """
        files: dict[str, SourceFile] = {}
        for url in urls:
            for file in await self._expand_one(url):
                files.setdefault(file.url, file)
                if len(files) > self._policy.max_files:
                    raise InvalidRequest(
                        f"More than {self._policy.max_files:,} files in one request.",
                        limit_files=self._policy.max_files,
                    )
        return list(files.values())

    async def stream(self, file: SourceFile) -> AsyncGenerator[bytes, None]:
        """The file's bytes. The policy is asked again: the URL may have been kept for long.

        Raises:
            SourceForbidden, SourceNotFound, SourceUnavailable: as `expand`.
            TooLarge: more than `max_file_bytes`.
        """
        _check_single(file.url)
        left = self._policy.max_file_bytes
        scheme = scheme_of(file.url)
        pieces = self._web(file.url) if scheme in WEB_SCHEMES else self._stored(scheme, file.url)
        try:
            async for piece in pieces:
                left -= len(piece)
                if left < 0:
                    raise TooLarge(
                        f"The file is larger than {self._policy.max_file_bytes:,} bytes.",
                        limit_bytes=self._policy.max_file_bytes,
                    )
                yield piece
        finally:
            await cast("Any", pieces).aclose()

    async def _expand_one(self, url: str) -> list[SourceFile]:
        _check_single(url)
        scheme = scheme_of(url)
        if scheme in WEB_SCHEMES:
            _check_web_url(url, self._policy)
            return [
                SourceFile(url, PurePosixPath(unquote(urlsplit(url).path)).name or "index.html")
            ]
        if scheme == "file":
            path = _local_path(url)
            return await asyncio.to_thread(
                lambda: list(islice(_local_files(path, self._policy), self._policy.max_files + 1))
            )
        self._policy.check_store_url(url)
        return await _in_thread(lambda: _bucket_files(url, self._policy))

    async def _stored(self, scheme: str, url: str) -> AsyncIterator[bytes]:
        file = await _in_thread(lambda: _open_stored(scheme, url, self._policy))
        try:
            while piece := await _in_thread(lambda: file.read(MIB)):
                yield piece
        finally:
            await asyncio.shield(asyncio.to_thread(file.close))

    async def _web(self, url: str) -> AsyncIterator[bytes]:
        try:
            async with asyncio.timeout(self._policy.timeout_s):
                async with self._follow(url) as response:
                    async for piece in response.aiter_raw(64 * 1024):
                        yield piece
        except TimeoutError as error:
            raise SourceUnavailable("The web server takes too long.", url=url) from error
        except httpx.HTTPError as error:
            raise SourceUnavailable("The web server cannot be read.", url=url) from error

    @asynccontextmanager
    async def _follow(self, url: str) -> AsyncIterator[httpx.Response]:
        """The first response that is no redirect; each hop is checked as if it came first."""
        # Certificates and proxies named in the environment are not for strangers' addresses.
        async with httpx.AsyncClient(
            trust_env=False, follow_redirects=False, timeout=_OPERATION_TIMEOUT_S
        ) as client:
            for _ in range(self._policy.max_redirects + 1):
                response = await self._get(client, httpx.URL(url))
                try:
                    if response.status_code not in _REDIRECTS:
                        _check_response(response, url, self._policy)
                        yield response
                        return
                    following = str(httpx.URL(url).join(response.headers.get("location", "")))
                finally:
                    await response.aclose()
                if scheme_of(url) == "https" and scheme_of(following) != "https":
                    raise SourceForbidden(
                        "The web server redirects from https to a plain connection."
                    )
                url = following
        raise SourceUnavailable("The web server redirects too often.", url=url)

    async def _get(self, client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
        """Connect to an address that was checked; the name stays in Host and in the certificate."""
        _check_web_url(str(url), self._policy)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = await self._resolve(url.host, port)
        except OSError as error:
            raise SourceUnavailable(f"There is no server called {url.host}.") from error
        for address in addresses:
            self._policy.check_address(address)
        request = client.build_request(
            "GET",
            url,
            headers={"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"},
            extensions={"sni_hostname": url.host},
        )
        failure: httpx.TransportError | None = None
        for address in addresses:
            request.url = url.copy_with(host=address)
            try:
                return await client.send(request, stream=True)
            except httpx.ConnectError as error:
                failure = error
        raise SourceUnavailable("The web server cannot be reached.") from failure


def _check_single(url: str) -> None:
    """Chains (`zip://x::file://y`) would take one scheme's files under another's name."""
    if "\x00" in url or ("::" in url and scheme_of(url) not in WEB_SCHEMES):
        raise SourceForbidden("The source's URL must name one place, without `..` or `::`.")


def _check_web_url(url: str, policy: SourcePolicy) -> None:
    if not policy.web:
        raise SourceForbidden("This server does not fetch from the web.")
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise InvalidRequest("Not a web address.") from error
    if parts.scheme not in WEB_SCHEMES or not parts.hostname:
        raise SourceForbidden("Only http and https addresses can be fetched.")
    if parts.username is not None or parts.password is not None:
        raise SourceForbidden("A web address must not carry a user name or password.")
    if port not in policy.ports:
        raise SourceForbidden(f"Port {port} is not one that this server fetches from.")


def _check_response(response: httpx.Response, url: str, policy: SourcePolicy) -> None:
    status = response.status_code
    if status in (404, 410):
        raise SourceNotFound("The web server does not have the file.", url=url)
    if status != 200:
        raise SourceUnavailable(f"The web server answered {status}.", url=url)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise SourceUnavailable("The web server packs the file though asked not to.", url=url)
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) > policy.max_file_bytes:
        raise TooLarge(f"The file is larger than {policy.max_file_bytes:,} bytes.", url=url)


def _local_path(url: str) -> str:
    """The path of a `file://` URL or a plain absolute path, which may be a pattern."""
    if "://" not in url:
        path = url
    else:
        host, _, rest = url.partition("://")[2].partition("/")
        if host not in ("", "localhost"):
            raise SourceForbidden("A file URL must not name a host.")
        path = f"/{unquote(rest)}"
    if not path.startswith("/"):
        raise InvalidRequest("A path must be absolute.")
    if ".." in path.split("/"):
        raise SourceForbidden("The source's URL must name one place, without `..` or `::`.")
    return path


def _local_files(pattern: str, policy: SourcePolicy) -> Iterator[SourceFile]:
    """Regular files below a folder or matching a pattern; hidden ones and links to outside not."""
    fixed = _fixed_part(pattern)
    policy.check_path(Path(fixed))
    if fixed == pattern and not Path(pattern).exists():
        raise SourceNotFound("There is no such file or folder.", url=pattern)
    matches = [pattern] if fixed == pattern else _matches(pattern, fixed)
    for match in matches:
        yield from _walk(Path(match), policy, named=match == pattern)


def _matches(pattern: str, fixed: str) -> list[str]:
    return sorted(str(path) for path in Path(fixed).glob(pattern.removeprefix(fixed).lstrip("/")))


def _fixed_part(pattern: str) -> str:
    """The folders before the first part that holds a pattern."""
    parts = pattern.split("/")
    fixed = next((i for i, part in enumerate(parts) if _MAGIC & set(part)), len(parts))
    return "/".join(parts[:fixed]) or "/"


def _walk(path: Path, policy: SourcePolicy, *, named: bool) -> Iterator[SourceFile]:
    if path.is_file():
        try:
            policy.check_path(path)
        except SourceForbidden:
            if named:
                raise
            return  # a link that leads out, met on the way: as if it were not there
        yield SourceFile(path.as_uri(), path.name, path.stat().st_size)
    elif path.is_dir() and (named or not path.is_symlink()):
        for child in sorted(path.iterdir()):
            if not child.name.startswith("."):
                yield from _walk(child, policy, named=False)


def _open_stored(scheme: str, url: str, policy: SourcePolicy) -> BinaryIO:
    if scheme == "file":
        return _open_local(Path(_local_path(url)), policy)
    policy.check_store_url(url)
    return cast("BinaryIO", _store(url).open(url, "rb"))


def _open_local(path: Path, policy: SourcePolicy) -> BinaryIO:
    """Open, then check what was opened: a link changed in between is caught."""
    policy.check_path(path)
    resolved = path.resolve()
    descriptor = os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        policy.check_path(resolved)
        _check_regular(os.fstat(descriptor), resolved)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _check_regular(opened: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(opened.st_mode) or not os.path.samestat(opened, path.stat()):
        raise SourceForbidden("The source is not a regular file.")


def _bucket_files(url: str, policy: SourcePolicy) -> list[SourceFile]:
    store = _store(url)
    if _MAGIC & set(url):
        policy.check_store_url(_fixed_part(url))
        found = store.glob(url, detail=True)
    else:
        found = store.find(url, detail=True)
    files = [
        SourceFile(str(store.unstrip_protocol(path)), path.rpartition("/")[2], info["size"] or 0)
        for path, info in sorted(found.items())
        if info["type"] == "file"
    ]
    if not files:
        raise SourceNotFound("There is nothing at this address.", url=url)
    for file in files:
        policy.check_store_url(file.url)
    return files


def _store(url: str) -> Any:
    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"This server cannot read {scheme_of(url)}:// addresses: {error}"
        ) from error


async def _in_thread(work: Callable[[], T]) -> T:
    """Run blocking work off the loop, a store's errors in our terms."""
    try:
        return await asyncio.to_thread(work)
    except RagserveError:
        raise
    except FileNotFoundError as error:
        raise SourceNotFound("There is nothing at this address.") from error
    except Exception as error:  # each store has its own errors
        raise SourceUnavailable("The source cannot be read.") from error
