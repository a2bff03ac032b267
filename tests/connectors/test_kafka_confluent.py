"""The Kafka source on librdkafka: what holds with the default client holds with it too, against a real broker."""

from __future__ import annotations

import builtins
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import test_kafka as tests
import test_kafka_stories as stories
from conftest import Broker, all_on, wait_for

from connectors.kafka import source as kafka_source

pytestmark = pytest.mark.kafka
SAME: list[Callable[..., None]] = [
    tests.test_readings_come_in_the_order_of_their_partition_with_positions,
    tests.test_what_was_written_before_heed_was_up_is_backlog_and_the_rest_is_not,
    tests.test_seek_overrides_the_committed_offset,
    tests.test_where_others_have_read_on_since_a_restart_goes_on_there,
    tests.test_a_partition_that_comes_while_heed_reads_is_not_seeded,
    tests.test_a_seed_reads_history_first_and_commits_nothing_of_it,
    tests.test_empty_partitions_are_at_their_end_and_tell_where_they_start,
    tests.test_a_transaction_marker_at_the_end_does_not_hide_the_end,
    tests.test_undecodable_messages_go_to_the_dead_letters_as_they_came,
    tests.test_no_position_passes_a_message_whose_dead_letter_could_not_be_written,
    tests.test_the_broker_is_told_what_commit_says_and_never_more,
    tests.test_what_retention_took_is_counted_and_the_rest_is_read,
    tests.test_a_pattern_finds_topics_that_come_later,
    tests.test_a_partition_far_ahead_in_event_time_waits_for_the_others,
    tests.test_dead_letters_are_tried_again_though_every_poll_takes_its_whole_time,
    tests.test_partitions_move_between_members_and_nothing_is_read_twice,
    tests.test_a_topic_that_does_not_exist_is_told_and_not_made,
    tests.test_a_static_member_comes_back_at_once_and_takes_the_place_of_its_double,
    tests.test_polls_that_never_wait_still_join_and_read,
    tests.test_no_broker_means_empty_polls_in_time_and_a_problem_told,
    stories.test_a_topic_that_is_deleted_is_told_and_read_again_when_it_is_back,
    stories.test_a_partition_that_is_added_is_read_from_its_beginning,
    stories.test_records_that_retention_takes_away_under_the_reader_are_counted,
    stories.test_a_message_larger_than_a_fetch_comes_all_the_same,
]


@pytest.mark.parametrize("test", SAME, ids=lambda test: test.__name__.removeprefix("test_"))
def test_librdkafka_keeps_it_too(
    test: Callable[..., None], kafka: str, topic: tests.Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tests, "LIBRARY", "confluent")
    monkeypatch.setattr("connectors.kafka.confluent._ASK_S", 5.0)  # a slow answer is no silence
    given: dict[str, Any] = {"kafka": kafka, "topic": topic, "monkeypatch": monkeypatch}
    test(**{name: given[name] for name in inspect.signature(test).parameters})


COME_AND_GO = """
import sys
from test_kafka import reading
for _ in range(15):
    with reading(*sys.argv[1:], library="confluent", instance="one") as reader:
        reader.readings(3)
"""


def test_closing_comes_back_however_busy_the_machine_is(kafka: str, topic: tests.Topic) -> None:
    """librdkafka's group ends on a thread of its own, and what is asked of it after that is never answered.

    In processes of their own: one that waits so holds up all of its threads.
    """
    plants = [topic() for _ in range(4)]
    for plant in plants:
        tests.fill(kafka, plant, 3)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [subprocess.Popen([sys.executable, "-c", COME_AND_GO, kafka, plant], env=env) for plant in plants]
    try:
        wait_for(lambda: all(process.poll() is not None for process in running))
        assert [process.returncode for process in running] == [0] * 4
    finally:
        for process in running:
            process.kill()


def test_a_broker_that_goes_and_comes_back_costs_nothing(own_kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests, "LIBRARY", "confluent")
    tests.test_a_broker_that_goes_and_comes_back_costs_nothing(own_kafka)


def test_headers_with_a_name_that_is_no_text_are_taken_for_none_and_the_record_is_read(
    kafka: str, topic: tests.Topic
) -> None:
    """With kafka-python such a record is unreadable; librdkafka unpacks headers when it is asked for them."""
    plant, dead = topic(), topic(name="dead")
    headers = [(tests.NotText("name"), b"1")]
    values = [tests.message(at) if at != 50 else b"broken" for at in range(100)]
    for part in (headers, [("good", b"1")]):
        tests.write(kafka, plant, [{"value": value, "headers": part} for value in values])
    with tests.reading(kafka, plant, dead_letter=dead, library="confluent") as reader:
        assert reader.readings(198).offset.tolist() == [at for at in range(200) if at not in (50, 150)]
    letters = [dict(letter.headers) for letter in all_on(kafka, dead)]
    assert [int(letter["__streams.errors.offset"]) for letter in letters] == [50, 150]
    assert [letter.get("good") for letter in letters] == [None, b"1"]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("connectors.kafka.confluent"):
            raise ImportError("No module named 'confluent_kafka'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"heed-monitor\[fast\]"):
        tests.Reader("127.0.0.1:1", "plant", library="confluent")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"sesion.timeout.ms": "1"}, "sesion.timeout.ms.*did you mean 'session.timeout.ms'"),
        ({"session.timeout.ms": "soon"}, "session.timeout.ms"),
    ],
)
def test_a_setting_that_librdkafka_refuses_is_told_by_name(setting: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tests.Reader("127.0.0.1:1", "plant", library="confluent", client=setting)


def test_settings_that_only_librdkafka_knows_are_passed_through() -> None:
    reader = tests.Reader("127.0.0.1:1", "plant", library="confluent", client={"queued.min.messages": "1000"})
    assert "no broker" in str(reader.source.problem)
    reader.source.close()
    assert kafka_source.KafkaSource.done.fget(reader.source)  # type: ignore[attr-defined]
