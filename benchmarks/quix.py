"""Quix Streams over a topic, in whatever Python has it: `PYTHON quix.py SERVERS TOPIC ALERTS READINGS LEAD` (JSON)."""

from __future__ import annotations

import json
import resource
import sys
import uuid
from importlib import import_module
from typing import Any


def main(servers: str, topic: str, alerts: str, total: int, lead: int) -> None:
    """An averaged z-score kept in a dict, not in its state store, which is slower; alerts to a topic."""
    quix = import_module("quixstreams")
    app = quix.Application(
        broker_address=servers, consumer_group=uuid.uuid4().hex, auto_offset_reset="earliest", loglevel="ERROR"
    )
    means: dict[str, tuple[float, float]] = {}
    marks: list[float] = []
    readings = 0

    def score(reading: dict[str, Any]) -> dict[str, Any]:
        nonlocal readings
        readings += 1
        if readings in (lead, total):
            spent = resource.getrusage(resource.RUSAGE_SELF)
            marks.append(spent.ru_utime + spent.ru_stime)
        if readings == total:
            app.stop()  # its own count is one of outputs, and hardly any reading is
        stream, value = f"{reading['machine']}/{reading['sensor']}", reading["value"]
        mean, square = means.get(stream, (value, 1.0))
        off = value - mean
        means[stream] = mean + off / 64, square + (off * off - square) / 64
        return {"stream": stream, "value": value, "z": abs(off) / (square**0.5 + 1e-9)}

    frame = app.dataframe(app.topic(topic, value_deserializer="json"))
    frame = frame.apply(score).filter(lambda found: found["z"] > 8)
    frame.to_topic(app.topic(alerts, value_serializer="json"))
    app.run(timeout=120)
    cpu, cpu_end = marks
    rate = round((total - lead) / (cpu_end - cpu))
    sys.stdout.write(json.dumps({"readings_per_second": rate, "version": quix.__version__}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
