"""Who the caller is, as the service sees it."""

from __future__ import annotations

from fastapi import APIRouter

from serve_app.routes.access import Caller, problems
from serve_app.schemas import PrincipalOut

router = APIRouter(prefix="/v1/me", tags=["me"])


@router.get("", responses=problems(503))
async def me(caller: Caller) -> PrincipalOut:
    """The principal behind the credentials sent."""
    return PrincipalOut(
        id=caller.id,
        name=caller.name,
        scopes=sorted(caller.scopes),
        collections=list(caller.collections),
        writable=list(caller.write_patterns),
    )
