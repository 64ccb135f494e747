"""Answers that are built from their schemas."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from mcp_queue.gateway.answers import AnyJson, Seconds, View, encode, optional
from tests.support.clock import START


class Inner(View):
    """A view inside another one."""

    at: datetime
    duration: Seconds | None


class Outer(View):
    """A view with every kind of member."""

    inner: list[Inner]
    content: AnyJson
    note: str = optional()
    flag: bool = optional()
    errors: list[str] = optional()


def test_view_is_written_as_the_contract_says() -> None:
    """Times in UTC with microseconds, durations in seconds, text in ASCII, members in their order."""
    view = Outer(inner=[Inner(at=START, duration=timedelta(seconds=1.5))], content={"ä": None}, note="", flag=True)
    expected = (
        b'{"inner":[{"at":"2026-01-01T00:00:00.000000Z","duration":1.5}],'
        b'"content":{"\\u00e4":null},"note":"","flag":true}'
    )
    assert expected == encode(view)


def test_optional_members_are_left_out_where_they_say_nothing() -> None:
    """A member that is required is written even if it is null or empty."""
    view = Outer(inner=[], content=None, flag=False, errors=[])
    assert b'{"inner":[],"content":null}' == encode(view)


def test_whole_seconds_are_integers() -> None:
    """As on the enqueue path."""
    assert b'{"at":"2026-01-01T00:00:00.000000Z","duration":300}' == encode(
        Inner(at=START, duration=timedelta(minutes=5))
    )


def test_what_has_no_form_in_json_is_a_defect() -> None:
    """It fails instead of being written as something else."""
    content: Any = {1, 2}
    with pytest.raises(TypeError, match="set has no place"):
        encode(Outer(inner=[], content=content))


def test_view_is_built_from_an_object_with_the_same_names() -> None:
    """A member that is missing, or of another kind, is a defect."""
    assert Inner(at=START, duration=None) == Inner.model_validate(SimpleNamespace(at=START, duration=None))
    for wrong in (SimpleNamespace(at=START), SimpleNamespace(at=START, duration="long")):
        with pytest.raises(ValueError, match="duration"):
            Inner.model_validate(wrong)
