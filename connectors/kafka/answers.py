"""How old the client's knowledge is of where partitions end.

A partition's end comes with the answer that brings its records. The client takes answers in on a thread of its own and
hands their records out bit by bit, so that by the time of the last one the end may have moved on for seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from connectors.batch import SECOND

FRESH = SECOND // 2  # an answer that came so long ago still tells where a partition ends
LONG = SECOND // 10  # a broker that was asked so long ago, and has not answered, has nothing new
_INSIDE = ("_create_fetch_requests", "_handle_fetch_response", "_clear_pending_fetch_request")
_HELD = ("_completed_fetches", "_paused_completed_fetches", "_paused_partition_records", "_next_partition_records")


class Answers:
    """Notes when the brokers were asked for more of a partition, and when they answered; ``now`` gives ns.

    Only of a kafka-python consumer whose inside is the known one; of others it says that all is fresh. librdkafka
    fetches on without being told to, so that its ends are hardly older than a round trip.
    """

    def __init__(self, consumer: KafkaConsumer | None, now: Callable[[], int]) -> None:
        self._now = now
        self._asked: dict[Any, tuple[int, frozenset[TopicPartition]]] = {}  # by broker: when, and for which
        self._answered: dict[TopicPartition, int] = {}  # when
        fetcher: Any = getattr(consumer, "_fetcher", None)
        self._fetcher = fetcher
        self._known = all(hasattr(fetcher, name) for name in (*_INSIDE, *_HELD))
        if self._known:
            self._listen(fetcher)

    def _listen(self, fetcher: Any) -> None:
        ask, take, clear = (getattr(fetcher, name) for name in _INSIDE)

        def asked() -> Any:
            requests = ask()
            for node, (_, places) in requests.items():
                self._asked[node] = self._now(), frozenset(places)
            return requests

        def answered(node: Any, places: Mapping[TopicPartition, int], sent: float, response: Any) -> None:
            take(node, places, sent, response)
            self.note(_answered(places, response))

        def cleared(node: Any, outcome: Any) -> None:
            self._asked.pop(node, None)
            clear(node, outcome)

        for name, mine in zip(_INSIDE, (asked, answered, cleared), strict=True):
            setattr(fetcher, name, mine)

    def note(self, places: Iterable[TopicPartition]) -> None:
        """The brokers have just told of these what there is."""
        self._answered.update(dict.fromkeys(places, self._now()))

    def stale(self, places: Collection[TopicPartition]) -> set[TopicPartition]:
        """Those of which the client may hold more than it has handed out, or has not asked for long enough."""
        if not self._known:
            return set()
        now = self._now()
        waiting = {at for since, asked in list(self._asked.values()) if now - since >= LONG for at in asked}
        fresh = {at for at in places if at in waiting or now - self._answered.get(at, 0) <= FRESH}
        return set(places) - (fresh - self._held())  # in this order: an answer may come in between

    def _held(self) -> set[TopicPartition]:
        """What the client has taken in and not handed out yet."""
        fetcher, part = self._fetcher, self._fetcher._next_partition_records
        held = {each.topic_partition for each in fetcher._completed_fetches.copy()}
        held.update(fetcher._paused_completed_fetches, fetcher._paused_partition_records)
        return held | {part.topic_partition} if part else held


def _answered(places: Mapping[TopicPartition, int], response: Any) -> set[TopicPartition]:
    """Those of the partitions asked for whose answer was no error. Those with nothing new may be left out of it."""
    if getattr(response, "error_code", 0):
        return set()
    wrong = {
        TopicPartition(topic.topic, each.partition_index)
        for topic in response.responses
        for each in topic.partitions
        if each.error_code
    }
    return set(places) - wrong
