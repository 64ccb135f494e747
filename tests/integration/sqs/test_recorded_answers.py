"""What the real SQS was recorded to answer, against the reading of errors, the batches and the calls on a queue."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from mcp_queue.adapters.sqs.api.errors import ERROR_MAPPINGS, canonical, error_of_response
from mcp_queue.domain.errors import BackendUnavailableError, InvalidTaskError, QueueError, VisibilityTimeoutError
from tests.support.aws.emulators import use_endpoint
from tests.support.aws.faults import Refuse, RefuseEntries, without_header
from tests.support.aws.recorded import EXPIRED_HANDLE, NO_QUEUE, PURGED_TWICE, RECORDED, TOO_LONG_ENTRY, Recorded
from tests.support.aws.scripted import scripted_queue
from tests.support.aws.wire import Answer, SqsError
from tests.support.clock import SECOND
from tests.support.tasks import a_task
from tests.support.tools import ROOT

#: What ``make test-aws`` writes.
ANSWERS = ROOT / "tests" / "aws" / "answers.json"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    use_endpoint(monkeypatch, "http://127.0.0.1:9")


def call_cells() -> list[object]:
    """Return each recorded answer of a whole call, with and without the header."""
    return [
        pytest.param(recorded, answer, id=f"{recorded.condition}, {name}")
        for recorded in RECORDED
        if not recorded.handle
        for name, answer in (
            ("with the header", recorded.error.answer()),
            ("without the header", recorded.error.answer(query_error=False)),
        )
    ]


@pytest.mark.parametrize(("recorded", "answer"), call_cells())
def test_a_recorded_answer_is_read_as_what_it_means(recorded: Recorded, answer: Answer) -> None:
    """By botocore's own parser, which shows the older code where the header is there."""
    response = {
        "status_code": answer.status,
        "body": answer.body,
        "headers": {name.lower(): value for name, value in answer.headers.items()},
    }
    parser: Any = create_parser("json")

    found, outcome = error_of_response(ClientError(parser.parse(response, None), "SendMessageBatch"))

    assert (recorded.becomes, recorded.outcome) == (_nearest(found, recorded.becomes), outcome)


def _nearest(found: QueueError, wanted: type[QueueError]) -> type[QueueError]:
    """Return ``wanted`` where ``found`` is one; a bare ``QueueError`` is only met by itself."""
    met = type(found) is wanted if wanted is QueueError else isinstance(found, wanted)
    return wanted if met else type(found)


@pytest.mark.parametrize("refuse", [Refuse, without_header], ids=["with the header", "without the header"])
class TestCalls:
    """Answers to calls as a queue sees them, over real connections."""

    async def test_a_send_to_a_missing_queue_is_the_operators_concern(
        self, refuse: Callable[[SqsError], Refuse]
    ) -> None:
        """The client may try later."""
        async with scripted_queue() as scripted:
            scripted.proxy.inject("SendMessageBatch", refuse(NO_QUEUE.error))
            with pytest.raises(BackendUnavailableError, match="QueueDoesNotExist"):
                await scripted.queue.enqueue(a_task("t-1"))
        assert ["operator"] == scripted.metrics.outcomes("SendMessageBatch")

    async def test_a_second_purge_says_when_to_come_back(self, refuse: Callable[[SqsError], Refuse]) -> None:
        """The status is 403, which means no permission elsewhere."""
        async with scripted_queue() as scripted:
            scripted.proxy.inject("PurgeQueue", refuse(PURGED_TWICE.error))
            with pytest.raises(PURGED_TWICE.becomes):
                await scripted.queue.purge()
        assert ["throttled"] == scripted.metrics.outcomes("PurgeQueue")


def entry_cells(recorded: Recorded) -> list[object]:
    """Return the answer as an entry's, in both spellings."""
    return [pytest.param(error, id=error.code) for error in recorded.spellings]


class TestEntries:
    """Answers to one entry of a batch, whose call has HTTP 200."""

    @pytest.mark.parametrize("error", entry_cells(EXPIRED_HANDLE))
    async def test_a_delete_with_an_expired_handle_is_a_lost_lease(self, error: SqsError) -> None:
        """It is asked for once: further deletes with the same handle are useless."""
        async with scripted_queue(fifo=True) as scripted:
            delivery = await scripted.receive()
            scripted.proxy.inject("DeleteMessageBatch", RefuseEntries(error))
            with pytest.raises(VisibilityTimeoutError):
                await scripted.queue.complete(delivery)
        assert 1 == scripted.proxy.journal.count("DeleteMessageBatch")

    @pytest.mark.parametrize("error", entry_cells(EXPIRED_HANDLE))
    async def test_an_extension_with_an_expired_handle_is_a_lost_lease(self, error: SqsError) -> None:
        """The handler is stopped then."""
        async with scripted_queue(fifo=True) as scripted:
            delivery = await scripted.receive()
            scripted.proxy.inject("ChangeMessageVisibilityBatch", RefuseEntries(error))
            with pytest.raises(VisibilityTimeoutError):
                await scripted.queue.extend(delivery, SECOND)
        assert 1 == scripted.proxy.journal.count("ChangeMessageVisibilityBatch")

    @pytest.mark.parametrize("error", entry_cells(TOO_LONG_ENTRY))
    async def test_a_message_that_is_too_long_is_the_tasks_fault(self, error: SqsError) -> None:
        """Its client is told, and SQS is not asked again."""
        async with scripted_queue() as scripted:
            scripted.proxy.inject("SendMessageBatch", RefuseEntries(error))
            with pytest.raises(InvalidTaskError, match="Message must be shorter"):
                await scripted.queue.enqueue(a_task("t-1"))
        assert 1 == scripted.proxy.journal.count("SendMessageBatch")


@pytest.mark.skipif(not ANSWERS.exists(), reason="no answers of an account are here: make test-aws writes them")
def test_every_error_that_an_account_answered_has_a_meaning() -> None:
    """Those that the last run on a real account wrote down."""
    errors = [answer for answer in json.loads(ANSWERS.read_text()) if answer["status"] != 200]
    shapes = {str(answer["body"]["__type"]) for answer in errors}
    assert set() == {shape for shape in shapes if canonical(shape) not in ERROR_MAPPINGS}
