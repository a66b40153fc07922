"""What a route needs of a request: the services, the caller, and the caller's allowance."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from deployments.contracts.identity import Principal
from deployments.errors import CollectionNotFound, Forbidden, RateLimited
from serve_app.auth.authenticator import INTERNAL
from serve_app.auth.peers import PEER
from serve_app.schemas import ProblemDocument
from serve_app.services import Services


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


UsesServices = Annotated[Services, Depends(_services)]


# For the description only: who is calling was found out at the door (`door.Door`).
_bearer = HTTPBearer(auto_error=False, scheme_name="api_key", description="An API key or a token.")


async def _principal(request: Request, _: Annotated[object, Depends(_bearer)]) -> Principal:
    principal: Principal = request.state.principal
    return principal


Caller = Annotated[Principal, Depends(_principal)]


def needs(scope: str, *, bucket: str | None = None) -> Callable[..., Awaitable[Principal]]:
    """A dependency: the caller, who must hold `scope` and have something left in `bucket`."""

    async def dependency(request: Request, services: UsesServices, caller: Caller) -> Principal:
        if scope not in caller.scopes and "admin" not in caller.scopes:
            raise Forbidden(f"This needs the scope '{scope}'.")
        if bucket is not None:
            await _take(request, services, bucket, caller)
        return caller

    return dependency


async def _take(request: Request, services: Services, bucket: str, caller: Principal) -> None:
    if caller is PEER:
        bucket = "service"  # it names no caller: it asks for many
    verdict = await services.limiter.hit(bucket, caller.id)
    # Rounded up: who comes back when told to is let in.
    reset_s = max(1, math.ceil(verdict.reset_after_s))
    request.state.announced["RateLimit"] = f'"{bucket}";r={verdict.remaining};t={reset_s}'
    request.state.announced["RateLimit-Policy"] = (
        f'"{bucket}";q={verdict.limit};w={verdict.period_s}'
    )
    if not verdict.allowed:
        raise RateLimited(
            f"At most {verdict.limit} {bucket} requests a minute; try in {reset_s} s.",
            limit=verdict.limit,
            retry_after_s=reset_s,
        )


def require_collection(caller: Principal, name: str) -> None:
    """Refuse a collection the caller may not see, as if it did not exist.

    Raises:
        CollectionNotFound: the same answer as for a collection that is not there.
    """
    if not caller.may_read(name):
        raise CollectionNotFound(f"there is no collection {name}", collection=name)


def require_writable(caller: Principal, name: str) -> None:
    """Refuse to change a collection that the caller may not write.

    Raises:
        CollectionNotFound: it may not see it either; the same as for one that is not there.
        Forbidden: it may read it.
    """
    if not caller.may_write(name):
        require_collection(caller, name)
        raise Forbidden(f"The collection '{name}' is not yours to change.", collection=name)


def note(request: Request, **facts: object) -> None:
    """Facts for the audit log's line about this request: names and numbers, no contents."""
    request.scope["state"].setdefault("facts", {}).update(facts)


def api_root(request: Request) -> str:
    """Where the routes that the caller may use begin: services have a door of their own."""
    return f"{INTERNAL}v1" if request.scope["path"].startswith(INTERNAL) else "/v1"


def require_collections(caller: Principal, names: Iterable[str]) -> None:
    """Refuse a request as soon as one of its collections may not be seen; raises the same."""
    for name in names:
        require_collection(caller, name)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that may end in these statuses."""
    return {
        status: {
            "model": ProblemDocument,
            "description": "A problem document; `code` is stable.",
        }
        for status in (401, 403, 422, *statuses)
    }
