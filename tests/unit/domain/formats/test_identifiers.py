"""Task ids."""

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.domain.formats.identifiers import uuid7

MOMENTS = st.integers(0, 2**48 - 1)
RANDOM = st.integers(0, 2**74 - 1)


@given(MOMENTS, RANDOM)
def test_id_is_a_uuid_of_version_7(unix_ms: int, random: int) -> None:
    """It has the version, the variant and the time where RFC 9562 wants them."""
    uuid = UUID(uuid7(unix_ms, random))
    assert (7, RFC_4122, unix_ms) == (uuid.version, uuid.variant, uuid.int >> 80)


@given(MOMENTS, RANDOM, RANDOM)
def test_later_ids_sort_after_earlier_ones(unix_ms: int, one: int, other: int) -> None:
    """As text too, which is how databases and logs sort them."""
    assert uuid7(max(0, unix_ms - 1), one) < uuid7(max(1, unix_ms), other)


@given(MOMENTS, RANDOM, RANDOM)
def test_every_random_bit_counts(unix_ms: int, one: int, other: int) -> None:
    """Two ids of one millisecond are the same only if their random bits are."""
    assert (one == other) == (uuid7(unix_ms, one) == uuid7(unix_ms, other))
