"""A request whose body has been read."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from starlette.requests import Request
from starlette.types import Scope

from mcp_queue.domain.errors import FieldError
from mcp_queue.domain.formats import trace_context
from mcp_queue.domain.formats.strict_json import loads
from mcp_queue.domain.operators.keys import Caller
from mcp_queue.domain.task import JsonValue
from mcp_queue.gateway.answers import JSON
from mcp_queue.gateway.problems import Problem, RequestRefusedError
from mcp_queue.services.enqueueing.validation import invalid

NDJSON = "application/x-ndjson"

_HEADERS = "gateway.headers"
_BODY = "gateway.body"
_CALLER = "gateway.caller"
_VISIBLE = re.compile(rb"[!-~]{1,255}")
_UTF8 = frozenset({"", "charset=utf-8", "charset=utf8"})


def attach(scope: Scope, headers: Mapping[bytes, bytes], body: bytes, caller: Caller) -> None:
    """Put what was read of a request, and who makes it, into its ``scope``."""
    scope[_HEADERS] = headers
    scope[_BODY] = body
    scope[_CALLER] = caller


class GatewayRequest(Request):
    """A request that ``AdmissionMiddleware`` let in: the headers by name in lower case, and the whole body."""

    @property
    def raw_headers(self) -> Mapping[bytes, bytes]:
        """The headers; of several with one name the last."""
        return cast("Mapping[bytes, bytes]", self.scope[_HEADERS])

    @property
    def content(self) -> bytes:
        """The whole body."""
        return cast("bytes", self.scope[_BODY])

    @property
    def caller(self) -> Caller:
        """Who makes the request."""
        return cast("Caller", self.scope[_CALLER])

    @property
    def actor(self) -> str:
        """The name of the caller's key, as the audit log shows it."""
        return self.caller.name

    @property
    def traceparent(self) -> str | None:
        """The header of that name, if it is valid."""
        value = self.raw_headers.get(b"traceparent", b"").decode("latin-1")
        return None if trace_context.trace_id_of(value) is None else value

    @property
    def trace_id(self) -> str:
        """The id that the log knows this request by: that of the caller's trace, or a new one at every call."""
        return trace_id_of(self.raw_headers, partial(secrets.token_hex, 16))

    @property
    def idempotency_key(self) -> str | None:
        """The header of that name.

        Raises:
            InvalidTaskError: it is not 1 to 255 visible ASCII characters, or there are several.

        """
        value = self.raw_headers.get(b"idempotency-key")
        if value is None:
            return None
        if sum(name == b"idempotency-key" for name, _ in self.scope["headers"]) > 1:
            raise invalid(FieldError(("header", "Idempotency-Key"), "given more than once"))
        if not _VISIBLE.fullmatch(value):
            raise invalid(FieldError(("header", "Idempotency-Key"), "expected 1 to 255 visible ASCII characters"))
        return value.decode()

    def media_type(self, *known: str) -> str:
        """Return which of ``known`` the body is.

        Raises:
            RequestRefusedError: 415, it is something else, or not in UTF-8.

        """
        written = self.raw_headers.get(b"content-type", b"").decode("latin-1")
        if written in known:
            return written
        essence, _, parameters = written.lower().partition(";")
        if essence.strip() not in known or parameters.replace(" ", "").replace('"', "") not in _UTF8:
            detail = f"the body has to be {' or '.join(known)}, in UTF-8"
            raise unsupported_media_type(detail)
        return essence.strip()

    def json_value(self) -> JsonValue:
        """Return the body as JSON.

        Raises:
            RequestRefusedError: 415, its Content-Type says that it is something else.
            MalformedJsonError: it is not JSON.

        """
        self.media_type(JSON)
        return loads(self.content)

    def check_no_members(self) -> None:
        """Check that the body is empty or an empty JSON object.

        Raises:
            InvalidTaskError: it has members.

        """
        if self.content and self.json_value() != {}:
            raise invalid(FieldError(("body",), "this call takes no members"))


def check_head(lines: Sequence[tuple[bytes, bytes]], headers: Mapping[bytes, bytes]) -> None:
    """Check what has to be right about the header ``lines`` of any request; ``headers`` are the same by name.

    Raises:
        RequestRefusedError: 400, there are several ``Host`` headers (RFC 9112, section 3.2); 415, the body has a
            ``Content-Encoding``; 501, it has a transfer coding beside ``chunked`` (section 6.1).

    """
    if len(lines) != len(headers) and sum(name == b"host" for name, _ in lines) > 1:
        raise RequestRefusedError(Problem(code="malformed_request", detail="there is more than one Host header"))
    if b"content-encoding" in headers:
        raise unsupported_media_type("a body with a Content-Encoding is not read")
    if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        detail = "no transfer coding but chunked is read"
        raise RequestRefusedError(Problem(code="not_supported", detail=detail))


def trace_id_of(headers: Mapping[bytes, bytes], new_trace_id: Callable[[], str]) -> str:
    """Return the id of the caller's trace (W3C Trace Context), or a new one."""
    return trace_context.trace_id_of(headers.get(b"traceparent", b"").decode("latin-1")) or new_trace_id()


def unsupported_media_type(detail: str) -> RequestRefusedError:
    """Return the refusal of a body in a form that is not read."""
    return RequestRefusedError(Problem(code="unsupported_media_type", detail=detail))
