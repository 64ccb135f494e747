"""The calls that go past botocore, held against botocore: what is sent, what an answer becomes, what is raised."""

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import xform_name
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqs.api.client import ClientFactory, SqsClient
from mcp_queue.adapters.sqs.api.errors import error_of_response
from mcp_queue.domain.errors import QueueError
from tests.support.aws.emulators import use_endpoint
from tests.support.aws.recorded import RECORDED
from tests.support.aws.recorder import ACCESS_KEY, SECRET_KEY, Recorder, Seen, recorder
from tests.support.aws.wire import CONTENT_TYPE, Answer
from tests.support.metrics import CountedCalls

#: What botocore sends beside. It tells AWS about the client and its tries, and changes no answer but by the query mode,
#: which asks for the older code of an error.
ONLY_BOTOCORE = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request", "x-amzn-query-mode"}
URL = "https://sqs.eu-central-1.amazonaws.com/111122223333/work"
OK = Answer(200, {"Content-Type": CONTENT_TYPE}, b"{}")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a caller gets: an answer or an error."""

    answer: Json | None = None
    error: tuple[type[QueueError], str] | None = None


class Pair:
    """The product's client, which calls past botocore, and botocore's own, on one recording server."""

    def __init__(self, runner: asyncio.Runner, server: Recorder, ours: SqsClient, botocore: Any) -> None:
        """Call on ``runner``."""
        self._runner = runner
        self._ours = ours
        self._botocore = botocore
        self.server = server

    def send(self, operation: str, parameters: Json, answer: Answer = OK) -> tuple[Seen, Seen]:
        """Make a call in both ways; return what the server saw, ours first."""
        self.compare(operation, parameters, answer)
        ours, theirs = self.server.seen
        return ours, theirs

    def compare(self, operation: str, parameters: Json, answer: Answer) -> tuple[Outcome, Outcome]:
        """Make a call in both ways; return what callers got, ours first."""
        self.server.answer = answer
        self.server.seen.clear()
        return self._runner.run(self._both(operation, parameters))

    async def _both(self, operation: str, parameters: Json) -> tuple[Outcome, Outcome]:
        try:
            ours = Outcome(dict(await self._ours.call(operation, parameters)))
        except QueueError as error:
            ours = Outcome(error=(type(error), str(error)))
        try:
            answer = await getattr(self._botocore, xform_name(operation))(**parameters)
            theirs = Outcome({name: value for name, value in answer.items() if name != "ResponseMetadata"})
        except ClientError as error:
            translated, _ = error_of_response(error)
            theirs = Outcome(error=(type(translated), str(translated)))
        return ours, theirs


@pytest.fixture(params=[None, "a/session+token=="], ids=["keys", "keys and token"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Provide both clients, with lasting and with passing credentials."""
    use_endpoint(monkeypatch, "http://127.0.0.1:9", region="eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    if request.param is not None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", request.param)

    async def open_both(stack: AsyncExitStack) -> tuple[Recorder, SqsClient, Any]:
        server = await stack.enter_async_context(recorder())
        factory = ClientFactory(
            region=None, endpoint_url=server.url, metrics=CountedCalls(), clock=SystemClock(), random=lambda: 0.5
        )
        ours = await factory.client(connections=1, retry=False)
        stack.push_async_callback(ours.aclose)
        await ours.call("PurgeQueue", {"QueueUrl": URL})  # by botocore: it shows where SQS is
        config = AioConfig(retries={"total_max_attempts": 1})
        botocore = await stack.enter_async_context(
            AioSession().create_client("sqs", endpoint_url=server.url, config=config)
        )
        return server, ours, botocore

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield Pair(runner, *runner.run(open_both(stack)))
        finally:
            runner.run(stack.aclose())


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
names = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
attributes = st.dictionaries(
    names,
    st.one_of(
        texts.map(lambda text: {"DataType": "String", "StringValue": text}),
        st.integers().map(lambda number: {"DataType": "Number", "StringValue": str(number)}),
        st.binary(min_size=1, max_size=30).map(lambda value: {"DataType": "Binary", "BinaryValue": value}),
    ),
    max_size=3,
)
sends = st.fixed_dictionaries(
    {"Id": names, "MessageBody": texts, "MessageAttributes": attributes},
    optional={
        "DelaySeconds": st.integers(1, 900),
        "MessageGroupId": names,
        "MessageDeduplicationId": names,
    },
)
hides = st.fixed_dictionaries({"Id": names, "ReceiptHandle": texts, "VisibilityTimeout": st.integers(0, 43_200)})
polls = st.fixed_dictionaries(
    {
        "QueueUrl": st.just(URL),
        "MaxNumberOfMessages": st.integers(1, 10),
        "WaitTimeSeconds": st.integers(0, 20),
        "VisibilityTimeout": st.integers(0, 43_200),
        "MessageSystemAttributeNames": st.lists(st.sampled_from(["SentTimestamp", "MessageGroupId"]), min_size=1),
        "MessageAttributeNames": st.just(["All"]),
    }
)


