"""TLS, passwords and tokens against a real broker: who is let in, and what is said to those who are not."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import all_on, free_port, require_java, wait_for
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
from test_kafka import message, reading, until_written, write

from connectors.kafka import source as kafka_source
from connectors.kafka.client import consumer_settings
from connectors.kafka.compacted import StateTopicError
from connectors.kafka.dead_letters import DeadLetters, Letter
from connectors.kafka.letters import LetterBox
from connectors.kafka.probe import probe
from connectors.kafka.returns import Returns
from connectors.kafka.sink import KafkaSink
from connectors.kafka.state import StateTopic
from connectors.sink import SinkError
from connectors.source import RefusedTopicError

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
    assert all_on(plain, f"g.{plant}.dlq")[0].value == b"broken"
    sink = KafkaSink(f"alerts.{way}", client)
    sink.send([{"fingerprint": "f00d", "status": "firing"}])
    sink.close()
    assert all_on(plain, f"alerts.{way}")[0].key == b"f00d"


def test_a_token_is_renewed_before_it_ends_and_extensions_go_along(
    secure: SecureBroker, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_source, "ASK_MS", 3_000.0)  # a slow answer is no silence
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
        assert len(reader.until(lambda _: matches(told, reader.source.problem))) == 0
    sink = KafkaSink("alerts", client, timeout_s=2)
    wait_for(lambda: matches(told, refusal(sink)))
    sink.close()


def refusal(sink: KafkaSink) -> str:
    """Why it sends nothing; in a hurry, that may be a time-out."""
    with pytest.raises(SinkError) as refused:
        sink.send([{"fingerprint": "f00d"}])
    return str(refused.value)


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
    wait_for(lambda: _known(admin, acl))
    yield
    admin.delete_acls([acl])
    wait_for(lambda: not _known(admin, acl))
    admin.close()


def _known(admin: KafkaAdminClient, acl: ACL) -> bool:
    found, _ = admin.describe_acls(acl)
    return bool(found)


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
    sink = KafkaSink("alerts.denied", secure.client(), timeout_s=20)
    sink.send([{"fingerprint": "a"}])
    with (
        denied(secure, ResourceType.TOPIC, "alerts.denied", ACLOperation.WRITE),
        pytest.raises(SinkError, match="TopicAuthorizationFailed"),
    ):
        sink.send([{"fingerprint": "b"}])
    sink.send([{"fingerprint": "b"}])
    sink.close()
    assert [record.key for record in all_on(secure.broker.servers, "alerts.denied")] == [b"a", b"b"]


def test_letters_of_a_topic_that_may_not_be_written_hold_up_no_others(secure: SecureBroker) -> None:
    client, plain = secure.client(), {"bootstrap.servers": secure.broker.servers}
    box_name, topics = "plant.back.dlq", ("plant.back.open", "plant.back.seen", "plant.back.hidden")
    letters = [Letter(topic, 0, n, None, b"v", (), -1, "malformed", "") for n in range(3) for topic in topics]
    for topic in topics:
        write(plain["bootstrap.servers"], topic, [{"value": b"first"}])
    writer = DeadLetters(box_name, plain)
    until_written(writer, letters)
    writer.close()
    refused: list[tuple[str, str]] = []
    with (
        denied(secure, ResourceType.TOPIC, topics[1], ACLOperation.DESCRIBE, ACLPermissionType.ALLOW),
        denied(secure, ResourceType.TOPIC, topics[2], ACLOperation.DESCRIBE),
        closing(LetterBox(box_name, client)) as box,
        closing(Returns(box, client, lambda dead, why: refused.append((dead.letter.topic, why)))) as returns,
    ):
        for dead in box.read():
            returns.send(dead)
        returns.flush()
        assert returns.sent == {(topics[0], "malformed"): 3}
        list(box.read())
        assert sum(dead in box.sent_back for dead in box.read()) == 3
    assert [topic for topic, _ in refused] == [topics[1], topics[2]] * 3
    assert {why.split(":")[0] for topic, why in refused if topic == topics[1]} == {"TopicAuthorizationFailedError"}
    assert all("none that this user may see" in why for topic, why in refused if topic == topics[2])
    with (
        denied(secure, ResourceType.TOPIC, box_name, ACLOperation.READ, ACLPermissionType.ALLOW),
        closing(LetterBox(box_name, client)) as box,
        closing(Returns(box, client, lambda dead, why: None)) as returns,
        pytest.raises(SinkError, match=r"no receipt can be written to plant\.back\.dlq: TopicAuthorizationFailed"),
    ):
        for dead in box.read():
            returns.send(dead)
        returns.flush()


def test_the_probe_says_what_a_start_would_meet(secure: SecureBroker) -> None:
    write(secure.broker.servers, "plant.probed", [{"value": message(0)}])
    good = secure.client(**{"group.id": "probe"})
    assert probe(good, ["plant.probed"], reads=True, timeout_s=20) is None
    assert probe(good, ["plant.probed"], reads=False, timeout_s=20) is None
    assert "no topic elsewhere" in str(probe(good, ["elsewhere"], reads=True, timeout_s=20))
    wrong = {**good, "sasl.password": "x"}
    wait_for(lambda: "invalid credentials" in str(probe(wrong, [], reads=True, timeout_s=8)))
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
        end, told = time.monotonic() + 120, ""
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


def test_an_alert_topic_that_takes_nothing_is_named_and_the_state_is_written_without_it(secure: SecureBroker) -> None:
    group, zero = "g.plant.denied", "plant.denied/0"
    write(secure.broker.servers, "plant.denied", [{"value": message(0)}])
    alert = {"fingerprint": "f", "status": "firing"}
    state = StateTopic(secure.client(), f"{group}.state", group, "a", timeout_s=20)
    client = secure.client()
    with reading(client["bootstrap.servers"], "plant.denied", client=client) as reader:
        reader.readings(1)
        for topic, operation, resource in (
            ("alerts.denied", ACLOperation.WRITE, (ResourceType.TOPIC, "alerts.denied")),
            ("alerts.none", ACLOperation.DESCRIBE, (ResourceType.TOPIC, "alerts.none")),
        ):
            reader.poll()
            whose, _ = reader.source.standing() or (None, {})
            with denied(secure, *resource, operation), pytest.raises(RefusedTopicError, match=topic) as refused:
                state.write({(zero, "small"): b"never"}, {zero: 1}, whose, [(topic, alert)])
            assert refused.value.topic == topic
            reader.poll()
            whose, _ = reader.source.standing() or (None, {})
            state.write({(zero, "small"): topic.encode()}, {zero: 1}, whose)
            assert state.read([zero]) == {zero: {"small": topic.encode()}}
    state.close()


def test_a_state_topic_that_may_not_be_made_is_told_with_the_way_to_make_it(secure: SecureBroker) -> None:
    topic = "g.plant.vault.state"
    state = StateTopic(secure.client(), topic, "g.plant.vault", "a", timeout_s=20)
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
        StateTopic(secure.client(), topic, "g.plant.vault", "b", timeout_s=20).read(["plant.vault/0"])
    state.close()
