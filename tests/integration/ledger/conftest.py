"""A server that tests may stop."""

from collections.abc import Iterator

import pytest

from bench.postgres import PostgresServer, postgres_server
from tests.support.ledger import migrated_database


@pytest.fixture(scope="session")
def stoppable_server() -> Iterator[PostgresServer]:
    """A server beside the one that the other tests share."""
    with postgres_server() as running:
        yield running


@pytest.fixture
def server(stoppable_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that runs, whatever the test before has done to it."""
    yield stoppable_server
    stoppable_server.start()


@pytest.fixture
async def url(server: PostgresServer) -> str:
    """The URL of a migrated database of that server."""
    return server.url(await migrated_database(server))
