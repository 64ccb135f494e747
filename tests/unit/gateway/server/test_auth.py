"""Authentication, scopes, bound keys and rates."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.operators.rates import RateLimit
from mcp_queue.gateway.server.auth import Authenticator
from mcp_queue.gateway.server.routing import RawRoute
from tests.support.clock import START
from tests.support.gateway import GatewayKit, api_key, bearer
from tests.support.http.application import call

TASKS = "/v1/queues/tasks/tasks"
ORDERS = "/v1/queues/orders/tasks"
TASK = {"type": "echo"}
EVERY_SCOPE = tuple(KeyScope)


def guarded(*keys: object, **options: bool) -> GatewayKit:
    """Return a gateway that asks for one of ``keys``."""
    return GatewayKit(authenticator=Authenticator(keys, **options))  # type: ignore[arg-type]  # each is an ApiKey


def routes(kit: GatewayKit) -> Iterator[tuple[str, str, RawRoute]]:
    """Yield method, path and route of everything below ``/v1``."""
    for route in kit.app.routes:
        if isinstance(route, RawRoute) and route.path.startswith("/v1/"):
            for method in route.methods or ():
                yield method, route.path, route


def filled(path: str) -> str:
    """Return ``path`` with something in the place of its parameters."""
    for parameter in ("{queue}", "{task_id}", "{redrive_id}", "{name}", "{name:path}"):
        path = path.replace(parameter, "tasks")
    assert "{" not in path
    return path


def test_every_route_declares_its_scope(kit: GatewayKit) -> None:
    """A route without one would be for admins only, and undocumented."""
    undeclared = [f"{method} {path}" for method, path, route in routes(kit) if route.key_scope is None]

    assert [] == undeclared
    assert len(list(routes(kit))) > 20


def test_documented_scope_is_the_one_that_is_checked(kit: GatewayKit) -> None:
    """Swagger UI has an Authorize button, and each operation says what its key needs."""
    document = kit.app.openapi()

    assert {"bearer", "apiKey"} == set(document["components"]["securitySchemes"])
    for method, path, route in routes(kit):
        operation = document["paths"][path.replace(":path", "")][method.lower()]
        assert [{"bearer": [route.key_scope]}, {"apiKey": [route.key_scope]}] == operation["security"]
        assert {"401", "403", "429"} <= operation["responses"].keys()


async def test_no_route_is_open_without_a_key() -> None:
    """Each answers 401 with a challenge, whatever else would be wrong with the request."""
    kit = guarded(api_key("secret", *EVERY_SCOPE))

    for method, path, _ in routes(kit):
        answer = await call(kit.app, method, filled(path))
        assert (401, "unauthenticated") == (answer.status, answer.json()["code"]), path
        assert 'Bearer realm="mcp-queue"' == answer.headers["www-authenticate"]


@pytest.mark.parametrize("scope", KeyScope)
async def test_route_opens_to_its_own_scope_alone(scope: KeyScope) -> None:
    """With another scope it is 403, and the answer says which is missing; admin opens all."""
    kit = guarded(api_key("secret", scope))

    for method, path, route in routes(kit):
        answer = await call(kit.app, method, filled(path), headers=bearer("secret"))
        if scope in {route.key_scope, KeyScope.ADMIN}:
            assert 403 != answer.status, path
        else:
            assert (403, "forbidden") == (answer.status, answer.json()["code"]), path
            assert f"'{route.key_scope}'" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/nothing", "/nothing", "/", "/V1/queues", "//v1/queues", "/healthz/", "/docs/x"]
)
async def test_what_is_not_there_is_hidden_too(path: str) -> None:
    """Without a key the answer does not say which paths there are; with one it is 404."""
    kit = guarded(api_key("secret", *EVERY_SCOPE))

    assert 401 == (await call(kit.app, "GET", path)).status
    assert 404 == (await call(kit.app, "GET", path, headers=bearer("secret"))).status


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer secret"},
        {"Authorization": "bearer   secret"},
        {"X-API-Key": "secret"},
        {"Authorization": "Basic dXNlcjpwYXNz", "X-API-Key": "secret"},
    ],
)
async def test_key_comes_in_either_header(headers: dict[str, str]) -> None:
    """As a bearer token, or on its own where the other header is taken by something in front."""
    kit = guarded(api_key("secret", KeyScope.ENQUEUE))

    assert 202 == (await call(kit.app, "POST", TASKS, json=TASK, headers=headers)).status


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer other"},
        {"Authorization": "Bearer secret2"},
        {"Authorization": "Bearer SECRET"},
        {"Authorization": "Bearer"},
        {"Authorization": "secret"},
        {"Authorization": "Basic secret"},
        {"Authorization": "Bearer other", "X-API-Key": "secret"},
        {"X-API-Key": ""},
        {"X-API-Key": "Bearer secret"},
        {"X-API-Key": "sécret"},
        {"Cookie": "key=secret"},
    ],
)  # fmt: skip
async def test_anything_else_is_no_key(headers: dict[str, str]) -> None:
    """A wrong key, half a key, a key in another place: 401."""
    kit = guarded(api_key("secret", KeyScope.ENQUEUE))

    answer = await call(kit.app, "POST", TASKS, json=TASK, headers=headers)

    assert (401, "unauthenticated") == (answer.status, answer.json()["code"])
    assert 0 == (await kit.tasks.stats()).approximate_messages


async def test_wrong_key_is_told_apart_from_none() -> None:
    """The challenge says that the token is invalid (RFC 6750); no answer repeats what was sent."""
    kit = guarded(api_key("secret", KeyScope.ENQUEUE))

    answer = await call(kit.app, "GET", "/v1/queues", headers=bearer("c2VjcmV0"))

    assert 'Bearer realm="mcp-queue", error="invalid_token"' == answer.headers["www-authenticate"]
    assert b"c2VjcmV0" not in answer.body


async def test_expired_key_counts_no_more() -> None:
    """Until its moment it counts, from then on it is like any other wrong one."""
    kit = guarded(api_key("secret", KeyScope.READ, expires_at=START + timedelta(hours=1)))

    assert 200 == (await call(kit.app, "GET", "/v1/queues", headers=bearer("secret"))).status
    await kit.clock.advance(timedelta(hours=1))
    assert 401 == (await call(kit.app, "GET", "/v1/queues", headers=bearer("secret"))).status


async def test_keys_change_without_a_restart() -> None:
    """A key counts while it is in the list; an empty list refuses every request."""
    authenticator = Authenticator([api_key("old", KeyScope.READ)])
    kit = GatewayKit(authenticator=authenticator)

    async def statuses() -> list[int]:
        return [(await call(kit.app, "GET", "/v1/queues", headers=bearer(key))).status for key in ("old", "new")]

    assert [200, 401] == await statuses()
    authenticator.change_keys([api_key("old", KeyScope.READ), api_key("new", KeyScope.READ)])
    assert [200, 200] == await statuses()
    authenticator.change_keys([])
    assert [401, 401] == await statuses()


async def test_no_keys_let_everybody_in(kit: GatewayKit) -> None:
    """A key that is sent all the same does no harm."""
    assert 202 == (await call(kit.app, "POST", TASKS, json=TASK)).status
    assert 202 == (await call(kit.app, "POST", TASKS, json=TASK, headers=bearer("any"))).status


async def test_service_paths_are_open_unless_they_are_guarded() -> None:
    """Health and metrics answer without a key, or with one that may read where the gateway guards them too."""
    paths = ("/healthz", "/readyz", "/metrics")
    key = api_key("secret", KeyScope.READ)
    open_kit, closed_kit = guarded(key), guarded(key, guards_service=True)

    for path in paths:
        assert 200 == (await call(open_kit.app, "GET", path)).status
        assert 401 == (await call(closed_kit.app, "GET", path)).status
        assert 200 == (await call(closed_kit.app, "GET", path, headers=bearer("secret"))).status
        closed_kit.authenticator.change_keys([api_key("enqueuer", KeyScope.ENQUEUE), key])
        assert 403 == (await call(closed_kit.app, "GET", path, headers=bearer("enqueuer"))).status


async def test_contract_is_open() -> None:
    """Swagger UI shows itself before a key is put into it; there is no secret in the contract."""
    kit = guarded(api_key("secret", KeyScope.READ))

    assert [200, 200] == [(await call(kit.app, "GET", path)).status for path in ("/docs", "/openapi.json")]


async def test_request_without_a_key_costs_no_memory() -> None:
    """Nothing of a body is read before its key is known: the 401 comes while it is still to be sent."""
    kit = guarded(api_key("secret", KeyScope.ENQUEUE))

    answer = await call(kit.app, "POST", TASKS, content=[b"{", None], headers={"Expect": "100-continue"})

    assert (401, "close") == (answer.status, answer.headers["connection"])


async def test_bound_key_reaches_no_other_queue() -> None:
    """Neither one that is there nor one that is not: 403 tells nothing."""
    kit = guarded(api_key("secret", KeyScope.ADMIN, queues={"tasks"}))

    assert 202 == (await call(kit.app, "POST", TASKS, json=TASK, headers=bearer("secret"))).status
    for method, path, _ in routes(kit):
        if "{queue}" in path:
            for queue in ("orders", "nothing"):
                there = path.replace("{queue}", queue)
                answer = await call(kit.app, method, filled(there), headers=bearer("secret"))
                assert (403, "forbidden") == (answer.status, answer.json()["code"]), there
    assert 0 == (await kit.orders.stats()).approximate_messages


async def test_bound_key_sees_its_queues_in_lists() -> None:
    """The others are left out, and so are their dead-letter queues."""
    kit = guarded(api_key("secret", KeyScope.READ, queues={"tasks", "work"}))

    answer = await call(kit.app, "GET", "/v1/queues", headers=bearer("secret"))

    assert ["tasks", "work"] == [queue["name"] for queue in answer.json()["queues"]]


async def test_rate_of_a_key_is_kept() -> None:
    """What is too much is 429 and says when to come back; other keys are served meanwhile."""
    limited = api_key("limited", KeyScope.ENQUEUE, rate_limit=RateLimit(per_second=0.5, burst=2))
    kit = guarded(limited, api_key("other", KeyScope.ENQUEUE))

    answers = [await call(kit.app, "POST", TASKS, json=TASK, headers=bearer("limited")) for _ in range(3)]
    assert [202, 202, 429] == [answer.status for answer in answers]
    assert ['"key";q=2;w=4'] * 3 == [answer.headers["ratelimit-policy"] for answer in answers]
    assert ['"key";r=1;t=2', '"key";r=0;t=4', '"key";r=0;t=4'] == [answer.headers["ratelimit"] for answer in answers]
    assert ("rate_limited", True, "2") == (
        answers[2].json()["code"],
        answers[2].json()["retryable"],
        answers[2].headers["retry-after"],
    )
    free = await call(kit.app, "POST", TASKS, json=TASK, headers=bearer("other"))
    assert (202, False) == (free.status, "ratelimit" in free.headers)
    await kit.clock.advance(timedelta(seconds=2))
    assert 202 == (await call(kit.app, "POST", TASKS, json=TASK, headers=bearer("limited"))).status


async def test_reload_does_not_fill_the_buckets() -> None:
    """A key that stays as it is has used what it has used; one with a new limit begins anew."""
    slow, fast = RateLimit(per_second=0.1, burst=1), RateLimit(per_second=10, burst=10)
    kit = guarded(api_key("secret", KeyScope.READ, rate_limit=slow))

    async def status() -> int:
        return (await call(kit.app, "GET", "/v1/queues", headers=bearer("secret"))).status

    assert [200, 429] == [await status(), await status()]
    kit.authenticator.change_keys([api_key("secret", KeyScope.READ, rate_limit=slow)])
    assert 429 == await status()
    kit.authenticator.change_keys([api_key("secret", KeyScope.READ, rate_limit=fast)])
    assert 200 == await status()


async def test_refused_request_with_a_body_ends_its_connection() -> None:
    """One without a body leaves the connection to the next request."""
    kit = guarded(api_key("secret", KeyScope.READ))

    with_body, without = await call(kit.app, "POST", TASKS, json=TASK), await call(kit.app, "GET", "/v1/queues")

    assert ("close", None) == (with_body.headers.get("connection"), without.headers.get("connection"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:8080"}, 200),
        ({"Host": "127.1.2.3"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({}, 200),
        ({"Host": "attacker.example:8080"}, 403),
        ({"Host": "localhost.attacker.example"}, 403),
        ({"Host": "127.0.0.1.attacker.example"}, 403),
        ({"Host": "localhost:8080", "Origin": "https://attacker.example"}, 403),
        ({"Host": "localhost:8080", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:8080", "Origin": "null"}, 403),
        ({"Host": "localhost:8080", "Sec-Fetch-Site": "none"}, 200),
        ({"Host": "localhost:8080", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "localhost:8080", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "localhost:8080", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_pages_in_a_browser_do_not_come_in_without_a_key(headers: dict[str, str], status: int) -> None:
    """Neither from their own site, nor by a name of theirs that leads to this machine (DNS rebinding)."""
    kit = GatewayKit(authenticator=Authenticator(local=True))

    assert status == (await call(kit.app, "POST", "/v1/queues/tasks/pause", headers=headers)).status


async def test_keys_open_every_name_of_the_machine() -> None:
    """A page has no key, so that its origin does not matter any more."""
    kit = GatewayKit(authenticator=Authenticator([api_key("secret", KeyScope.READ)], local=True))
    headers = {"Host": "gateway.example.com", "Origin": "https://other.example", **bearer("secret")}

    assert 200 == (await call(kit.app, "GET", "/v1/queues", headers=headers)).status
