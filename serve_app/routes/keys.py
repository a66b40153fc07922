"""API keys: made, listed, replaced and ended by an admin. A key's text is shown once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from deployments.contracts.identity import ApiKey, Principal
from deployments.errors import Forbidden, NotFound
from serve_app.routes.access import UsesServices, needs, note, problems
from serve_app.schemas import KeyCreate, KeyList, KeyMade, KeyOut, KeyRotate
from serve_app.services import Services

router = APIRouter(prefix="/v1/keys", tags=["keys"])

Admin = Annotated[Principal, Depends(needs("admin"))]
Prefix = Annotated[str, Path(pattern=r"^[a-z0-9]{8}$", examples=["k3j9x0ab"])]


@router.post("", status_code=201, responses=problems(503))
async def create_key(
    body: KeyCreate, request: Request, response: Response, caller: Admin, services: UsesServices
) -> KeyMade:
    """Make a key. Its text is in this answer and nowhere else, ever.

    An admin gives away no more than its own collections.
    """
    writable = body.collections if body.writable is None else body.writable
    if not caller.may_grant(body.collections, writable):
        raise Forbidden("A key cannot reach collections that its maker cannot.")
    text, key = await services.keys.create(
        body.name, body.scopes, body.collections, body.expires_in_s, body.writable
    )
    note(request, key=key.prefix, scopes=sorted(key.scopes), collections=list(key.collections))
    response.headers["Cache-Control"] = "no-store"
    return KeyMade(key=text, **_out(key).model_dump())


@router.get("", responses=problems(503))
async def list_keys(caller: Admin, services: UsesServices) -> KeyList:
    """The keys that the caller could have made, newest first."""
    return KeyList(keys=[_out(key) for key in await services.keys.list() if _within(caller, key)])


@router.post("/{prefix}/rotate", status_code=201, responses=problems(404, 503))
async def rotate_key(
    prefix: Prefix,
    body: KeyRotate,
    request: Request,
    response: Response,
    caller: Admin,
    services: UsesServices,
) -> KeyMade:
    """Make a key with the same rights; the old one is good for `overlap_s` more."""
    await _own(services, caller, prefix)
    text, key = await services.keys.rotate(prefix, body.overlap_s)
    note(request, key=key.prefix)
    response.headers["Cache-Control"] = "no-store"
    return KeyMade(key=text, **_out(key).model_dump())


@router.delete("/{prefix}", status_code=204, responses=problems(404, 503))
async def revoke_key(prefix: Prefix, caller: Admin, services: UsesServices) -> None:
    """End a key: at once here, on every replica within half a minute."""
    await _own(services, caller, prefix)
    await services.keys.revoke(prefix)


async def _own(services: Services, caller: Principal, prefix: str) -> None:
    """Refuse a key of another tenant's as if it did not exist."""
    try:
        key = await services.keys.get(prefix)
    except NotFound:
        key = None
    if key is None or not _within(caller, key):
        raise NotFound(f"There is no key '{prefix}'.", key=prefix)


def _within(caller: Principal, key: ApiKey) -> bool:
    return caller.may_grant(key.collections, key.principal.write_patterns)


def _out(key: ApiKey) -> KeyOut:
    return KeyOut(
        prefix=key.prefix,
        name=key.name,
        scopes=sorted(key.scopes),
        collections=list(key.collections),
        writable=list(key.principal.write_patterns),
        created_at=key.created_at_s,
        expires_at=key.expires_at_s or None,
        last_used_at=key.last_used_at_s or None,
    )
