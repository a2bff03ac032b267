"""A process that its group has given up and lets in again: what it had may have been somebody else's meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, MemberToRemove
from test_kafka import fill, reading

from connectors.kafka.quirks import membership

pytestmark = pytest.mark.kafka


class Kept:
    """The custody of partitions; notes who came and went."""

    problem = None

    def __init__(self) -> None:
        self.changes: list[tuple[str, list[str]]] = []

    def adopt(self, partitions: Sequence[str]) -> Mapping[str, int]:
        self.changes.append(("adopt", sorted(partitions)))
        return dict.fromkeys(partitions, 2)  # where somebody else has read to

    def leave(self, partitions: Sequence[str]) -> None:
        self.changes.append(("leave", sorted(partitions)))


def throw_out(servers: str, group: str, member: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.remove_group_members(group, [MemberToRemove(member_id=member)])
    admin.close()


def test_who_learns_only_while_joining_that_the_group_gave_it_up_takes_its_partitions_anew(
    kafka: str, topic: Callable[..., str]
) -> None:
    plant, kept = topic(2), Kept()
    both = [f"{plant}/0", f"{plant}/1"]
    for partition in (0, 1):
        fill(kafka, plant, 5, partition)
    with reading(kafka, plant, custody=kept) as reader:
        assert len(reader.readings(6)) == 6  # from where the state of each ends
        consumer: Any = reader.source._consumer
        coordinator, before = consumer._coordinator, membership(consumer)
        prepare = coordinator._on_join_prepare_async

        async def prepared(*arguments: Any, **rest: Any) -> None:
            coordinator._on_join_prepare_async = prepare
            await prepare(*arguments, **rest)
            throw_out(kafka, f"g.{plant}", str(before))  # so that it is refused when it joins

        coordinator._on_join_prepare_async = prepared
        coordinator.request_rejoin()
        del kept.changes[:]
        again = reader.readings(6)
        assert len(again) == 6 and set(again.offset.tolist()) == {2, 3, 4}
        assert kept.changes == [("leave", both), ("adopt", both)]
        assert membership(consumer) not in (before, "")
        _, held = reader.source.standing() or (None, {})
        assert sorted(held) == both


def test_nothing_is_held_under_another_id_than_it_was_placed_under(kafka: str, topic: Callable[..., str]) -> None:
    """The client may have another one since partitions were looked at last: no state of theirs is written then."""
    plant = topic(1)
    fill(kafka, plant, 5)
    with reading(kafka, plant, custody=Kept()) as reader:
        reader.readings(3)
        member = membership(reader.source._consumer)
        assert reader.source._assignment.held(member) == [f"{plant}/0"]
        assert reader.source._assignment.held("another") == []
