"""A request whose body is complete."""

import re
from collections.abc import Mapping
from typing import cast

from starlette.requests import Request
from starlette.types import Scope

from mcp_queue.domain.errors import FieldError
from mcp_queue.domain.formats.strict_json import loads
from mcp_queue.domain.operators.keys import Caller
from mcp_queue.domain.task import JsonValue
from mcp_queue.gateway.problems import Problem, ProblemError
from mcp_queue.services.enqueueing.validation import invalid

JSON = "application/json"
NDJSON = "application/x-ndjson"

_HEADERS = "gateway.headers"
_BODY = "gateway.body"
_CALLER = "gateway.caller"
_VISIBLE = re.compile(rb"[!-~]{1,255}")


def put(scope: Scope, headers: Mapping[bytes, bytes], body: bytes, caller: Caller) -> None:
    """Leave what was read of a request, and who makes it, in its ``scope``."""
    scope[_HEADERS] = headers
    scope[_BODY] = body
    scope[_CALLER] = caller


class Incoming(Request):
    """A request as the gate has left it: headers by their name in lower case, and the whole body."""

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
            ProblemError: 415, it is none of them, or not in UTF-8.

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
            ProblemError: 415, it says that it is something else.
            MalformedJsonError: it is not JSON.

        """
        self.media_type(JSON)
        return loads(self.content)

    def no_body(self) -> None:
        """Return if the body is empty or an empty JSON object.

        Raises:
            InvalidTaskError: there is more in it.

        """
        if self.content and self.json_value() != {}:
            raise invalid(FieldError(("body",), "this call takes no members"))


_UTF8 = frozenset({"", "charset=utf-8", "charset=utf8"})


def unsupported_media_type(detail: str) -> ProblemError:
    """Return the refusal of a body in a form that is not read."""
    return ProblemError(Problem(code="unsupported_media_type", detail=detail))
