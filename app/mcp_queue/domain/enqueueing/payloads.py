"""Payload models of the common task types. Other types are free-form unless a project registers its own model."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue

Text = Annotated[str, Field(min_length=1)]


class Payload(BaseModel):
    """Base of payload models: frozen, and unknown members are refused so that a misspelt one never passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EmbeddingPayload(Payload):
    """A text to be turned into a vector."""

    text: Text
    model: Text
    agent_id: str | None = None


class DocumentPayload(Payload):
    """An operation on a stored document."""

    document_id: Text
    operation: Text
    parameters: Mapping[str, JsonValue] = Field(default_factory=dict)


class WebhookPayload(Payload):
    """An HTTP request to be made. ``retries`` replaces the task's ``max_retries`` where it is given."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: Mapping[str, str] = Field(default_factory=dict)
    body: JsonValue = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None


class CollaborationPayload(Payload):
    """A session in which several participants work on one payload."""

    session_id: Text
    participants: Annotated[list[Text], Field(min_length=1), FailFast()]
    strategy: Text
    payload: JsonValue = None


def common_payloads() -> dict[str, type[BaseModel]]:
    """Return the payload model of each task type that the product knows."""
    return {
        "embedding": EmbeddingPayload,
        "document": DocumentPayload,
        "webhook": WebhookPayload,
        "collaboration": CollaborationPayload,
    }
