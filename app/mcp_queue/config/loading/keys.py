"""Loads the API keys of the gateway."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from math import ceil
from pathlib import Path

from pydantic import ValidationError

from mcp_queue.config.declaration import Section
from mcp_queue.config.loading.sources import parse_yaml
from mcp_queue.config.loading.validation import problems_of
from mcp_queue.config.schema.entries import KeyEntry
from mcp_queue.config.settings import Settings
from mcp_queue.domain.errors import ConfigError
from mcp_queue.domain.operators.keys import ApiKey, Caller
from mcp_queue.domain.operators.rates import RateLimit

_FILE = "GATEWAY_API_KEYS_FILE"
_SECTION = "gateway"


class _KeyList(Section):
    keys: tuple[KeyEntry, ...]


def load_keys(settings: Settings) -> tuple[ApiKey, ...] | None:
    """Return the keys that the gateway accepts; ``None`` if it asks for no key.

    With an empty list it asks for a key and accepts none.

    Raises:
        ConfigError: the list holds a mistake, or there is no list and the gateway is reachable from other machines.

    """
    gateway = settings.gateway
    if gateway.auth == "none":
        return None
    if gateway.keys is None and gateway.api_keys_file is None:
        problems = [] if _is_loopback(gateway.host) else [_exposed(gateway.host)]
        if gateway.metrics_auth:
            problems.append("GATEWAY_METRICS_AUTH: there is no API key that could be asked for")
        _refuse(problems)
        return None
    listed = gateway.keys or ()
    filed = () if gateway.api_keys_file is None else _read(gateway.api_keys_file)
    queues = {spec.public_name for spec in settings.queues}
    _refuse([*_problems(listed, _SECTION, queues), *_problems(filed, _FILE, queues), *_duplicates([*listed, *filed])])
    return tuple(_key(entry) for entry in (*listed, *filed))


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(problems)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _exposed(host: str) -> str:
    return (
        f"GATEWAY_HOST: on {host} others than this machine reach the gateway, and no API keys are configured; "
        f"name a file of keys in {_FILE}, or set GATEWAY_AUTH=none if something else decides who may come in"
    )


def _read(path: Path) -> tuple[KeyEntry, ...]:
    value = parse_yaml(path, _FILE)
    if not isinstance(value, list):
        raise ConfigError([f"{_FILE}: {path} holds no list of keys such as '- {{name: …, hash: …, scopes: […]}}'"])
    values = {"keys": value}
    try:
        return _KeyList.model_validate(values).keys
    except ValidationError as error:
        raise ConfigError([f"{_FILE}: {line}" for line in problems_of(error, _KeyList, values, {})]) from error


def _problems(entries: Sequence[KeyEntry], place: str, queues: Iterable[str]) -> Iterator[str]:
    for entry in entries:
        key = f"{place}.keys[{entry.name}]" if place == _SECTION else f"{place}: keys[{entry.name}]"
        for name in sorted({*(entry.queues or ())} - {*queues}):
            yield f"{key}.queues: {name!r} is no queue"
        if entry.burst is not None and entry.max_per_second is None:
            yield f"{key}.burst: max_per_second is missing"


def _duplicates(entries: Sequence[KeyEntry]) -> Iterator[str]:
    for digest, count in Counter(entry.hash for entry in entries).items():
        if count > 1:
            names = ", ".join(sorted({entry.name for entry in entries if entry.hash == digest}))
            yield f"keys[{names}].hash: {count} entries are for the same key"


def _key(entry: KeyEntry) -> ApiKey:
    queues = None if entry.queues is None else frozenset(entry.queues)
    return ApiKey(
        caller=Caller(entry.name, frozenset(entry.scopes), queues),
        digest=bytes.fromhex(entry.hash.removeprefix("sha256:")),
        expires_at=entry.expires_at,
        rate_limit=_rate_limit(entry),
    )


def _rate_limit(entry: KeyEntry) -> RateLimit | None:
    if entry.max_per_second is None:
        return None
    return RateLimit(entry.max_per_second, entry.burst or ceil(entry.max_per_second))
