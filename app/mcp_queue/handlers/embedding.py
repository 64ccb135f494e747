"""Turns a text into a vector."""

from mcp_queue.domain.enqueueing.payloads import EmbeddingPayload
from mcp_queue.domain.task import JsonValue
from mcp_queue.ports import EmbeddingClient
from mcp_queue.services.execution.router import TaskRouter

router = TaskRouter()


@router.task("embedding", payload=EmbeddingPayload)
async def embed(payload: EmbeddingPayload, client: EmbeddingClient) -> JsonValue:
    """Return ``model``, ``embedding`` and ``usage``."""
    embedding = await client.embed(payload.text, payload.model)
    return {"model": embedding.model, "embedding": embedding.vector, "usage": embedding.usage}
