"""Sources from settings: each made with what it needs, several read as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors.clock import ReplayClock
from connectors.file import FileSource, StdinSource
from connectors.formats.codec import Codec, Format
from connectors.recordings.replay import ReplaySource
from connectors.source import Custody, Merged, Source, SourceError
from connectors.synthetic import SyntheticSource
from connectors.synthetic import World as Synthetic
from stream.app.parts import World
from stream.config_text import ConfigError, Problem
from stream.settings import Decoded, Settings, names
from stream.settings import FileSource as FileSettings
from stream.settings import KafkaSource as KafkaSettings
from stream.settings import RecordingSource as RecordingSettings
from stream.settings import StdinSource as StdinSettings
from stream.settings import SyntheticSource as SyntheticSettings

MEMBER = "group.instance.id"  # of ``client``: who a process is in its group
TURNS_A_BUDGET = 5  # over a backlog, where readings cost little; where they cost much a turn has its own budget


def sources_of(
    settings: Settings,
    world: World,
    instance: str | None,
    learning: Callable[[int], None] = lambda until: None,
    custody: Custody | None = None,
) -> tuple[Source, dict[str, Source]]:
    """What the loop polls, and each source by its name.

    ``instance`` is what tells this process from others in a Kafka group; ``learning`` is told the event time (ns) up to
    which what comes is history to learn from; ``custody`` keeps the state of a Kafka source's
    partitions. Raises ConfigError, SourceError.
    """
    made: dict[str, Source] = {}
    for number, (name, each) in enumerate(_members(settings)):
        try:
            made[name] = _make(
                each, settings, world, None if instance is None else f"{instance}-{name}", learning, custody
            )
        except ValueError as error:
            raise ConfigError([Problem(str(error), ("sources", number))]) from error
    found = list(made.values())
    return (found[0] if len(found) == 1 else Merged(found, world.clock)), made


def _members(settings: Settings) -> Iterator[tuple[str, object]]:
    """Sources with their names; one with the id of another has its name behind it: a group has each member once."""
    taken: set[str] = set()
    for name, each in zip(names(settings.sources), settings.sources, strict=True):
        member = each.client.get(MEMBER) if isinstance(each, KafkaSettings) else None
        yield name, _as_member(each, f"{member}-{name}") if member in taken else each
        taken |= {member, f"{member}-{name}"} if member else set()


def _as_member(each: Any, member: str) -> object:
    return each.model_copy(update={"client": {**each.client, MEMBER: member}})


def _make(
    each: object,
    settings: Settings,
    world: World,
    instance: str | None,
    learning: Callable[[int], None],
    custody: Custody | None,
) -> Source:
    match each:
        case KafkaSettings():
            return _kafka(each, settings, world, instance, learning, custody)
        case FileSettings():
            decode = _codec(each, _of_lines(each.format), settings, world).decode
            return FileSource(each.path, decode, world.partitions, world.clock, csv=each.format == "csv")
        case StdinSettings():
            decode = _codec(each, _of_lines(each.format), settings, world).decode
            return StdinSource(decode, world.partitions, world.clock, csv=each.format == "csv")
        case SyntheticSettings():
            return _synthetic(each, world)
        case RecordingSettings():
            return _recording(each, world)
    raise ValueError(f"no such source: {each!r}")


def _of_lines(format: Format) -> Format:
    """What the codec gets to see of a line: a row of CSV is an object by then."""
    return "json" if format == "csv" else format


def _codec(each: Decoded, format: Format, settings: Settings, world: World, header: Sequence[str] = ()) -> Codec:
    fields, limit = each.fields.model_dump(), settings.limits.message_bytes
    return Codec(format, fields, each.time_unit, each.zone, world.table, limit, header)


def _kafka(
    each: KafkaSettings,
    settings: Settings,
    world: World,
    instance: str | None,
    learning: Callable[[int], None],
    custody: Custody | None,
) -> Source:
    from connectors.kafka.source import KafkaSource  # only those who read from Kafka pay for its import

    codec = _codec(each, each.format, settings, world, each.header)
    return KafkaSource(
        each.client_config(), codec, world.partitions, world.clock, each.topics, each.pattern, each.dead_letter_topic,
        instance, settings.seed, learning, each.client_library, custody, settings.budget.latency // TURNS_A_BUDGET,
    )  # fmt: skip


def _synthetic(each: SyntheticSettings, world: World) -> Source:
    synthetic = Synthetic(each.streams, each.seed, each.step)
    first = max(0, (world.clock.now() - synthetic.start_ns) // synthetic.step_ns)
    return SyntheticSource(synthetic, world.table, world.partitions, world.clock, first)


def _recording(each: RecordingSettings, world: World) -> Source:
    files = [str(path) for pattern in each.path for path in _globbed(pattern)]
    if not isinstance(world.clock, ReplayClock):
        raise ValueError("a recording is read by `heed replay`; the daemon's clock can't be wound")
    return ReplaySource(files, world.table, world.partitions, world.clock)


def _globbed(pattern: str) -> list[Path]:
    path = Path(pattern)
    found = [path] if path.exists() else sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
    if not found:
        raise SourceError(f"{pattern}: no such file")
    return found


def remind(sources: dict[str, Source], positions: Mapping[str, int]) -> None:
    """Tell sources that others may have gone on with how far this process had come."""
    for source in sources.values():
        tell: Callable[[Mapping[str, int]], None] = getattr(source, "remember", lambda positions: None)
        tell(positions)


def problems_of(sources: dict[str, Source]) -> dict[str, str]:
    """Sources that can't be read now, and why."""
    told = {name: getattr(source, "problem", None) for name, source in sources.items()}
    return {name: problem for name, problem in told.items() if problem}


def lags_of(sources: dict[str, Source]) -> dict[str, int]:
    """Records behind, at the broker, by partition."""
    found: dict[str, int] = {}
    for source in sources.values():
        lag: Callable[[], dict[str, int]] | None = getattr(source, "lag", None)
        found |= lag() if lag is not None else {}
    return found
