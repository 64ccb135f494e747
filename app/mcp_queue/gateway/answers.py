"""Builds JSON answers from their schemas, so that an answer and its documentation cannot disagree."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SkipValidation, WithJsonSchema
from pydantic.config import JsonDict
from starlette.responses import Response
from typing_extensions import override

from mcp_queue.domain.formats.durations import in_seconds
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.operators.keys import Caller, KeyScope

JSON = "application/json"

#: Where a task is delivered; path and query may hold secrets, so ``redactions`` leave ``origin_of`` it.
CallbackUrl = Annotated[str | None, Field(description="Without the scope `payloads`, its scheme, host and port alone.")]
#: A duration, written as a number of seconds.
Seconds = Annotated[timedelta, WithJsonSchema({"type": "number"})]
#: JSON from a client or a handler. It is shown as it is: pydantic would refuse what is nested over 255 levels.
AnyJson = Annotated[JsonValue, SkipValidation]

_NOTHING: tuple[object, ...] = (None, False, [])


class View(BaseModel):
    """The schema of an answer. ``model_validate`` builds one from an object whose attributes have the same names."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    _optional: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Note which members may be left out."""
        cls._optional = tuple(name for name, field in cls.model_fields.items() if not field.is_required())

    def members(self) -> dict[str, object]:
        """Return every member, but not an ``optional`` one that is ``None``, false or an empty list."""
        members = dict(self.__dict__)
        for name in self._optional:
            if members[name] in _NOTHING:
                del members[name]
        return members


class RedactedView(View):
    """A view that shows some of its members in full only to callers with the scope ``payloads``."""

    def visible_to(self, caller: Caller) -> Self:
        """Return what ``caller`` may see; what stands in for the rest does not depend on what is hidden."""
        return self if caller.may(KeyScope.PAYLOADS) else self.model_copy(update=self.redactions())

    def redactions(self) -> dict[str, object]:
        """Return the members that differ for callers without the scope."""
        return {}


class TaskContentView(RedactedView):
    """A view that shows what clients and handlers put into a task."""

    @override
    def redactions(self) -> dict[str, object]:
        return {**super().redactions(), "payload": None, "redacted": True}


def optional(description: str | None = None) -> Any:
    """Return the default of a member that is left out where it would say nothing."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def redacted() -> Any:
    """Return the default of the member that says that something is hidden from the caller."""
    return optional("Present where the key lacks the scope `payloads`: what is in the task is left out then.")


def answer(view: View, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``view`` as a JSON answer."""
    return Response(encode(view), status, headers, JSON)


def encode(view: View) -> bytes:
    """Return ``view`` as ASCII JSON."""
    return _ENCODER.encode(view).encode()


def _jsonable(value: object) -> object:
    match value:
        case View():
            return value.members()
        case datetime():
            return format_time(value)
        case timedelta():
            return in_seconds(value)
    message = f"{type(value).__name__} has no place in an answer"
    raise TypeError(message)


def _without_default(schema: JsonDict) -> None:
    schema.pop("default", None)


# Made once: making it takes as long as writing a short answer.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_jsonable)
