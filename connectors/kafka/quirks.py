"""Where kafka-python 3.0.12 loses its way, and the nudges that help it; each is a no-op if its inside has changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError
from kafka.structs import MemberState


def overhear(client: Any, note: Callable[[Exception | None], None]) -> None:
    """Tell ``note`` of each connection what became of it: None, or the error, which the client only logs.

    Without this nobody would learn that a password is wrong, only that no broker answers.
    """
    connections: Any = getattr(client, "_manager", None)
    connect: Any = getattr(connections, "get_connection", None)
    if connect is None:
        return
    known: WeakSet[Any] = WeakSet()

    def get_connection(*arguments: Any, **rest: Any) -> Any:
        made = connect(*arguments, **rest)
        future = getattr(made, "init_future", None)
        if future is not None and made not in known:
            known.add(made)
            future.add_callback(lambda _: note(None))
            future.add_errback(note)
        return made

    connections.get_connection = get_connection


def hear_out(client: Any) -> None:
    """Let what a broker says before it hangs up be read, such as why it does not let somebody in.

    The client throws away what came in the same moment as the end of the connection.
    """
    connections: Any = getattr(client, "_manager", None)
    build: Any = getattr(connections, "_build_transport", None)
    if build is None:
        return

    async def built(*arguments: Any, **rest: Any) -> Any:
        transport = await build(*arguments, **rest)
        receive: Any = getattr(transport, "_sock_recv", None)
        if receive is not None:
            transport._sock_recv = lambda: _data_first(*receive())
        return transport

    connections._build_transport = built


def _data_first(data: bytes, error: Exception | None) -> tuple[bytes, Exception | None]:
    return data, None if data else error  # the end is met again by the next read


def joining(consumer: KafkaConsumer) -> bool:
    """True while partitions are dealt out anew; the next poll should then wait for the outcome.

    The client forgets what it was dealt if that arrives between two polls and new metadata had asked for it: so ask
    again.
    """
    if consumer.group_metadata().state != MemberState.REBALANCING:
        return False
    coordinator: Any = getattr(consumer, "_coordinator", None)
    if hasattr(coordinator, "request_rejoin"):
        coordinator.request_rejoin()
    return True


def membership(consumer: KafkaConsumer) -> str | None:
    """The id under which the group knows this process now; empty = it is in none just now, None = nobody tells.

    A group that has given a process up lets it in again under another id. If the client learns that only while it
    joins, it tells nobody that its partitions were lost, and keeps those that it is dealt again.
    """
    if consumer.config["group_id"] is None or getattr(consumer, "_coordinator", None) is None:  # another client
        return None
    member: str | None = consumer.group_metadata().member_id
    return member


def fenced(consumer: KafkaConsumer) -> bool:
    """True where another process has taken this static member's place.

    The client notes that in its log, stops its heartbeat and goes on reading, without ever waiting again.
    """
    coordinator: Any = getattr(consumer, "_coordinator", None)
    if consumer.config["group_instance_id"] is None or consumer.group_metadata().state != MemberState.STABLE:
        return False
    beats, rejoins = getattr(coordinator, "_heartbeat_enabled", True), getattr(coordinator, "rejoining", True)
    return beats is False and rejoins is False


def not_allowed(consumer: KafkaConsumer) -> str | None:
    """Which topics the brokers don't let this client see; a poll says so only where it had a fetch under way."""
    topics: Any = getattr(getattr(consumer, "_cluster", None), "unauthorized_topics", None)
    return f"{TopicAuthorizationFailedError.__name__}: {', '.join(sorted(topics))}" if topics else None


def leaderless(consumer: KafkaConsumer, places: Collection[TopicPartition]) -> set[TopicPartition]:
    """Which of these no broker leads, as far as the client has heard: there is nobody to read them from."""
    own: Callable[[Collection[TopicPartition]], set[TopicPartition]] | None = getattr(consumer, "leaderless", None)
    if own is not None:  # another client
        return own(places)
    leader: Any = getattr(getattr(consumer, "_cluster", None), "leader_for_partition", None)
    return {at for at in places if leader is not None and leader(at) == -1}


