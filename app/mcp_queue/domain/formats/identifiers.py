"""Makes task ids: UUIDs of version 7, which sort by creation time (RFC 9562, section 5.7)."""


def uuid7(unix_ms: int, random: int) -> str:
    """Return the UUIDv7 of ``unix_ms``, milliseconds since 1970, and ``random``, of at least 74 bits."""
    high = random >> 62 & 0xFFF
    low = random & 0x3FFF_FFFF_FFFF_FFFF
    digits = f"{(unix_ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"
    # Every enqueue calls this, and uuid.UUID takes three times as long.
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
