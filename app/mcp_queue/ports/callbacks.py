"""Requests that leave the product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterNotice
from mcp_queue.domain.task import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRequest:
    """One HTTP request to a URL that a client named. ``timeout`` covers connecting, sending and the answer."""

    url: str
    body: bytes
    timeout: timedelta
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    signed_as: str | None = None  #: ``webhook-id`` of the signature; unsigned where absent
    secrets: Sequence[str] | None = None  #: a route's own secrets; the configured ones where absent


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackResponse:
    """A 2xx answer. ``body`` is at most 64 KiB; ``truncated`` says that there was more."""

    status: int
    content_type: str
    body: bytes
    truncated: bool = False


class CallbackSender(Protocol):
    """Calls URLs that clients name."""

    async def send(self, request: CallbackRequest) -> CallbackResponse:
        """Make the request and return a 2xx answer.

        Raises:
            CallbackFailedError: 408, 425, 429, 5xx, time-out or no connection; ``delay`` is its ``Retry-After``.
            CallbackRejectedError: any other status; redirects are never followed.
            RefusedAddressError: the address is not one that this service may call.
            ResourcesExhaustedError: this process has no resources for a call at the moment.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A text as a vector. ``model`` is the one that made it, ``usage`` what the endpoint counted."""

    model: str
    vector: list[JsonValue]
    usage: JsonValue = None


class EmbeddingClient(Protocol):
    """Turns texts into vectors."""

    async def embed(self, text: str, model: str) -> Embedding:
        """Return the vector of ``text``.

        Raises:
            RetryableError: the endpoint does not answer, or cannot at the moment.
            PermanentError: the endpoint refuses the text, the model or the key, or none is configured.

        """
        ...


class Notifier(Protocol):
    """Tells somebody of dead letters."""

    async def notify(self, notice: DeadLetterNotice) -> None:
        """Return when the notice was taken.

        Raises:
            TaskFailedError: it was not.

        """
        ...
