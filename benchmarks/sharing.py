"""Two workers on two partitions against one process on both: readings per CPU second of each reading."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from statistics import median_low
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.broker import NoBroker, broker, new_topic, spare
from benchmarks.child import measured
from benchmarks.kafka import GROWN
from benchmarks.progress import watched
from connectors.clock import WallClock

TARGET = 1.1  # CPU per reading of two workers over that of one process, at most
WORKERS = 2
ROUNDS = 3
_FORMS = ("single", "columns")
_PATIENCE = 60_000_000_000  # ns, until each worker has its partition


def figures(streams: int, steps: int) -> dict[str, Any]:
    """Readings per CPU second of two workers and of one process on the same topic; ``skipped`` where it can't be."""
    try:
        with broker() as servers:
            return {"found": [_compared(servers, form, streams, GROWN + steps) for form in _FORMS], "skipped": []}
    except NoBroker as error:
        return {"found": [], "skipped": [str(error)]}


def _compared(servers: str, form: str, streams: int, steps: int) -> dict[str, Any]:
    """Of all rounds the middle one by what is compared: the machine changes from one to the next."""
    watch = watched(range(ROUNDS), f"two workers: {form}")
    rounds = [_round(servers, form, streams, steps) for _ in watch]
    ratios = [each["cpu_over_one"] for each in rounds]
    return {**rounds[ratios.index(median_low(ratios))], "rounds": ratios}


def _round(servers: str, form: str, streams: int, steps: int) -> dict[str, Any]:
    """The topic is filled once the workers have their partitions: so each reads its own alone, and a backlog."""
    alerts, topic = new_topic(servers, "alerts"), new_topic(servers, form, WORKERS)
    about = {"servers": servers, "topic": topic, "way": "kafka-python", "form": form, "alerts": alerts}
    amount = {"total": streams * steps, "lead": GROWN * streams}

    def fill() -> None:
        size = {"streams": streams, "steps": steps + spare(streams), "partitions": WORKERS}
        measured("broker", servers=servers, topic=topic, form=form, **size)

    each = {name: n // WORKERS for name, n in amount.items()}
    workers = _together(WORKERS, fill, {**about, **each})
    alone = _together(1, lambda: None, {**about, **amount})
    one, *rates = (max(1, found["readings_per_second"]) for found in (*alone, *workers))  # 0 where one turn took all
    ratio = one * sum(1 / rate for rate in rates) / len(rates)  # they read as many readings each
    return {"form": form, "one": one, "workers": rates, "cpu_over_one": round(ratio, 3)}


def _together(n: int, fill: Any, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """So many processes in one group; ``fill`` is called once each has its share of the partitions."""
    with TemporaryDirectory(prefix="heed-bench-") as folder, ThreadPoolExecutor(n) as pool:
        go, group = Path(folder) / "go", f"bench.{uuid.uuid4().hex[:8]}"
        ready = [Path(folder) / f"ready{number}" for number in range(n)]
        running = []
        for number, own in enumerate(ready):
            place = {"group": group, "partitions": WORKERS // n, "ready": str(own), "go": str(go), "core": number}
            running.append(pool.submit(measured, "consuming", place=place, **arguments))
        try:
            _await(ready, running)
            go.with_name("all").touch()
            fill()
        finally:
            go.touch()
        return [each.result() for each in running]


def _await(ready: list[Path], running: list[Future[Any]]) -> None:
    clock = WallClock()
    end = clock.now() + _PATIENCE
    while not all(own.exists() for own in ready):
        if clock.now() > end or wait(running, timeout=0.1, return_when="FIRST_COMPLETED").done:
            raise TimeoutError("the workers have not got a partition each")


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures for people."""
    for each in found["found"]:
        told = "met" if each["cpu_over_one"] <= TARGET else "MISSED"
        yield (
            f"two workers on two partitions, {each['form']}: {each['cpu_over_one']:g} times the CPU a reading of one "
            f"process on both (at most {TARGET:g}: {told}), round by round {each['rounds']}; "
            f"{each['one']:,} readings a CPU second alone, "
            f"{' and '.join(format(rate, ',') for rate in each['workers'])} shared"
        )
    for line in found["skipped"]:
        yield f"skipped: {line}"
