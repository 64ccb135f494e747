"""Reads what the URL, the ARN or the name of a queue says about where it is."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_SUFFIX: Final = r"(?:amazonaws\.com|api\.aws|amazonaws\.com\.cn|api\.amazonwebservices\.com\.cn)"
#: Regional, FIPS, dual-stack and VPC endpoints, and the older form.
_HOST: Final = re.compile(
    rf"(?:.+\.)?sqs(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:vpce\.)?{_SUFFIX}|(?P<older>[a-z0-9-]+)\.queue\.{_SUFFIX}"
)


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """One queue. ``region`` and ``account`` are ``None`` where its address does not say them."""

    name: str
    region: str | None = None
    account: str | None = None

    def __str__(self) -> str:
        return f"{self.name!r} in region {self.region or 'unknown'}, account {self.account or 'unknown'}"

    def same_as(self, other: "QueueAddress") -> bool:
        """Return whether nothing that both say differs."""
        pairs = ((self.region, other.region), (self.account, other.account), (self.name, other.name))
        return all(one == two for one, two in pairs if one is not None and two is not None)


def address_of(text: str) -> QueueAddress:
    """Return what a queue's URL, ARN or name says. URLs of emulators say only the name."""
    if text.startswith("arn:"):
        region, account, name = text.split(":", 5)[3:]
        return QueueAddress(name, region or None, account or None)
    if "://" not in text:
        return QueueAddress(text)
    url = urlsplit(text)
    *path, name = url.path.split("/")
    found = _HOST.fullmatch(url.hostname or "")
    if found is None:
        return QueueAddress(name)
    return QueueAddress(name, found["region"] or found["older"], path[-1] or None)


def region_of(addresses: Iterable[str]) -> str | None:
    """Return the first region that one of ``addresses`` says."""
    return next((region for address in addresses if (region := address_of(address).region)), None)