def offsets(
    consumer: KafkaConsumer,
    ask: Callable[..., Mapping[TopicPartition, int]],
    places: Collection[TopicPartition],
    timeout_ms: float,
) -> dict[TopicPartition, int]:
    """What ``ask`` (for beginnings or ends) finds out about these; without those that no broker leads.

    The client passes over them, asks who leads them now, and then stumbles over the answers that are missing.
    """
    left = set(places)
    while left:
        try:
            return dict(ask(list(left), timeout_ms=timeout_ms))
        except KeyError as error:
            if error.args[0] not in left:
                raise
            left -= {error.args[0], *leaderless(consumer, left)}
    return {}


def make_no_topics(client: KafkaConsumer | KafkaProducer) -> None:
    """Pass ``allow.auto.create.topics`` on to where the client forgets it; call before it asks for a topic."""
    cluster: Any = getattr(client, "_cluster", None) or getattr(client, "_metadata", None)
    settings: Any = getattr(cluster, "config", {})
    if "allow_auto_create_topics" in settings:
        settings["allow_auto_create_topics"] = client.config["allow_auto_create_topics"]


def unpark(consumer: KafkaConsumer) -> None:
    """Let records of a partition that was paused and resumed come out again.

    The client sets them aside and takes them up again only when it holds no other partition's; but it goes on holding
    a partition that it has emptied, so they would never come. Call before each poll, on the polling thread.
    """
    fetcher: Any = getattr(consumer, "_fetcher", None)
    held: Any = getattr(fetcher, "_next_partition_records", None)
    if held is not None and not held:
        fetcher._next_partition_records = None


def unreadable(consumer: KafkaConsumer) -> tuple[TopicPartition, int] | None:
    """The record at which unpacking has just failed: its partition and offset; None if that is not what happened.

    The client would turn for ever on what is left of its batch, so that is thrown away; it unpacks a batch from its
    start, so the records behind the bad one in the same batch can't be had either: they fail one by one.
    """
    own: Callable[[], tuple[TopicPartition, int] | None] | None = getattr(consumer, "take_corrupt", None)
    if own is not None:  # another client
        return own()
    held: Any = getattr(getattr(consumer, "_fetcher", None), "_next_partition_records", None)
    if not held:
        return None
    held.drain()
    return held.topic_partition, max(held.next_fetch_offset, held.fetch_offset)


def bound_waits(producer: KafkaProducer, left_s: Callable[[], float]) -> None:
    """Let the steps of a transaction raise KafkaTimeoutError when no time is left.

    The client waits for ever for the brokers to take offsets, a commit or an abort.
    """
    transactions: Any = getattr(producer, "_transaction_manager", None)
    for name in ("send_offsets_to_transaction", "begin_commit", "begin_abort"):
        step: Any = getattr(transactions, name, None)
        if step is not None:
            setattr(transactions, name, _bounded(step, left_s))


def _bounded(step: Callable[..., Any], left_s: Callable[[], float]) -> Callable[..., Any]:
    def bounded(*arguments: Any) -> Any:
        result = step(*arguments)
        wait: Any = getattr(result, "wait", None)
        if wait is not None:
            result.wait = lambda: _in_time(wait, left_s())
        return result

    return bounded


def _in_time(wait: Callable[..., Any], left_s: float) -> None:
    if not wait(timeout_ms=left_s * 1000):
        raise KafkaTimeoutError("the brokers have not answered in time")


def transaction_error(producer: KafkaProducer) -> Exception | None:
    """What went wrong in a transaction first: what the client raises afterwards only says that something did."""
    error: Any = getattr(getattr(producer, "_transaction_manager", None), "last_error", None)
    return error if isinstance(error, Exception) else None


def flush(producer: KafkaProducer, futures: Iterable[Any], seconds: float) -> None:
    """Send all that waits, until it is known what became of these messages or nothing comes any more for so long.

    Of what was never sent there is an error instead of a future.
    The client's own ends with an error, or too soon, where a batch was too large and is split into two.
    """
    with suppress(KafkaError):
        producer.flush(seconds)
    for future in futures:
        if isinstance(future, Exception) or future.is_done:
            continue
        with suppress(KafkaError):
            future.get(seconds)
        if not future.is_done:
            return


def drop(producer: KafkaProducer) -> None:
    """Close at once, whatever it still holds.

    The client gives up closing where it holds messages that no broker takes, and leaves its thread behind.
    """
    try:
        producer.close(timeout=0)
    except KafkaError:
        close: Any = getattr(getattr(producer, "_sender", None), "force_close", None)
        if close is not None:
            with suppress(RuntimeError):  # it ended meanwhile, and can't be woken up
                close()
    except RuntimeError:  # likewise
        pass
