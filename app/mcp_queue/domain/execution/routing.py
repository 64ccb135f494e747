"""Says where tasks of a type are delivered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Tasks of ``type`` are delivered to ``callback_url``.

    ``name`` names the destination; without one it is the URL's scheme, host and port. ``timeout`` and ``secrets``
    replace the configured ones where they are given.
    """

    type: str
    callback_url: str
    name: str | None = None
    timeout: timedelta | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] | None = field(default=None, repr=False)
