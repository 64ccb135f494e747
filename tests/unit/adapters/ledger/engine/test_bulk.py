"""Statements about many rows, in both dialects."""

import pytest

from mcp_queue.adapters.ledger.engine.bulk import Bulk, clean, columnwise

STATEMENT = Bulk({"id": "text", "count": "bigint"}, "SELECT tasks.id FROM batch JOIN tasks USING (id) {lock}")


def test_postgres_takes_one_array_for_each_column() -> None:
    """The statement's text is the same for any number of rows, and rows are locked."""
    assert (
        "WITH batch (id, count) AS (SELECT * FROM unnest($1::text[], $2::bigint[])) "
        "SELECT tasks.id FROM batch JOIN tasks USING (id) FOR UPDATE OF tasks"
    ) == STATEMENT.for_postgres()
    assert (["a", "b"], [1, 2]) == columnwise([("a", 1), ("b", 2)])


def test_sqlite_takes_one_value_after_the_other() -> None:
    """The transaction has locked the file: there is nothing to lock in the statement."""
    assert (
        "WITH batch (id, count) AS (VALUES (?, ?), (?, ?)) SELECT tasks.id FROM batch JOIN tasks USING (id) "
    ) == STATEMENT.for_sqlite(2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("", ""), ("plain", "plain"), ("ü€😀", "ü€😀"), ("a\0b", "a\ufffdb"), ("a\ud800b", "a?b")],
)
def test_characters_that_no_database_takes_are_replaced(text: str | None, expected: str | None) -> None:
    """All others stay."""
    assert expected == clean(text)
