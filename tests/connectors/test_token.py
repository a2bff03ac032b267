"""Tokens by client credentials: kept, renewed in time, and what is said when there are none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from secure_broker import PASSWORD, USER, TokenEndpoint

from connectors.batch import SECOND
from connectors.clock import ReplayClock
from connectors.kafka.oauth import ClientCredentials, TokenError


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    made = TokenEndpoint()
    yield made
    made.close()


def credentials(endpoint: TokenEndpoint, clock: ReplayClock, secret: str = PASSWORD) -> ClientCredentials:
    return ClientCredentials(endpoint.url, USER, secret, "", clock)


def test_a_token_is_kept_until_most_of_its_life_is_over(endpoint: TokenEndpoint) -> None:
    clock, endpoint.life_s = ReplayClock(SECOND), 100
    made = credentials(endpoint, clock)
    first = made.token()
    clock.wait(79 * SECOND)
    assert made.token() == first and endpoint.asked == 1
    clock.wait(82 * SECOND)
    assert made.token() != first and endpoint.asked == 2


def test_an_endpoint_that_is_away_costs_nothing_until_the_token_ends(endpoint: TokenEndpoint) -> None:
    clock, endpoint.life_s = ReplayClock(SECOND), 100
    made = credentials(endpoint, clock)
    first = made.token()
    endpoint.status = 503
    clock.wait(90 * SECOND)
    assert made.token() == first and made.token() == first
    assert endpoint.asked == 2  # and not at once again
    clock.wait(102 * SECOND)
    with pytest.raises(TokenError, match="HTTP 503"):
        made.token()
    endpoint.status = 200
    clock.wait(108 * SECOND)
    assert made.token() != first


def test_a_wrong_secret_is_told_and_the_endpoint_not_asked_all_the_time(endpoint: TokenEndpoint) -> None:
    clock = ReplayClock(SECOND)
    made = credentials(endpoint, clock, "guess&=%")
    for _ in range(10):
        with pytest.raises(TokenError, match=r"/token: HTTP 401: invalid_client"):
            made.token()
    assert endpoint.asked == 1
    clock.wait(7 * SECOND)
    with pytest.raises(TokenError):
        made.token()
    assert endpoint.asked == 2


def test_nobody_there_is_told_by_name(endpoint: TokenEndpoint) -> None:
    endpoint.close()
    with pytest.raises(TokenError, match="refused"):
        credentials(endpoint, ReplayClock(SECOND)).token()


@pytest.mark.parametrize("url", ["keycloak/token", "ftp://a/token", "https://", "file:///etc/passwd"])
def test_an_endpoint_is_an_address_of_the_web(url: str) -> None:
    with pytest.raises(ValueError, match="http or https"):
        ClientCredentials(url, "i", "s", "", ReplayClock())
