"""Fixtures for all tests: a real Kafka broker, started when a test first asks for it, and topics on it."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

RUN = Path(__file__).parent.parent / "deploy" / "dev" / "kafka" / "run.sh"
START_S = 120  # the first start fetches the artifacts

_numbers = itertools.count()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A broker of deploy/dev/kafka on free ports, its data in ``directory``; can be stopped and started again."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.port, self.controller, self._directory = free_port(), free_port(), directory
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = [str(RUN), str(self.port), str(self._directory), str(self.controller)]
        env = {**os.environ, **self._environment}
        self._process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=sys.stderr.fileno(), text=True, env=env
        )
        watchdog = threading.Timer(START_S, self._process.terminate)
        watchdog.start()
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        watchdog.cancel()
        if not ready.startswith("ready"):
            pytest.fail(f"the broker did not start: see the output of {RUN}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None


def without_kafka(reason: str) -> None:
    """Skip at home, fail where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and in CI the tests on Kafka have to run")
    pytest.skip(reason)


def require_java() -> None:
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        without_kafka(f"no {' and no '.join(missing)}, and HEED_TEST_KAFKA names no broker")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real broker: HEED_TEST_KAFKA where it is set, else one started for this session."""
    named = os.environ.get("HEED_TEST_KAFKA")
    if named:
        yield named
        return
    require_java()
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
        yield broker.servers
    finally:
        broker.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own, which it may stop and start; not started yet."""
    require_java()
    broker = Broker(tmp_path / "kafka")
    yield broker
    broker.stop()


@pytest.fixture
def topic(kafka: str) -> Callable[..., str]:
    """Makes topics: ``topic(3, "plant", **{"max.message.bytes": "1000"})`` returns a name nobody else uses."""
    from kafka.admin import KafkaAdminClient

    def make(partitions: int = 1, name: str = "readings", **configs: str) -> str:
        unique = f"{name}.{next(_numbers)}.{uuid.uuid4().hex[:8]}"
        admin = KafkaAdminClient(bootstrap_servers=kafka)
        try:
            options = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
            admin.create_topics({unique: options}, wait_for_metadata=True)
        finally:
            admin.close()
        return unique

    return make
