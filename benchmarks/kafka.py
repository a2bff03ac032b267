"""Kafka to alerts: readings per CPU second of the consumer, by client and kind of message, beside named peers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any

from benchmarks.broker import FORMS, PACKED, NoBroker, broker, clients, new_topic
from benchmarks.child import measured

TARGETS = {("kafka-python", "single"): 10.0, ("kafka-python", "columns"): 40.0, ("confluent", "single"): 40.0}
PEER_READINGS = 200_000  # what peers get to read of the same topic
GROWN = 410  # steps: before that, streams are young, and their calibration is refreshed four times as often
_PEER_LEAD = 0.4
_WORDS = {"single": "one a message", "list": f"{PACKED} a message, objects", "columns": f"{PACKED} a message, columns"}


def figures(streams: int, steps: int) -> dict[str, Any]:
    """Rates of heed and of its peers on the same topics in one run; ``skipped`` tells what could not be measured."""
    try:
        with broker() as servers:
            return _figures(servers, streams, steps)
    except NoBroker as error:
        return {"found": [], "peers": [], "skipped": [str(error)]}


def _figures(servers: str, streams: int, steps: int) -> dict[str, Any]:
    alerts, topics = new_topic(servers, "alerts"), {form: new_topic(servers, form) for form in FORMS}
    skipped: list[str] = []
    lead, steps = GROWN * streams, GROWN + steps
    for form, topic in topics.items():
        measured("broker", servers=servers, topic=topic, form=form, streams=streams, steps=steps)
    few = min(PEER_READINGS, streams * steps)
    naive = measured("consuming", servers=servers, topic=topics["single"], way="naive", total=few, alerts=alerts)
    peers = [{"name": "naive: kafka-python, json, numpy z-score", **naive}]
    peers += _quix(servers, topics["single"], alerts, few, skipped)
    found = []
    for library in clients(skipped):
        for form, topic in topics.items():
            about = {"servers": servers, "topic": topic, "way": library, "form": form, "alerts": alerts}
            rate = measured("consuming", total=streams * steps, lead=lead, **about)
            over = rate["readings_per_second"] / max(1, naive["readings_per_second"])
            found.append({"client": library, "form": form, "over_naive": float(f"{over:.3g}"), **rate})
    return {"found": found, "peers": peers, "skipped": skipped}


def _quix(servers: str, topic: str, alerts: str, total: int, skipped: list[str]) -> list[dict[str, Any]]:
    """Quix Streams, from this Python or from the one that HEED_BENCH_QUIX names: it wants versions of its own."""
    python = os.environ.get("HEED_BENCH_QUIX") or (sys.executable if util.find_spec("quixstreams") else None)
    if python is None or shutil.which(python) is None:
        skipped.append("Quix Streams: HEED_BENCH_QUIX names no Python that has quixstreams")
        return []
    script = Path(__file__).with_name("quix.py")
    command = [python, str(script), servers, topic, alerts, str(total), str(round(_PEER_LEAD * total))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        skipped.append(f"Quix Streams: {done.stderr.strip()[-300:]}")
        return []
    found = json.loads(done.stdout.splitlines()[-1])
    return [{"name": f"Quix Streams {found.pop('version')}, averaged z-score in a dict", **found}]


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures for people."""
    for run in found["found"]:
        target = TARGETS.get((run["client"], run["form"]))
        told = "" if target is None else f" (aim {target:g}: {'met' if run['over_naive'] >= target else 'MISSED'})"
        yield (
            f"kafka to alerts, {run['client']}, {_WORDS[run['form']]}: {run['readings_per_second']:,} readings a CPU "
            f"second, {run['over_naive']:g} times naive{told}; {run['by_the_wall']:,} by the wall"
        )
    for peer in found["peers"]:
        yield f"peer: {peer['name']}: {peer['readings_per_second']:,} readings a CPU second"
    for line in found["skipped"]:
        yield f"skipped: {line}"
