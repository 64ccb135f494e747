"""How a file of tasks is cut into batches."""

from io import BytesIO

from mcp_queue.cli.client.enqueue_file import MAX_BYTES, MAX_TASKS, Line, batches_of, lines_of


def test_lines_keep_their_numbers() -> None:
    """Blank lines are skipped but counted, so that a number leads to the line in an editor."""
    lines = list(lines_of(BytesIO(b'{"a": 1}\n\n  \r\n{"b": 2}')))

    assert [(1, b'{"a": 1}'), (4, b'{"b": 2}')] == [(line.number, line.text) for line in lines]


def test_a_line_that_no_request_takes_is_passed_over_without_being_kept() -> None:
    """The lines behind it are still found."""
    lines = list(lines_of(BytesIO(b"x" * (MAX_BYTES + 5) + b"\n{}\n")))

    assert [Line(1, None, MAX_BYTES + 6), Line(2, b"{}", 3)] == lines


def test_a_line_of_exactly_the_limit_is_taken() -> None:
    """The limit itself is allowed."""
    (line,) = lines_of(BytesIO(b"x" * MAX_BYTES))

    assert line.text is not None


def test_batches_are_bounded_by_number_and_by_size() -> None:
    """Whichever limit comes first ends a batch; a line that is too long for any stands alone."""
    small = Line(1, b"{}", 3)
    large = Line(2, b"x", MAX_BYTES // 2)
    huge = Line(3, None, MAX_BYTES * 2)

    batches = list(batches_of(iter([small] * (MAX_TASKS + 1) + [large, large, huge, small])))

    assert [MAX_TASKS, 2, 1, 1, 1] == [len(batch) for batch in batches]


def test_a_batch_goes_out_before_the_next_one_is_read() -> None:
    """A file of any length needs the memory of one batch."""
    stream = BytesIO(b"{}\n" * (3 * MAX_TASKS))

    next(batches_of(lines_of(stream)))

    assert (MAX_TASKS + 1) * 3 == stream.tell()
