"""What a configuration says that can be done, and will surprise: the static part of ``heed check``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stream.config_text import ConfigError, Problem
from stream.durations import format_duration
from stream.settings.outputs import Branch, Route
from stream.settings.quantities import format_size, split_address
from stream.settings.root import Settings
from stream.settings.sources import KafkaSource
from stream.settings.streams import DEFAULT_STEP, StreamEntry, blind_kept

STREAM_BYTES = {"full": 4096, "lean": 2867}  # of one stream with a window of 128 steps (2.8 KB: steps over a minute)
_WINDOW_STEPS = 132  # 128, and room for lateness, that are counted in these
_STEP_BYTES = 8  # float32, written twice


def findings(settings: Settings) -> list[str]:
    """Sentences for people, each naming the key it is about; empty where there is nothing to say."""
    return [
        *_blind_raised(settings),
        *_mixed_steps(settings),
        *_never_reached(settings),
        *_times(settings),
        *_held_at_the_brokers(settings),
        *_memory(settings),
        *_unused(settings),
        *_too_often(settings),
        *_classes(settings),
        *_open_door(settings),
    ]


def _blind_raised(settings: Settings) -> Iterator[str]:
    every = settings.windows.every
    for key, blind, step in _blinds(settings):
        kept = blind_kept(blind, every, step)
        if kept > blind:
            yield (
                f"{key}: {format_duration(blind)} is below 2 x every x step = 2 x {every} x {format_duration(step)}; "
                f"raised to {format_duration(kept)}"
            )


def _blinds(settings: Settings) -> Iterator[tuple[str, int, int]]:
    """Key, blindness and step of each entry, and of the streams no entry speaks of."""
    yield "budget.blind", settings.budget.blind, DEFAULT_STEP
    for i, entry in enumerate(settings.streams):
        key = f"streams[{i}].blind" if entry.blind else f"budget.blind (streams[{i}], {entry.match})"
        if entry.blind or entry.step:
            yield key, entry.blind or settings.budget.blind, entry.step or DEFAULT_STEP


def _mixed_steps(settings: Settings) -> Iterator[str]:
    steps = sorted({entry.step for entry in settings.streams if entry.step})
    if len(steps) > 1:
        listed = ", ".join(format_duration(step) for step in steps)
        yield f"streams: steps of {listed}; a group whose streams differ is looked at on the largest"


def _never_reached(settings: Settings) -> Iterator[str]:
    for i, entry in enumerate(settings.streams):
        before = next((j for j, other in enumerate(settings.streams[:i]) if _covers(other, entry)), None)
        if before is not None:
            yield f"streams[{i}]: never reached, streams[{before}] ({settings.streams[before].match}) comes first"


def _covers(first: StreamEntry, later: StreamEntry) -> bool:
    """Sure only for what is plain: the same glob, everything, or a longer name under ``prefix*``."""
    prefix = first.match[:-1]
    simple = first.match.endswith("*") and not set(prefix) & set("*?[")
    return first.match == later.match or (simple and later.match.startswith(prefix))


def _times(settings: Settings) -> Iterator[str]:
    windows, step = settings.windows, max([e.step or DEFAULT_STEP for e in settings.streams], default=DEFAULT_STEP)
    if windows.ttl < windows.size * step:
        full = format_duration(windows.size * step)
        yield f"windows.ttl: {format_duration(windows.ttl)} is less than a window; {full} holds at such steps"
    if windows.idle <= windows.lateness:
        yield "windows.idle: not longer than windows.lateness, so a partition that pauses is left behind"
    if settings.budget.blind > windows.ttl:
        yield "budget.blind: longer than windows.ttl, so a stream may be forgotten before it is looked at"


def _held_at_the_brokers(settings: Settings) -> Iterator[str]:
    lateness = settings.windows.lateness
    for i, source in enumerate(settings.sources):
        client = source.client if isinstance(source, KafkaSource) else {}
        least, wait = client.get("fetch.min.bytes", ""), client.get("fetch.wait.max.ms", "")
        if least.isdigit() and int(least) > 1 and wait.isdigit() and int(wait) * 1_000_000 >= lateness:
            yield (
                f"sources[{i}].client.fetch.wait.max.ms: with fetch.min.bytes {least} brokers hold readings back for "
                f"up to {wait} ms, not less than windows.lateness, {format_duration(lateness)}; some will be late"
            )


def _memory(settings: Settings) -> Iterator[str]:
    windows = settings.windows
    steps = windows.size + -(-windows.lateness // DEFAULT_STEP) + 2
    each = STREAM_BYTES[settings.evidence] + max(0, steps - _WINDOW_STEPS) * _STEP_BYTES
    needed = each * settings.limits.streams
    if needed > settings.limits.memory:
        yield (
            f"limits.memory: {settings.limits.streams:,} streams need about {format_size(needed >> 20 << 20)}, "
            f"more than {format_size(settings.limits.memory)}; lower limits.streams, windows.size or evidence"
        )


def _unused(settings: Settings) -> Iterator[str]:
    routes: list[Route | Branch] = [settings.route, *settings.route.routes]
    used = {entry.closed for entry in settings.streams}
    used |= {name for route in routes for name in (*route.mute_time_intervals, *route.active_time_intervals)}
    for i, interval in enumerate(settings.time_intervals):
        if interval.name not in used:
            yield f"time_intervals[{i}]: nothing uses {interval.name}"
    first = settings.receivers[0].name if settings.receivers else ""
    told = {route.receiver for route in routes if route.receiver}
    told |= set() if settings.route.receiver else {first}
    for i, receiver in enumerate(settings.receivers):
        if receiver.name not in told:
            yield f"receivers[{i}]: {receiver.name} is never told, no route names it"


def _too_often(settings: Settings) -> Iterator[str]:
    top = settings.route
    places: list[tuple[str, Route | Branch]] = [
        ("route", top),
        *((f"route.routes[{i}]", each) for i, each in enumerate(top.routes)),
    ]
    for place, route in places:
        repeat, least = route.repeat_interval or top.repeat_interval, route.group_interval or top.group_interval
        if repeat < least:
            yield f"{place}.repeat_interval: shorter than group_interval, and no telling comes sooner than that"


def _classes(settings: Settings) -> Iterator[str]:
    for i, entry in enumerate(settings.streams):
        if entry.priority != "normal" and entry.blind is None:
            yield f"streams[{i}].priority: told to people only in this version; `blind` makes heed look more often"


def _open_door(settings: Settings) -> Iterator[str]:
    listen = settings.server.listen
    if listen != "none" and split_address(listen)[0] not in ("127.0.0.1", "::1", "localhost"):
        yield f"server.listen: {listen} may be reached from other machines, and alerts silenced: there is no log-in"


def rule_paths(settings: Settings, folder: Path) -> list[Path]:
    """The rule files, in the order given, each once; relative ones are looked for in ``folder``.

    As in Prometheus a glob may match nothing. Raises ConfigError for a file that isn't there.
    """
    found: dict[Path, None] = {}
    problems = []
    for i, pattern in enumerate(settings.rule_files):
        paths = _globbed(pattern, folder)
        if not paths and not set(pattern) & set("*?["):
            problems.append(Problem(f'no file matches "{pattern}" (in {folder})', ("rule_files", i)))
        found.update(dict.fromkeys(paths))
    if problems:
        raise ConfigError(problems)
    return list(found)


def _globbed(pattern: str, folder: Path) -> list[Path]:
    path = folder / pattern
    relative = path.relative_to(path.anchor)
    return sorted(each for each in Path(path.anchor or ".").glob(str(relative)) if each.is_file())
