"""TLS, passwords and tokens against a real broker: who is let in, and what is said to those who are not."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import free_port, require_java
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from secure_broker import KEY_PASSWORD, PASSWORD, USER, SecureBroker, TokenEndpoint
from test_kafka import message, read_back, reading, write

from connectors.kafka_client import consumer_settings
from connectors.kafka_compacted import StateTopicError
from connectors.kafka_probe import probe
from connectors.kafka_sink import KafkaSink
from connectors.kafka_state import StateTopic
from connectors.sink import SinkError

pytestmark = pytest.mark.kafka
OIDC = "sasl.oauthbearer."


@pytest.fixture(scope="module")
def endpoint() -> Iterator[TokenEndpoint]:
    made = TokenEndpoint()
    yield made
    made.close()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, endpoint: TokenEndpoint) -> Iterator[SecureBroker]:
    require_java()
    made = SecureBroker(tmp_path_factory.mktemp("secure"), endpoint)
    try:
        made.broker.start()
        yield made
    finally:
        made.broker.stop()


def tokens(secure: SecureBroker, endpoint: TokenEndpoint, **more: str) -> dict[str, str]:
    """What a client needs to be let in with a token."""
    client = secure.client("OAUTHBEARER")
    del client["sasl.username"], client["sasl.password"]
    told = {"method": "oidc", "client.id": USER, "client.secret": PASSWORD, "token.endpoint.url": endpoint.url, **more}
    return client | {OIDC + name: value for name, value in told.items()}


def own_certificate(secure: SecureBroker, **more: str) -> dict[str, str]:
    """What a client needs to be let in with a certificate of its own."""
    return {
        "bootstrap.servers": secure.servers("MUTUAL"), "security.protocol": "SSL", "ssl.ca.location": secure.ca,
        "ssl.certificate.location": secure.certificate, "ssl.key.location": secure.key,
        "ssl.key.password": KEY_PASSWORD, **more,
    }  # fmt: skip


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "certificate"])
def test_readings_dead_letters_and_alerts_pass_every_door(
    secure: SecureBroker, endpoint: TokenEndpoint, way: str
) -> None:
    doors = {"OAUTHBEARER": tokens(secure, endpoint), "certificate": own_certificate(secure)}
    client = doors.get(way) or secure.client(way)
    plain, plant = secure.broker.servers, f"plant.{way}"
    write(plain, plant, [{"value": message(0)}, {"value": b"broken"}, {"value": message(2)}])
    with reading(client["bootstrap.servers"], plant, client=client) as reader:
        batch = reader.readings(2)
        assert batch.value.tolist() == [0, 2 / 8] and batch.counts["undecodable"] == 1
    assert read_back(plain, f"g.{plant}.dlq", 1)[0].value == b"broken"
    sink = KafkaSink(f"alerts.{way}", client)
    sink.send([{"fingerprint": "f00d", "status": "firing"}])
    sink.close()
    assert read_back(plain, f"alerts.{way}", 1)[0].key == b"f00d"


def test_a_token_is_renewed_before_it_ends_and_extensions_go_along(
    secure: SecureBroker, endpoint: TokenEndpoint
) -> None:
    plain, plant = secure.broker.servers, "plant.renewed"
    write(plain, plant, [{"value": message(0)}])
    endpoint.life_s, endpoint.asked = 3, 0
    try:
        more = {"scope": "kafka readings", "extensions": "traceId=7,logicalCluster=plant"}
        client = tokens(secure, endpoint, **more)
        with reading(client["bootstrap.servers"], plant, client=client) as reader:
            reader.readings(1)
            end = time.monotonic() + 7
            while time.monotonic() < end:
                reader.poll(0.2)
                assert reader.source.problem is None
            write(plain, plant, [{"value": message(1)}])
            assert len(reader.readings(1)) == 1
    finally:
        endpoint.life_s = 3600
    assert 3 <= endpoint.asked < 12
    assert endpoint.forms[-1]["scope"] == ["kafka readings"]
    assert endpoint.forms[-1]["grant_type"] == ["client_credentials"]


def refusals(secure: SecureBroker, endpoint: TokenEndpoint) -> dict[str, tuple[dict[str, str], str]]:
    """Clients that are not let in, and what they have to be told."""
    bare = {"security.protocol": "SSL", "ssl.ca.location": secure.ca}
    return {
        "password": (secure.client(**{"sasl.password": "guess"}), "invalid credentials"),
        "plain": (secure.client("PLAIN", **{"sasl.password": "guess"}), "[Ii]nvalid username or password|credentials"),
        "secret": (tokens(secure, endpoint, **{"client.secret": "guess"}), "HTTP 401: invalid_client"),
        "authority": (secure.client(**{"ssl.ca.location": secure.wrong_ca}), "certificate verify failed"),
        "expired": ({"bootstrap.servers": secure.servers("EXPIRED"), **bare}, "certificate has expired"),
        "nameless": ({"bootstrap.servers": secure.servers("MUTUAL"), **bare}, "(?i)bad.certificate"),
    }


@pytest.mark.parametrize("what", ["password", "plain", "secret", "authority", "expired", "nameless"])
def test_who_is_not_let_in_is_told_why(secure: SecureBroker, endpoint: TokenEndpoint, what: str) -> None:
    client, told = refusals(secure, endpoint)[what]
    with reading(client["bootstrap.servers"], "plant", client=client) as reader:
        end = time.monotonic() + 10
        while time.monotonic() < end and not matches(told, reader.source.problem):
            assert len(reader.poll(0.1)) == 0
        assert matches(told, reader.source.problem), reader.source.problem
    sink = KafkaSink("alerts", client, timeout_s=2)
    with pytest.raises(SinkError, match=told):
        sink.send([{"fingerprint": "f00d"}])
    sink.close()


def matches(pattern: str, text: object) -> bool:
    return re.search(pattern, str(text)) is not None


def test_a_password_that_is_set_right_later_lets_in(secure: SecureBroker) -> None:
    write(secure.broker.servers, "plant.later", [{"value": message(0)}])
    client = secure.client(**{"sasl.username": "newcomer"})
    with reading(client["bootstrap.servers"], "plant.later", client=client) as reader:
        reader.until(lambda _: matches("invalid credentials", reader.source.problem))
        admin = KafkaAdminClient(bootstrap_servers=secure.broker.servers)
        made = UserScramCredentialUpsertion("newcomer", ScramMechanism.SCRAM_SHA_512, PASSWORD)
        admin.alter_user_scram_credentials([made])
        admin.close()
        assert len(reader.readings(1)) == 1 and reader.source.problem is None


@contextmanager
def denied(
    secure: SecureBroker,
    kind: ResourceType,
    name: str,
    operation: ACLOperation,
    permission: ACLPermissionType = ACLPermissionType.DENY,
) -> Iterator[None]:
    """As if the right had been taken away; with ALLOW, as if all others had."""
    admin = KafkaAdminClient(bootstrap_servers=secure.broker.servers)
    acl = ACL(f"User:{USER}", "*", operation, permission, ResourcePattern(kind, name))
    admin.create_acls([acl])
    yield
    admin.delete_acls([acl])
    admin.close()


@pytest.mark.parametrize("learns", ["by a fetch", "by metadata"])
def test_a_right_to_read_that_is_taken_away_is_told_and_nothing_is_lost(secure: SecureBroker, learns: str) -> None:
    age = {"metadata.max.age.ms": "200"} if learns == "by metadata" else {}
    plain, client = secure.broker.servers, secure.client(**age)
    topic = f"plant.{learns.split()[-1]}"

    def told(problem: str | None) -> bool:
        return matches(f"^TopicAuthorizationFailedError: .*{topic}", problem)

    write(plain, topic, [{"value": message(0)}])
    with reading(client["bootstrap.servers"], topic, client=client) as reader:
        reader.readings(1)
        with denied(secure, ResourceType.TOPIC, topic, ACLOperation.READ):
            write(plain, topic, [{"value": message(1)}])
            reader.until(lambda _: told(reader.source.problem))
            reader.until(lambda batches: len(batches) > 40)  # longer than a silence of brokers takes to be told
            assert told(reader.source.problem)
        assert reader.readings(1).offset.tolist() == [1]
        reader.until(lambda _: reader.source.problem is None)


def test_a_group_that_may_not_commit_is_told_and_reads_on(secure: SecureBroker) -> None:
    plain, client = secure.broker.servers, secure.client()
    with reading(client["bootstrap.servers"], "plant.denied", client=client) as reader:
        write(plain, "plant.denied", [{"value": message(1)}])
        reader.readings(1)
        with denied(secure, ResourceType.GROUP, "g.plant.denied", ACLOperation.READ):
            reader.source.commit({"plant.denied/0": 1})  # as a daemon does every second
            reader.until(lambda _: "GroupAuthorizationFailed" in str(reader.source.problem))
        write(plain, "plant.denied", [{"value": message(2)}])
        assert reader.readings(1).offset.tolist() == [1]


def test_a_right_to_write_that_is_taken_away_holds_alerts_back(secure: SecureBroker) -> None:
    sink = KafkaSink("alerts.denied", secure.client(), timeout_s=3)
    sink.send([{"fingerprint": "a"}])
    with (
        denied(secure, ResourceType.TOPIC, "alerts.denied", ACLOperation.WRITE),
        pytest.raises(SinkError, match="TopicAuthorizationFailed"),
    ):
        sink.send([{"fingerprint": "b"}])
    sink.send([{"fingerprint": "b"}])
    sink.close()
    assert [record.key for record in read_back(secure.broker.servers, "alerts.denied", 2)] == [b"a", b"b"]


def test_the_probe_says_what_a_start_would_meet(secure: SecureBroker) -> None:
    write(secure.broker.servers, "plant.probed", [{"value": message(0)}])
    good = secure.client(**{"group.id": "probe"})
    assert probe(good, ["plant.probed"], reads=True, timeout_s=3) is None
    assert probe(good, ["plant.probed"], reads=False, timeout_s=3) is None
    assert "no topic elsewhere" in str(probe(good, ["elsewhere"], reads=True, timeout_s=3))
    assert "invalid credentials" in str(probe({**good, "sasl.password": "x"}, [], reads=True, timeout_s=2))
    assert "security.protocol" in str(probe({**good, "security.protocol": "TLS"}, [], reads=True, timeout_s=2))


def heed_config(folder: Path, client: dict[str, str], **more: Any) -> Path:
    tree = {
        "sources": [{"type": "kafka", "topics": ["plant.daemon"], "client": client}],
        "sinks": [{"type": "console"}],
        "model": {"name": "none"},
        "state": {"path": str(folder / "state")},
        **more,
    }
    path = folder / "heed.yaml"
    path.write_text(json.dumps(tree))
    return path


def test_a_daemon_that_is_not_let_in_stays_up_and_is_not_ready(secure: SecureBroker, tmp_path: Path) -> None:
    from whole.kafka_run import start_heed_with, stop

    (tmp_path / "password").write_text("guess\n")
    client = secure.client(**{"group.id": "daemon"})
    del client["sasl.password"]
    port = free_port()
    more = {"server": {"listen": f"127.0.0.1:{port}"}, "logging": {"format": "json"}}
    path = heed_config(tmp_path, {**client, "sasl.password_file": str(tmp_path / "password")}, **more)
    heed = start_heed_with(path, tmp_path / "heed.log")
    try:
        end, told = time.monotonic() + 30, ""
        while time.monotonic() < end and "invalid credentials" not in told:
            time.sleep(0.2)
            told = _ready(port)
        assert "source kafka: no broker of" in told and "invalid credentials" in told
        assert heed.poll() is None
    finally:
        assert stop(heed) == 0
    assert "guess" not in (tmp_path / "heed.log").read_text()


def _ready(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        assert error.code == 503
        return error.read().decode()
    except OSError:
        return ""


def test_settings_that_no_client_takes_end_with_the_status_of_a_bad_configuration(
    secure: SecureBroker, tmp_path: Path
) -> None:
    from whole.kafka_run import start_heed_with

    plain = {"bootstrap.servers": secure.broker.servers, "group.id": "refused"}
    wrong = {
        "only the client itself knows": {**plain, "fetch.wait.max.ms": "600000"},
        "a password that opens nothing": own_certificate(secure, **{"ssl.key.password": "x", "group.id": "g"}),
    }
    for name, client in wrong.items():
        log = tmp_path / f"{name}.log"
        heed = start_heed_with(heed_config(tmp_path, client, server={"listen": "none"}), log)
        assert heed.wait(60) == 78, log.read_text()
        assert "fetch_max_wait_ms" in log.read_text() or "client.ssl.key.location" in log.read_text()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"security.protocol": "SSL", "ssl.ca.location": "/no/such.pem"}, "ssl.ca.location: no such file"),
        ({"security.protocol": "SSL", "ssl.ca.location": __file__}, "ssl.ca.location: can't be used"),
        ({"security.protocol": "SSL", "ssl.key.location": "k.pem"}, "needs ssl.certificate.location"),
        ({"security.protocol": "SSL", "ssl.cipher.suites": "NONSENSE"}, "ssl.cipher.suites"),
        ({"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "http"}, "https or none"),
        ({"security.protocol": "SSL", "enable.ssl.certificate.verification": "no"}, "true or false"),
        ({"ssl.ca.location": "ca.pem"}, "ssl.ca.location needs security.protocol SSL or SASL_SSL, not PLAINTEXT"),
        ({"sasl.username": "u"}, "sasl.username needs security.protocol"),
        ({"security.protocol": "SASL_SSL"}, "sasl.mechanism: one of PLAIN"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanisms": "SCRAM-SHA-1"}, "SCRAM-SHA-512"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u"}, "sasl.password: missing"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}, "method: write oidc"),
        ({"isolation.level": "read_all"}, "one of read_uncommitted, read_committed"),
        ({"compression.typo": "lz4"}, "did you mean 'compression.type'"),
    ],
)
def test_security_that_makes_no_sense_is_refused_at_once(given: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        consumer_settings({"bootstrap.servers": "a:1", **given})


@pytest.mark.parametrize("missing", ["client.id", "client.secret", "token.endpoint.url"])
def test_a_token_needs_who_where_and_the_secret(missing: str) -> None:
    told = {"method": "oidc", "client.id": "i", "client.secret": "s", "token.endpoint.url": "https://a/token"}
    client = {"bootstrap.servers": "a:1", "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}
    client |= {OIDC + name: value for name, value in told.items() if name != missing}
    with pytest.raises(ValueError, match=f"{OIDC}{missing}: missing"):
        consumer_settings(client)


def test_names_are_checked_unless_said_otherwise() -> None:
    client = {"bootstrap.servers": "a:1", "security.protocol": "SSL"}
    assert consumer_settings(client)["ssl_context"].check_hostname
    loose = consumer_settings({**client, "ssl.endpoint.identification.algorithm": "none"})["ssl_context"]
    assert not loose.check_hostname and loose.verify_mode.name == "CERT_REQUIRED"
    blind = consumer_settings({**client, "enable.ssl.certificate.verification": "false"})["ssl_context"]
    assert blind.verify_mode.name == "CERT_NONE"


def test_a_state_topic_that_may_not_be_made_is_told_with_the_way_to_make_it(secure: SecureBroker) -> None:
    topic = "g.plant.vault.state"
    state = StateTopic(secure.client(), topic, "g.plant.vault", "a", timeout_s=5)
    with (
        denied(secure, ResourceType.TOPIC, topic, ACLOperation.DESCRIBE, ACLPermissionType.ALLOW),
        denied(secure, ResourceType.CLUSTER, "kafka-cluster", ACLOperation.CREATE),
        pytest.raises(StateTopicError, match=f"may not create topics; .*--topic {topic} .*cleanup.policy=compact"),
    ):
        state.read(["plant.vault/0"])
    with (
        denied(secure, ResourceType.TOPIC, topic, ACLOperation.READ),
        pytest.raises(StateTopicError, match=f"may not see the topic {topic}"),
    ):
        state.read(["plant.vault/0"])
    assert state.read(["plant.vault/0"]) == {} and state.problem is None
    identity = "g.plant.vault-b"
    with (
        denied(secure, ResourceType.TRANSACTIONAL_ID, identity, ACLOperation.WRITE),
        pytest.raises(StateTopicError, match="TransactionalIdAuthorizationFailed"),
    ):
        StateTopic(secure.client(), topic, "g.plant.vault", "b", timeout_s=5).read(["plant.vault/0"])
    state.close()