def batch(entries: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return requests of a batch call."""
    listed = st.lists(entries, min_size=1, max_size=10)
    return listed.map(lambda found: {"QueueUrl": URL, "Entries": found})


requests = st.one_of(
    st.tuples(st.just("SendMessageBatch"), batch(sends)),
    st.tuples(st.just("DeleteMessageBatch"), batch(st.fixed_dictionaries({"Id": names, "ReceiptHandle": texts}))),
    st.tuples(st.just("ChangeMessageVisibilityBatch"), batch(hides)),
    st.tuples(st.just("ReceiveMessage"), polls),
    st.tuples(
        st.just("GetQueueAttributes"), st.just({"QueueUrl": URL, "AttributeNames": ["ApproximateNumberOfMessages"]})
    ),
    st.tuples(st.just("PurgeQueue"), st.just({"QueueUrl": URL})),
)
messages = st.fixed_dictionaries(
    {"MessageId": names, "ReceiptHandle": texts, "Body": texts, "MD5OfBody": names},
    optional={
        "Attributes": st.dictionaries(st.sampled_from(["SentTimestamp", "MessageGroupId"]), texts, min_size=1),
        "MessageAttributes": attributes,
    },
)
verdicts = st.fixed_dictionaries(
    {},
    optional={
        "Successful": st.lists(st.fixed_dictionaries({"Id": names, "MessageId": names}), max_size=3),
        "Failed": st.lists(
            st.fixed_dictionaries({"Id": names, "SenderFault": st.booleans(), "Code": names, "Message": texts}),
            max_size=3,
        ),
    },
)


def test_a_call_is_sent_as_botocore_sends_it(pair: Pair) -> None:
    """The same address, the same body, the headers that SQS reads, and a signature that holds for each."""

    @settings(max_examples=60, deadline=None)
    @given(requests)
    def holds(request: tuple[str, Json]) -> None:
        ours, theirs = pair.send(*request)
        assert (theirs.method, theirs.target) == (ours.method, ours.target)
        assert json.loads(theirs.body) == json.loads(ours.body)
        for name in ("host", "content-type", "x-amz-target", "x-amz-security-token"):
            assert theirs.headers.get(name) == ours.headers.get(name), name
        assert {name.lower() for name in theirs.headers} - {name.lower() for name in ours.headers} <= ONLY_BOTOCORE
        assert theirs.signature_holds()
        assert ours.signature_holds()
        assert {"host", "x-amz-date", "x-amz-target"} <= set(ours.signed_headers)

    holds()


def test_an_answer_becomes_what_botocore_makes_of_it(pair: Pair) -> None:
    """Except binary attributes, which stay base64 as they came."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(messages, max_size=3))
    def holds(found: list[Any]) -> None:
        ours, theirs = pair.compare("ReceiveMessage", {"QueueUrl": URL}, _answer({"Messages": found}))
        assert ours.answer is not None
        assert theirs.answer == {**ours.answer, "Messages": [_decoded(message) for message in ours.answer["Messages"]]}

    holds()


def test_verdicts_become_what_botocore_makes_of_them(pair: Pair) -> None:
    """Those of a batch's entries, good and bad."""

    @settings(max_examples=40, deadline=None)
    @given(verdicts)
    def holds(answer: Json) -> None:
        entries = [{"Id": "0", "MessageBody": "x"}]
        ours, theirs = pair.compare("SendMessageBatch", {"QueueUrl": URL, "Entries": entries}, _answer(answer))
        assert theirs == ours

    holds()


def test_an_error_becomes_what_botocore_makes_of_it(pair: Pair) -> None:
    """The same error with the same words, whether SQS sends the older code too or not."""
    entries = [{"Id": "0", "ReceiptHandle": "h"}]
    for recorded in RECORDED:
        for query_error in (True, False):
            answer = recorded.error.answer(query_error=query_error)
            ours, theirs = pair.compare("DeleteMessageBatch", {"QueueUrl": URL, "Entries": entries}, answer)
            assert theirs == ours, recorded.condition


def test_an_error_is_not_asked_for_twice(pair: Pair) -> None:
    """One request of ours, one of botocore's."""
    pair.compare("PurgeQueue", {"QueueUrl": URL}, RECORDED[0].error.answer())
    assert 2 == len(pair.server.seen)


def _answer(body: Json) -> Answer:
    text = json.dumps(body, default=lambda value: base64.b64encode(value).decode())
    return Answer(200, {"Content-Type": CONTENT_TYPE}, text.encode())


def _decoded(message: Json) -> Json:
    if "MessageAttributes" not in message:
        return message
    values = {
        name: {**value, "BinaryValue": base64.b64decode(value["BinaryValue"])} if "BinaryValue" in value else value
        for name, value in message["MessageAttributes"].items()
    }
    return {**message, "MessageAttributes": values}
