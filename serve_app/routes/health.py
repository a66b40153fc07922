"""Is it alive, is it ready, and what is it waiting for. Open to strangers, so it tells little."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serve_app import __version__
from serve_app.routes.access import UsesServices
from serve_app.schemas import DependencyOut, HealthOut

router = APIRouter(prefix="/health", tags=["health"])

# Without these nothing can be answered; without the others, something still can.
NEEDED = frozenset({"milvus"})


@router.get("")
async def health(services: UsesServices) -> HealthOut:
    """A summary: `ok`, `degraded` (answers, but not at its best) or `unavailable`."""
    dependencies = await services.dependencies.check()
    down = {
        dependency.name
        for dependency in dependencies
        if not dependency.up or dependency.breaker == "open"
    }
    return HealthOut(
        status="ok" if not down else "unavailable" if down & NEEDED else "degraded",
        version=__version__,
        dependencies=[
            DependencyOut(
                name=dependency.name,
                state="up" if dependency.up else "down",
                latency_ms=dependency.latency_ms,
                detail=dependency.detail,
                breaker=dependency.breaker,
            )
            for dependency in dependencies
        ],
    )


@router.get("/live")
async def live() -> HealthOut:
    """This replica's process answers."""
    return HealthOut(status="ok", version=__version__)


@router.get(
    "/ready", responses={503: {"model": HealthOut, "description": "Not every service answers."}}
)
async def ready(response: Response, services: UsesServices) -> HealthOut:
    """200 while every dependency answers, 503 otherwise, each with its state and latency.

    Also 503 while the node is draining: it still answers, but should get no more to do.
    """
    if services.drain_file is not None and services.drain_file.exists():
        response.status_code = 503
        return HealthOut(status="unavailable", version=__version__, detail="draining")
    summary = await health(services)
    if summary.status != "ok":
        response.status_code = 503
    return summary
