"""What every test of the whole system gets: its daemons end with it, also where it fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from whole.kafka_run import STARTED


@pytest.fixture(autouse=True)
def _no_daemon_is_left() -> Iterator[None]:
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()
