"""What a route needs of a request: the services, the caller, and the caller's allowance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from deployments.contracts.identity import Principal
from deployments.errors import CollectionNotFound, Forbidden, RateLimited
from serve_app.schemas import ProblemDocument
from serve_app.services import Services


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


UsesServices = Annotated[Services, Depends(_services)]


async def _principal(
    services: UsesServices, authorization: Annotated[str | None, Header()] = None
) -> Principal:
    return await services.authenticator.authenticate(authorization)


Caller = Annotated[Principal, Depends(_principal)]


def needs(scope: str, *, bucket: str | None = None) -> Callable[..., Awaitable[Principal]]:
    """A dependency: the caller, who must hold `scope` and have something left in `bucket`."""

    async def dependency(response: Response, services: UsesServices, caller: Caller) -> Principal:
        if scope not in caller.scopes and "admin" not in caller.scopes:
            raise Forbidden(f"This needs the scope '{scope}'.")
        if bucket is not None:
            verdict = await services.limiter.hit(bucket, caller.id)
            reset_s = max(1, round(verdict.reset_after_s))
            if not verdict.allowed:
                raise RateLimited(
                    f"At most {verdict.limit} {bucket} requests a minute; try in {reset_s} s.",
                    limit=verdict.limit,
                    retry_after_s=reset_s,
                )
            response.headers["RateLimit"] = f'"{bucket}";r={verdict.remaining};t={reset_s}'
            response.headers["RateLimit-Policy"] = f'"{bucket}";q={verdict.limit};w=60'
        return caller

    return dependency


def require_collection(caller: Principal, name: str) -> None:
    """Refuse a collection the caller may not see, as if it did not exist.

    Raises:
        CollectionNotFound: the same answer as for a collection that is not there.
    """
    if not caller.may_read(name):
        raise CollectionNotFound(f"There is no collection '{name}'.", collection=name)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that may end in these statuses."""
    return {
        status: {
            "model": ProblemDocument,
            "content": {"application/problem+json": {}},
            "description": "A problem document; `code` is stable.",
        }
        for status in (401, 403, 422, *statuses)
    }
