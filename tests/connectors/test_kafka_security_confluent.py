"""The other client library passes the same doors, and says as well why it is not let in."""

from __future__ import annotations

import pytest
from conftest import all_on
from secure_broker import SecureBroker, TokenEndpoint
from test_kafka import message, reading, write
from test_kafka_security import endpoint as endpoint
from test_kafka_security import matches, own_certificate, refusals, tokens
from test_kafka_security import secure as secure

pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER", "certificate"])
def test_readings_pass_every_door_with_librdkafka(secure: SecureBroker, endpoint: TokenEndpoint, way: str) -> None:
    doors = {"OAUTHBEARER": tokens(secure, endpoint), "certificate": own_certificate(secure)}
    client = doors.get(way) or secure.client(way)
    plain, plant = secure.broker.servers, f"swift.{way}"
    write(plain, plant, [{"value": message(0)}, {"value": b"broken"}, {"value": message(2)}])
    with reading(client["bootstrap.servers"], plant, client=client, library="confluent") as reader:
        batch = reader.readings(2)
        assert batch.value.tolist() == [0, 2 / 8] and batch.counts["undecodable"] == 1
    assert all_on(plain, f"g.{plant}.dlq")[0].value == b"broken"


SAID = {  # librdkafka's words
    "password": "invalid credentials",
    "secret": "401|invalid_client|OIDC|token",
    "authority": "certificate verify failed",
    "expired": "certificate verify failed",
}


@pytest.mark.parametrize("what", list(SAID))
def test_who_is_not_let_in_is_told_why_by_librdkafka_too(
    secure: SecureBroker, endpoint: TokenEndpoint, what: str
) -> None:
    client, _ = refusals(secure, endpoint)[what]
    with reading(client["bootstrap.servers"], "plant", client=client, library="confluent") as reader:
        assert len(reader.until(lambda _: matches(SAID[what], reader.source.problem))) == 0
