"""Turns a text into a vector."""

from app.domain.payloads import EmbeddingPayload
from app.domain.task import JsonValue
from app.ports import EmbeddingClient
from app.services.task_router import TaskRouter

router = TaskRouter()


@router.task("embedding", payload=EmbeddingPayload)
async def embed(payload: EmbeddingPayload, client: EmbeddingClient) -> JsonValue:
    """Return ``model``, ``embedding`` and ``usage``."""
    embedding = await client.embed(payload.text, payload.model)
    return {"model": embedding.model, "embedding": embedding.vector, "usage": embedding.usage}
