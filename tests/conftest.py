"""Fixtures for all tests: a real Kafka broker, started when a test first asks for it, and topics on it."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

RUN = Path(__file__).parent.parent / "deploy" / "dev" / "kafka" / "run.sh"
START_S = 120  # the first start fetches the artifacts

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stories of the whole system take longest: they begin first, so that nobody waits for them alone in the end."""
    items.sort(key=lambda item: "whole" not in item.path.parts)


class Dealing(LoadScopeScheduling):
    """What one process runs after another: a file's tests, which share a broker, and all stories of the whole system.

    These have daemons of their own whose times are looked at, so there is one of them at a time.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "whole" if "/whole/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Dealing:
    return Dealing(config, log)


@pytest.fixture(autouse=True)
def _the_log_is_as_it_was() -> Iterator[None]:
    """A test that sets up heed's log leaves nothing of it to the next one."""
    yield
    structlog.reset_defaults()
    logging.root.handlers = [each for each in logging.root.handlers if not type(each).__module__.startswith("stream.")]


def hear_this_thread_alone() -> None:
    """Of heed's log, just set up: threads that another test has left behind may still speak."""
    own = threading.get_ident()
    for handler in logging.root.handlers:
        if type(handler).__module__.startswith("stream."):
            handler.addFilter(lambda record: record.thread == own)


def wait_for(so: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


@contextmanager
def meanwhile(do: Callable[[], object], pause_s: float) -> Iterator[None]:
    """It is done again and again, on a thread of its own."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(pause_s):
            do()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A broker of deploy/dev/kafka on free ports, its data in ``directory``; can be stopped and started again.

    ``properties`` are lines of its configuration, beside or in place of the usual ones.
    """

    def __init__(self, directory: Path, properties: str = "", **environment: str) -> None:
        self.port, self.controller, self._directory = free_port(), free_port(), directory
        self.properties, self._environment = properties, environment
        self._process: subprocess.Popen[str] | None = None

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = [str(RUN), str(self.port), str(self._directory), str(self.controller)]
        env = {**os.environ, **self._environment}
        if self.properties:
            more = self._directory.with_suffix(".properties")
            more.write_text(self.properties)
            env["HEED_KAFKA_PROPERTIES"] = str(more)
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

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It takes no step meanwhile; connections stay."""
        assert self._process is not None
        subprocess.run(["pkill", "-STOP", "-P", str(self._process.pid)], check=True)
        try:
            yield
        finally:
            subprocess.run(["pkill", "-CONT", "-P", str(self._process.pid)], check=True)

    def kill(self) -> None:
        """kill -9, whatever it is doing."""
        assert self._process is not None
        subprocess.run(["pkill", "-9", "-P", str(self._process.pid)], check=True)
        self._process.wait(60)
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None


def all_on(servers: str, topic: str, isolation: str = "read_uncommitted") -> list[Any]:
    """The records that a topic has now; with read_committed, once all open transactions on it are decided."""
    from kafka import KafkaConsumer, TopicPartition

    settings = {"bootstrap_servers": servers, "group_id": None, "auto_offset_reset": "earliest"}
    with closing(KafkaConsumer(**settings)) as plain:  # to whom records of open transactions count
        ends = plain.end_offsets([TopicPartition(topic, at) for at in sorted(plain.partitions_for_topic(topic) or ())])
    with closing(KafkaConsumer(**settings, isolation_level=isolation)) as consumer:
        consumer.assign(list(ends))
        found: list[Any] = []
        until = time.monotonic() + 60
        while any(consumer.position(at) < end for at, end in ends.items()):
            assert time.monotonic() < until, f"{len(found)} records of {topic}, up to {ends}"
            for records in consumer.poll(timeout_ms=100).values():
                found.extend(records)
        return found


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
