"""`heed check`: the configuration, the model, who can be reached, and whether the budgets can be kept here."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import typer

from connectors.clock import Stopwatch
from connectors.receivers.proxy import proxy_of
from models.contract import ModelError, Scorer
from models.probe import measure_cost
from stream.app.kafka_keys import of_sink, of_source
from stream.app.parts import rules_of, scorer_of
from stream.app.receivers import receiver_sinks
from stream.app.sharing import shared_client, topic_name
from stream.budget import Budget
from stream.config_text import ConfigError
from stream.durations import format_duration
from stream.settings import (
    Alertmanager,
    Email,
    Exec,
    FileSource,
    KafkaSink,
    KafkaSource,
    Settings,
    Webhook,
    findings,
    load,
    names,
    ways,
)
from stream.settings.streams import DEFAULT_STEP, blind_kept

PATIENCE_S = 3.0
Level = Literal["ok", "note", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    about: str
    said: str


def check(config: str | None, overrides: Sequence[str], output: str) -> int:
    """Print what was found; 1 where something failed. Raises ConfigError where the configuration can't be used."""
    settings = load(config, overrides)
    found = [Finding("ok", "config", f"{config or 'defaults'}: can be used")]
    found += [Finding("note", "config", said) for said in findings(settings)]
    found += _rules(settings, config)
    found += _model(settings)
    found += _reachable(settings)
    found += _receivers(settings)
    if output == "json":
        typer.echo(json.dumps([asdict(each) for each in found], indent=2))
    else:
        for each in found:
            typer.echo(f"{each.level:6}  {each.about:8}  {each.said}")
    return int(any(each.level == "failed" for each in found))


def _rules(settings: Settings, config: str | None) -> Iterator[Finding]:
    try:
        rules = rules_of(settings, Path(config) if config else None)
        kind = "of the rule files" if settings.rule_files else "built in"
        yield Finding("ok", "rules", f"{len(rules)} rules, {kind}")
    except ConfigError as error:
        yield Finding("failed", "rules", str(error))


def _model(settings: Settings) -> Iterator[Finding]:
    try:
        scorer = scorer_of(settings)
    except ModelError as error:
        yield Finding("failed", "model", str(error))
        return
    if scorer is None:
        yield Finding("note", "model", "none: scores are the sentinel's, nothing is shed")
        return
    yield Finding("ok", "model", f"{scorer.name}, digest {scorer.digest[:12]}")
    yield from _feasible(settings, scorer)


def _feasible(settings: Settings, scorer: Scorer) -> Iterator[Finding]:
    """How many streams the latency and the blindness budget carry on this host, at a step of a second and finer."""
    fixed, each = measure_cost(scorer, Stopwatch().seconds)
    steps = sorted({DEFAULT_STEP, *(entry.step for entry in settings.streams if entry.step)})
    yield Finding(
        "ok", "budget", f"a look costs {fixed * 1e6:.0f} us a call and {each * 1e6:.1f} us a stream on this host"
    )
    for step in steps:
        yield _carried(settings, fixed, each, step)


def _carried(settings: Settings, fixed: float, each: float, step: int) -> Finding:
    frame = step * settings.windows.every
    seconds = min(settings.budget.latency * (1 - settings.budget.slack), frame) / 1e9
    looks = Budget(settings.budget.latency, (fixed, each)).capacity(seconds)
    blind = blind_kept(settings.budget.blind, settings.windows.every, step)
    streams = looks * (blind // frame)
    latency = format_duration(settings.budget.latency)
    said = (
        f"at steps of {format_duration(step)}: {looks:,} looks a frame within {latency}; up to {looks:,} streams "
        f"nothing is shed, up to {streams:,} none is unseen for longer than {format_duration(blind)}"
    )
    limit = settings.limits.streams
    if streams >= limit:
        return Finding("ok", "budget", said)
    return Finding("note", "budget", f"{said}; limits.streams allows {limit:,}: with so many, blind can't be kept here")


def _reachable(settings: Settings) -> Iterator[Finding]:
    for name, source in zip(names(settings.sources), settings.sources, strict=True):
        if isinstance(source, KafkaSource):
            yield _source(f"source {name}", source)
        elif isinstance(source, FileSource):
            there = Path(source.path).exists()
            said = f"{source.path}: {'is there' if there else 'is not there yet; heed will wait for it'}"
            yield Finding("ok" if there else "note", f"source {name}", said)
    if settings.state.shared:
        yield _kafka("shared state", shared_client(settings), (topic_name(settings),), reads=False)
    for name, sink in zip(names(settings.sinks), settings.sinks, strict=True):
        if isinstance(sink, KafkaSink):
            yield _kafka(f"sink {name}", of_sink(sink, settings), (sink.topic,), reads=False)


def _source(about: str, source: KafkaSource) -> Finding:
    """Whether librdkafka takes its keys, where it reads, and brokers let us in with those that both clients have."""
    from connectors.kafka.probe import refused

    said = refused(source.client_config()) if source.client_library == "confluent" else None
    return Finding("failed", about, said) if said else _kafka(about, of_source(source), source.topics, reads=True)


def _kafka(about: str, client: Mapping[str, object], topics: Sequence[str], reads: bool) -> Finding:
    """Whether a broker lets us in with these settings, and the topics are there and may be used."""
    from connectors.kafka.probe import MISSING, probe  # only those who use Kafka pay for its import

    found = _broker(about, str(client["bootstrap.servers"]))
    problem = None if found.level == "failed" else probe(client, topics, reads, PATIENCE_S)
    if problem is None:
        return found
    later = problem.startswith(MISSING) and not reads  # many brokers make a topic with its first message
    return Finding("note" if later else "failed", about, problem)


def _receivers(settings: Settings) -> Iterator[Finding]:
    """Whether those who are to be told are there; `heed send-test-alert` says whether they listen."""
    for receiver in settings.receivers:
        try:
            receiver_sinks(receiver)
        except ValueError as error:  # a library that is missing
            yield Finding("failed", f"receiver {receiver.name}", str(error))
            continue
        for kind, name in ways(receiver).items():
            yield from (_there(name, each) for each in _addresses(getattr(receiver, kind)))


def _addresses(way: object) -> list[str]:
    """Where somebody has to be for this way of telling: host and port, or a program."""
    match way:
        case Alertmanager():
            return [_host_and_port(url) for url in way.url]
        case Webhook():
            return [_host_and_port(way.url)] if way.url is not None else []
        case Email():
            return [way.smarthost]
        case Exec():
            return [way.command[0]]
    return []


def _host_and_port(url: str) -> str:
    parts = urlsplit(proxy_of(url) or url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _there(about: str, address: str) -> Finding:
    if ":" in address and "/" not in address:
        return _broker(about, address)
    found = shutil.which(address)
    said = f"{address}: {'is there' if found else 'is no program that can be run'}"
    return Finding("ok" if found else "failed", about, said)


def _broker(about: str, servers: str) -> Finding:
    """Whether any of the brokers takes a connection."""
    troubles = []
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
            return Finding("ok", about, f"{server.strip()} answers")
        except (OSError, ValueError) as error:
            troubles.append(f"{server.strip()}: {error}")
    return Finding("failed", about, "; ".join(troubles))
