"""Validates data from outside with pydantic, and explains what is wrong in plain words."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mcp_queue.domain.errors import FieldError, InvalidTaskError

AnyModel = TypeVar("AnyModel", bound=BaseModel)
Location = tuple[str | int, ...]

#: More mistakes than this are counted instead of listed: an answer must not grow with the request.
MAX_ERRORS = 20
#: Longest name from a request that is repeated in an answer.
MAX_NAME = 128


def validated(model: type[AnyModel], value: object, loc: Location = ("body",)) -> AnyModel:
    """Return ``value``, which stands at ``loc`` of the request, as a ``model``.

    Raises:
        InvalidTaskError: it does not fit; ``errors`` names each wrong member.

    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(*_field_errors(error, loc)) from error


def invalid(*errors: FieldError) -> InvalidTaskError:
    """Return the error that tells the first of ``errors`` to people: ``payload.text: Field required``."""
    first = errors[0]
    where = ".".join(str(part) for part in first.loc[1:]) or str(first.loc[0])
    return InvalidTaskError(f"{where}: {first.msg}", errors)


def _field_errors(error: ValidationError, loc: Location) -> tuple[FieldError, ...]:
    count = error.error_count()
    if count > MAX_ERRORS:
        return (FieldError(loc, f"{count} members are wrong"),)
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return tuple(FieldError((*loc, *map(_shortened, detail["loc"])), _message(detail["msg"])) for detail in details)


def _shortened(part: str | int) -> str | int:
    return part[:MAX_NAME] if isinstance(part, str) else part


_MESSAGES = {"Extra inputs are not permitted": "there is no such member"}


def _message(text: str) -> str:
    return _MESSAGES.get(text, text.removeprefix("Value error, "))
