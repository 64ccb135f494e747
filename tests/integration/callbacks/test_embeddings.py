"""The client of an embeddings endpoint, against a real server."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mcp_queue.adapters.callbacks.embeddings import OpenAIEmbeddings
from mcp_queue.domain.errors import PermanentError, RetryableError
from mcp_queue.ports import Embedding
from mcp_queue.testing import FakeClock
from tests.support.http.receiver import Answer, Receiver

PATH = "/v1/embeddings"
GOOD = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1, 1e-9]}],
    "model": "small-2026",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}


def answer(**members: object) -> Answer:
    """Return the endpoint's answer with other ``members``."""
    return Answer(headers={"Content-Type": "application/json"}, body=json.dumps({**GOOD, **members}))


@pytest.fixture
async def client(receiver: Receiver, clock: FakeClock) -> AsyncIterator[OpenAIEmbeddings]:
    """Open a client of the receiver, which lies on loopback as the operator chose."""
    limit = timedelta(seconds=5)
    async with OpenAIEmbeddings(receiver.url("/v1/"), "sk-1", clock, timeout=limit) as opened:
        yield opened


async def test_the_request_is_the_one_of_the_openai_api(client: OpenAIEmbeddings, receiver: Receiver) -> None:
    """Model, input and key."""
    receiver.script(PATH, answer())

    await client.embed("grün", "small")

    (arrived,) = receiver.requests
    assert ("POST", PATH) == (arrived.method, arrived.path)
    assert {"model": "small", "input": "grün"} == json.loads(arrived.body)
    assert ("Bearer sk-1", "application/json") == (arrived.headers["authorization"], arrived.headers["content-type"])


async def test_the_answer_is_vector_model_and_usage(client: OpenAIEmbeddings, receiver: Receiver) -> None:
    """The model is the one that answered; where none is named, the one that was asked."""
    receiver.script(PATH, answer(), answer(model=None, usage=None))

    expected = Embedding(model="small-2026", vector=[0.25, -1, 1e-9], usage={"prompt_tokens": 2, "total_tokens": 2})
    assert expected == await client.embed("a", "small")
    assert Embedding(model="small", vector=[0.25, -1, 1e-9]) == await client.embed("a", "small")


async def test_without_a_key_no_authorization_is_sent(receiver: Receiver, clock: FakeClock) -> None:
    """Local servers often need none."""
    receiver.script(PATH, answer())

    async with OpenAIEmbeddings(receiver.url("/v1"), None, clock) as client:
        await client.embed("a", "small")

    assert "authorization" not in receiver.requests[0].headers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_an_endpoint_that_cannot_now_is_retryable(
    client: OpenAIEmbeddings, receiver: Receiver, status: int
) -> None:
    """After the delay that it asks for."""
    receiver.script(PATH, Answer(status=status, headers={"Retry-After": "7"}))

    with pytest.raises(RetryableError, match=f"answered {status}$") as caught:
        await client.embed("a", "small")

    assert timedelta(seconds=7) == caught.value.delay


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422])
async def test_an_endpoint_that_refuses_is_final(client: OpenAIEmbeddings, receiver: Receiver, status: int) -> None:
    """The text, the model or the key is wrong."""
    receiver.script(PATH, Answer(status=status, headers={"Location": receiver.url("/elsewhere")}))

    with pytest.raises(PermanentError, match=f"answered {status}$"):
        await client.embed("a", "small")

    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "body",
    ["", "<html>", "null", "{}", '{"data": []}', '{"data": [{"embedding": []}]}', '{"data": [{"embedding": "AAAA"}]}'],
)
async def test_an_answer_without_an_embedding_is_retryable(
    client: OpenAIEmbeddings, receiver: Receiver, body: str
) -> None:
    """Something stood in for the endpoint."""
    receiver.script(PATH, Answer(body=body))

    with pytest.raises(RetryableError, match="answer"):
        await client.embed("a", "small")


async def test_an_answer_beyond_all_measure_is_not_read(client: OpenAIEmbeddings, receiver: Receiver) -> None:
    """No model has such vectors."""
    receiver.script(PATH, Answer(size=1024**3))

    with pytest.raises(PermanentError, match="more than 2097152 bytes"):
        await client.embed("a", "small")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(Answer(hang=True), r"did not answer within 0\.1 s"), (Answer(drop=True), "could not be reached")],
)
async def test_an_endpoint_that_does_not_answer_is_retryable(
    receiver: Receiver, clock: FakeClock, trouble: Answer, reason: str
) -> None:
    """It may be starting, or busy."""
    receiver.script(PATH, trouble)

    async with OpenAIEmbeddings(receiver.url("/v1"), None, clock, timeout=timedelta(seconds=0.1)) as client:
        with pytest.raises(RetryableError, match=reason):
            await client.embed("a", "small")


async def test_without_an_endpoint_the_reason_names_the_setting(clock: FakeClock) -> None:
    """It is what the operator has to set."""
    async with OpenAIEmbeddings(None, None, clock) as client:
        with pytest.raises(PermanentError, match="EMBEDDING_BASE_URL is not set"):
            await client.embed("a", "small")
