"""The OpenAI-compatible API: what is written for OpenAI's clients asks ragserve unchanged."""

from __future__ import annotations

from fastapi import APIRouter

from serve_app.routes.openai import chat, embeddings, models

router = APIRouter(prefix="/v1", tags=["openai"])
for _room in (chat, embeddings, models):
    router.include_router(_room.router)
