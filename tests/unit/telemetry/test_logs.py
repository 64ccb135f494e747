"""Log lines."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider

from mcp_queue.services.log_context import log_fields
from mcp_queue.telemetry.logs import MAX_TEXT, LogFormat, configure_logging

logger = logging.getLogger("mcp_queue.test")


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Give the process its own logging back after each test."""
    loggers = [logging.getLogger(name) for name in (None, "mcp_queue", "shop")]
    levels, handlers = [each.level for each in loggers], loggers[0].handlers[:]
    yield
    loggers[0].handlers[:] = handlers
    for each, level in zip(loggers, levels, strict=True):
        each.setLevel(level)


class Terminal(io.StringIO):
    """A stream that a person watches."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def configured(style: LogFormat = "json", level: str = "info") -> io.StringIO:
    """Set logging up and return what it writes to."""
    stream = io.StringIO()
    configure_logging(level, style, stream)
    return stream


def test_a_line_is_one_json_object_with_its_fields() -> None:
    """What is bound to the attempt, what the call adds, and when, where and how bad."""
    stream = configured()

    with log_fields(task_id="1", task_type="echo", queue="tasks"):
        logger.warning("attempt %d failed", 2, extra={"attempt": 2, "trace_id": "t"})

    entry = json.loads(stream.getvalue())
    assert entry.pop("ts").endswith("Z")
    assert {
        "level": "warning",
        "logger": "mcp_queue.test",
        "message": "attempt 2 failed",
        "task_id": "1",
        "task_type": "echo",
        "queue": "tasks",
        "attempt": 2,
        "trace_id": "t",
    } == entry


def test_a_line_inside_a_span_carries_its_trace() -> None:
    """So that logs and traces lead to each other."""
    stream = configured()

    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("s") as span:
        logger.info("inside")

    expected = f"{span.get_span_context().trace_id:032x}"
    assert expected == json.loads(stream.getvalue())["trace_id"]


def test_an_exception_is_one_field() -> None:
    """Its traceback does not spread over lines."""
    stream = configured()

    logger.error("failed", exc_info=LookupError("first\nsecond"))

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"].endswith("LookupError: first\nsecond")


FORGED = 'x\n{"level":"info","message":"all is well"}\r\x1b[2J\u2028\x85\ud800'


@pytest.mark.parametrize("style", ["json", "text"])
def test_control_characters_from_outside_forge_no_line(style: LogFormat) -> None:
    """In the message, in a field or in its name."""
    stream = configured(style)

    logger.warning("task %s", FORGED, extra={"task_type": FORGED, FORGED: "name"})

    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert text.isascii()
    assert not any(character < " " for character in text.rstrip("\n"))


def test_an_exceptions_text_forges_no_line_of_text() -> None:
    """Its lines are indented and hold no control characters."""
    stream = configured("text")

    logger.error("failed", exc_info=LookupError(FORGED))

    first, *others = stream.getvalue().splitlines()
    assert first.endswith("error   mcp_queue.test: failed")
    assert others
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in stream.getvalue()


def test_text_shows_the_fields_behind_the_message() -> None:
    """Quoted where they hold a space."""
    stream = configured("text")

    logger.info("done", extra={"task_id": "1", "reason": "no answer"})

    assert stream.getvalue().endswith(' info    mcp_queue.test: done task_id=1 reason="no answer"\n')


def test_auto_is_text_on_a_terminal_and_json_elsewhere() -> None:
    """A person reads the one, a collector the other."""
    terminal, pipe = Terminal(), io.StringIO()

    configure_logging("info", "auto", terminal)
    logger.info("hello")
    configure_logging("info", "auto", pipe)
    logger.info("hello")

    assert "mcp_queue.test: hello" in terminal.getvalue()
    assert json.loads(pipe.getvalue())["message"] == "hello"


def test_debug_is_for_the_product_and_not_for_libraries() -> None:
    """Libraries write bodies and credentials when they debug."""
    stream = io.StringIO()
    configure_logging("debug", "text", stream, packages=("mcp_queue", "shop"))

    logger.debug("ours")
    logging.getLogger("shop.handlers").debug("the project's")
    logging.getLogger("botocore").debug("a payload")

    assert ["ours", "project's"] == [line.split()[-1] for line in stream.getvalue().splitlines()]


def test_a_higher_level_is_for_everybody() -> None:
    """Errors only means errors only."""
    stream = configured("text", "error")

    logger.warning("ours")
    logging.getLogger("uvicorn").warning("theirs")

    assert stream.getvalue() == ""


def test_an_unknown_level_is_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="LOUD"):
        configured(level="loud")


@pytest.mark.parametrize("style", ["json", "text"])
def test_texts_are_cut_before_they_are_logged(style: LogFormat) -> None:
    """An exception may quote a whole payload; its type and both ends of its text remain."""
    stream, huge = configured(style), "\0" * 1_000_000
    error = KeyError("begins " + huge + " ends")
    error.__cause__ = ValueError("first " + huge)

    logger.error("a message %s", huge, exc_info=error, extra={"field": huge})

    written = stream.getvalue()
    assert len(written) < 1_000_000
    assert all(part in written for part in ("ValueError: first", "KeyError: 'begins", "ends'", "characters"))


def test_a_chain_of_exceptions_is_cut_too() -> None:
    """Each of them quotes something."""
    stream, error = configured(), ValueError("first")
    for _ in range(100):
        following = ValueError("x" * MAX_TEXT)
        following.__cause__ = error
        error = following

    logger.error("failed", exc_info=error)

    assert len(stream.getvalue()) < 100_000
