"""Connecting to Kafka beside the loop, so that a poll never waits longer than it was told to."""

from __future__ import annotations

import threading
from contextlib import suppress

from kafka import KafkaConsumer

from connectors.kafka.client import Opening, Settings

_GIVE_UP_S = 5.0


class Connection:
    """Opens one consumer on a thread of its own; tries until a broker answers or it is closed."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._opening = settings, Opening()
        self._thread: threading.Thread | None = None
        self._consumer: KafkaConsumer | None = None
        self._error: Exception | None = None
        self._closed = False

    def wait(self, seconds: float) -> KafkaConsumer | None:
        """The consumer, None where there is none after ``seconds``; raises what kept it from ever connecting."""
        if self._consumer is None and not self._closed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._open, name="kafka-connect", daemon=True)
                self._thread.start()
            self._thread.join(max(0.0, seconds))
        if self._error is not None:
            raise self._error
        return self._consumer

    @property
    def trouble(self) -> str | None:
        """Why the latest connection to a broker failed; None = it did not."""
        return self._opening.trouble

    def close(self, timeout_ms: int) -> None:
        """Stop connecting, or close the consumer without committing anything; safe to call twice."""
        self._closed = True
        if self._consumer is None:
            self._opening.give_up()
            if self._thread is not None:
                self._thread.join(_GIVE_UP_S)
        if self._consumer is not None:
            with suppress(RuntimeError):  # it was ready in the moment in which it was given up
                self._consumer.close(autocommit=False, timeout_ms=timeout_ms)

    def _open(self) -> None:
        try:
            self._consumer = self._opening.consumer(self._settings)
        except Exception as error:  # what kafka-python does not like about its settings is of many kinds
            self._error = None if self._closed else error
