"""The command line: `heed --help`. Every command imports what it needs when it runs, and not before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, Literal

import typer

from stream.cli_rules import rules_app
from stream.command import CONFIG, FAILED, IO, LINT, OK, SOFTWARE, UNAVAILABLE, USAGE, ConfigFile, Output, Sets
from stream.command import fails_well as _fails_well

__all__ = ["CONFIG", "FAILED", "IO", "LINT", "OK", "SOFTWARE", "UNAVAILABLE", "USAGE", "app", "main"]

app = typer.Typer(
    help="heed: a streaming anomaly monitor that pays attention to the streams that matter.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="What can be configured, what is, and an example.", no_args_is_help=True)
model_app = typer.Typer(help="Models: what they are, whether they are whole, training, export.", no_args_is_help=True)
bench_app = typer.Typer(help="Speed and memory, measured beside named peers.", no_args_is_help=True)
silence_app = typer.Typer(help="Silences of a running heed: for a while nobody is told.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(silence_app, name="silence")
app.add_typer(model_app, name="model")
app.add_typer(bench_app, name="bench")
app.add_typer(rules_app, name="rules")
dlq_app = typer.Typer(help="Dead letters: messages that gave no readings.", no_args_is_help=True)
app.add_typer(dlq_app, name="dlq")

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only of this reason. May be repeated.")]
Topics = Annotated[list[str] | None, typer.Option("--topic", help="Only from this topic. May be repeated.")]
Url = Annotated[str, typer.Option("--url", help="Where the running heed is; HEED_URL too.", envvar="HEED_URL")]
ModelFolder = Annotated[str | None, typer.Argument(help="A model's folder; the shipped one by default.")]
DaemonUrl = Annotated[str | None, typer.Option("--url", help="Address of the daemon, instead of the configuration's.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], typer.Option("--log-level", help="The least level of log lines.")
]


@app.command()
@_fails_well
def demo(
    duration: Annotated[str | None, typer.Option(help="How long to run, like 60s; by default until Ctrl-C.")] = None,
    load: Annotated[float, typer.Option(min=1, help="Demand for the model, times what is affordable.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same streams and faults.")] = 0,
    streams: Annotated[int, typer.Option(min=1, help="How many streams, about.")] = 300,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page on 127.0.0.1.")] = 8321,
    no_web: Annotated[bool, typer.Option("--no-web", help="Without the page.")] = False,
    record: Annotated[str | None, typer.Option(help="Write a recording of the run to this file.")] = None,
    summary: Annotated[str | None, typer.Option(help="Write the summary JSON to this file.")] = None,
    output: Output = "table",
    sets: Sets = None,
    log_level: LogLevel = "warning",
) -> None:
    """Watch synthetic machines, roads and markets with known faults: nothing to set up."""
    from stream.app.demo import DemoOptions, run_demo
    from stream.durations import parse_duration

    _set_up_log(log_level)
    span = None if duration is None else _usage(parse_duration, duration)
    run_demo(DemoOptions(span, load, seed, streams, None if no_web else port, record, summary, output, sets or ()))


@app.command()
@_fails_well
def run(
    config: ConfigFile = None,
    record: Annotated[str | None, typer.Option(help="Write a recording of the run to this file.")] = None,
    rules: Annotated[list[str] | None, typer.Option(help="Rule file; by default those of the configuration.")] = None,
    sets: Sets = None,
    no_web: Annotated[bool, typer.Option("--no-web", help="Without the page and the HTTP interface.")] = False,
    seed: Annotated[str | None, typer.Option(help="Learn from so much of the topics' history first, like 1h.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes in the Kafka group on this host.")] = 1,
    enable_reload: Annotated[
        bool, typer.Option("--enable-reload", help="POST /-/reload takes in changed rules.")
    ] = False,
) -> None:
    """Run the daemon. Without a configuration it reads JSON lines from standard input."""
    from stream.app.daemon import RunOptions, run_daemon

    overrides = [*(sets or ()), *([f"seed={seed}"] if seed is not None else [])]
    options = RunOptions(config, record, rules or (), overrides, not no_web, enable_reload)
    if workers == 1:
        raise typer.Exit(run_daemon(options))
    from stream.app.workers import run_workers

    raise typer.Exit(run_workers(options, workers))


@app.command()
@_fails_well
def replay(
    files: Annotated[list[str], typer.Argument(help="Recordings: heed's own, Parquet, CSV or JSON lines; globs too.")],
    config: ConfigFile = None,
    rules: Annotated[list[str] | None, typer.Option(help="Rule file; by default the built-in rules.")] = None,
    speed: Annotated[str, typer.Option(help="max, or how many times real time: 1, 10, ...")] = "max",
    budget: Annotated[str | None, typer.Option(help="Latency budget, like 250ms.")] = None,
    price: Annotated[str, typer.Option(help="What looks cost on the clock: none, auto, or FIXED,EACH.")] = "none",
    no_shed: Annotated[bool, typer.Option("--no-shed", help="Look at every window, however late.")] = False,
    sets: Sets = None,
    labels: Annotated[str | None, typer.Option(help="Known faults (CSV or JSON) to account for.")] = None,
    alerts: Annotated[str | None, typer.Option(help="Alerts as JSON lines to this file, - = standard output.")] = None,
    scores: Annotated[str | None, typer.Option(help="Scores of every stream and step to this Parquet file.")] = None,
    decisions: Annotated[str | None, typer.Option(help="What was decided of each window to this Parquet file.")] = None,
    summary: Annotated[str | None, typer.Option(help="The summary JSON to this file, - = standard output.")] = None,
    digest: Annotated[bool, typer.Option("--digest", help="Print the digest of scores, decisions and alerts.")] = False,
    output: Output = "table",
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Without the progress bar.")] = False,
    log_level: LogLevel = "warning",
) -> None:
    """Replay recorded streams through the very same loop, as fast as it can."""
    from stream.app.replay import Options
    from stream.app.replay_command import run_replay

    _set_up_log(log_level)
    factor = 0.0 if speed == "max" else _usage(_positive, speed)
    options = Options(
        files, config, tuple(rules or ()), factor, budget, price, not no_shed, tuple(sets or ()), labels,
        scores=scores, decisions=decisions,
    )  # fmt: skip
    run_replay(options, alerts, summary, digest, output, not no_progress)


@app.command()
@_fails_well
def record(
    out: Annotated[str, typer.Option("-o", "--out", help="The recording; with --rotate its files get a time each.")],
    config: ConfigFile = None,
    duration: Annotated[str | None, typer.Option(help="How long, like 10m; by default until Ctrl-C.")] = None,
    rotate: Annotated[str | None, typer.Option(help="A new file after so much, like 100MB or 1h.")] = None,
    sets: Sets = None,
) -> None:
    """Record what the sources bring, without looking at it. Reads in Kafka groups of its own."""
    from stream.app.record_command import RecordOptions, rotation, run_record
    from stream.durations import parse_duration

    span = None if duration is None else _usage(parse_duration, duration)
    files = None if rotate is None else _usage(rotation, rotate)
    raise typer.Exit(run_record(RecordOptions(config, out, span, files, sets or ())))


@app.command()
@_fails_well
def top(
    url: Url = "http://127.0.0.1:8321",
    sort: Annotated[Literal["score", "weight", "age", "name"], typer.Option(help="Which stand first.")] = "score",
    group: Annotated[str | None, typer.Option(help="Streams of this group alone.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="How many streams.")] = 15,
    every: Annotated[str, typer.Option(help="Time between two looks.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Show it once and end, as where there is no terminal.")] = False,
    output: Output = "table",
) -> None:
    """Watch a running heed: state, lag, coverage, alerts, groups and streams."""
    from stream.app.top import TopOptions, run_top
    from stream.durations import parse_duration

    raise typer.Exit(run_top(TopOptions(url, _usage(parse_duration, every), sort, group, rows, once, output)))


@app.command()
@_fails_well
def tap(
    stream: Annotated[str, typer.Argument(help="Name of the stream, as it is.")],
    url: Url = "http://127.0.0.1:8321",
    every: Annotated[str, typer.Option(help="Time between two looks.")] = "200ms",
    count: Annotated[int | None, typer.Option(min=1, help="End after so many steps.")] = None,
    output: Output = "table",
) -> None:
    """Follow one stream of a running heed: value, score, weight and outcome of every step."""
    from stream.app.tap import tap as tapped
    from stream.durations import parse_duration

    raise typer.Exit(tapped(url, stream, _usage(parse_duration, every), count, output))


@app.command()
@_fails_well
def check(config: ConfigFile = None, sets: Sets = None, output: Output = "table") -> None:
    """Check a configuration: its text, the model, who can be reached, and whether the budget can be kept here."""
    from stream.app.check import check as checked

    _set_up_log("warning")
    raise typer.Exit(checked(config, sets or (), output))


@app.command("send-test-alert")
@_fails_well
def send_test_alert(
    config: ConfigFile = None,
    receiver: Annotated[list[str] | None, typer.Option(help="Only to this receiver; may be repeated.")] = None,
    sink: Annotated[list[str] | None, typer.Option(help="Only to this sink; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label of the alert, a=b; may be repeated.")] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Say that it is over.")] = False,
    sets: Sets = None,
    output: Output = "table",
) -> None:
    """Send a made-up alert to the receivers and sinks of a configuration, and say who took it."""
    from stream.app.send_test import Wanted, send_test

    _set_up_log("warning")
    labels = dict(_usage(_pair, each) for each in label or ())
    wanted = Wanted(receiver or (), sink or (), labels, resolved)
    raise typer.Exit(send_test(config, sets or (), wanted, output))


@app.command()
def version(output: Output = "table") -> None:
    """The version of heed and of what it runs on."""
    from stream.app.about import about, lines

    typer.echo(about() if output == "json" else lines())


@config_app.command("schema")
def config_schema() -> None:
    """The JSON Schema of the configuration, for editors."""
    import json

    from stream.settings import schema

    typer.echo(json.dumps(schema(), indent=2))


@config_app.command("show")
@_fails_well
def config_show(config: ConfigFile = None, sets: Sets = None) -> None:
    """The whole configuration as it holds, defaults filled in and secrets masked."""
    from stream.settings import load, show

    typer.echo(show(load(config, sets or ())), nl=False)


@config_app.command("generate")
@_fails_well
def config_generate(
    kind: Annotated[Literal["minimal", "full"], typer.Argument(help="The least that runs, or every key.")] = "full",
) -> None:
    """A commented example to start from."""
    from stream.settings import generate

    typer.echo(generate(kind), nl=False)


@silence_app.command("add")
@_fails_well
def silence_add(
    matchers: Annotated[list[str], typer.Option("-m", "--matcher", help='Like group=~"press.*"; all must hold.')],
    author: Annotated[str, typer.Option(help="Who silences.")],
    comment: Annotated[str, typer.Option(help="Why.")],
    duration: Annotated[str | None, typer.Option(help="For how long, like 2h.")] = None,
    start: Annotated[str | None, typer.Option(help="From when on (RFC 3339); by default at once.")] = None,
    end: Annotated[str | None, typer.Option(help="Until when (RFC 3339), instead of a duration.")] = None,
    config: ConfigFile = None,
    url: DaemonUrl = None,
    output: Output = "table",
) -> None:
    """For a while nobody is told of alerts whose labels match; prints the silence's id."""
    from stream.app.silence_command import Place, add
    from stream.notify.silence import wanted

    body = {"matchers": matchers, "createdBy": author, "comment": comment, "duration": duration, "startsAt": start}
    body |= {"endsAt": end}
    _usage(wanted, body)
    add(Place(url, config), body, output)


@silence_app.command("list")
@_fails_well
def silence_list(
    expired: Annotated[bool, typer.Option("--expired", help="Those too that are over, for five days.")] = False,
    config: ConfigFile = None,
    url: DaemonUrl = None,
    output: Output = "table",
) -> None:
    """Silences that hold, and those to come."""
    from stream.app.silence_command import Place, listed

    listed(Place(url, config), expired, output)


@silence_app.command("expire")
@_fails_well
def silence_expire(
    ids: Annotated[list[str], typer.Argument(help="Ids of silences.")],
    config: ConfigFile = None,
    url: DaemonUrl = None,
) -> None:
    """End silences now; what is still true is told."""
    from stream.app.silence_command import Place, expire

    expire(Place(url, config), ids)


@model_app.command("info")
@_fails_well
def model_info(path: ModelFolder = None) -> None:
    """What a model says of itself: its card."""
    from stream.app.model import info

    typer.echo(info(path))


@model_app.command("verify")
@_fails_well
def model_verify(path: ModelFolder = None) -> None:
    """Whether a model is whole: digests, shapes, and its own probe."""
    from stream.app.model import verify

    raise typer.Exit(verify(path))


@model_app.command("train")
@_fails_well
def model_train(
    out: Annotated[str, typer.Argument(help="Folder for the artifact.")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    worlds: Annotated[int, typer.Option(min=1, help="Synthetic worlds to learn from.")] = 6,
    epochs: Annotated[int, typer.Option(min=1)] = 8,
) -> None:
    """Train on the synthetic generator through the real monitor, and export (needs heed-monitor[train])."""
    from stream.app.training import train_and_export

    _set_up_log("info")
    train_and_export(out, seed, worlds, epochs)


@model_app.command("export")
@_fails_well
def model_export(
    checkpoint: Annotated[str, typer.Argument(help="What `heed model train` kept: a folder with weights.npz.")],
    out: Annotated[str, typer.Argument(help="Folder for the artifact.")],
) -> None:
    """Export trained weights to ONNX, with proof of parity (needs heed-monitor[train])."""
    from stream.app.training import export_again

    _set_up_log("info")
    export_again(checkpoint, out)


@bench_app.command("speed")
@_fails_well
def bench_speed(
    streams: Annotated[int, typer.Option(min=1)] = 10_000,
    steps: Annotated[int, typer.Option(min=120)] = 600,
    part: Annotated[
        Literal["all", "replay", "memory", "peer", "lag", "kafka", "workers", "latency", "rules", "decode", "storm"],
        typer.Option(help="What to measure."),
    ] = "all",
    output: Output = "table",
) -> None:
    """Times real time of the whole loop, the share of each stage, memory per stream, and formats of messages."""
    from benchmarks.speed import bench

    _set_up_log("warning")
    bench(streams, steps, part, output)


@dlq_app.command("show")
@_fails_well
def dlq_show(
    config: ConfigFile = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many of each topic.")] = 20,
    reason: Reasons = None,
    topic: Topics = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with those that come.")] = False,
    output: Output = "table",
    sets: Sets = None,
) -> None:
    """Print dead letters: the reason, where the message came from, and how it begins."""
    from stream.app.dead_letters import Which, show

    show(config, sets or (), Which(reason or (), topic or ()), limit, follow, output)


@dlq_app.command("replay")
@_fails_well
def dlq_replay(
    config: ConfigFile = None,
    reason: Reasons = None,
    topic: Topics = None,
    start: Annotated[str | None, typer.Option("--from", help="Messages of this time (RFC 3339 or Unix) on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Messages before this time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be sent back.")] = False,
    output: Output = "table",
    sets: Sets = None,
) -> None:
    """Send dead letters back to the topics they came from, as they came; each once."""
    from stream.app.dead_letters import Which, parse_time
    from stream.app.sent_back import replay

    since, until = (None if text is None else _usage(parse_time, text) for text in (start, end))
    replay(config, sets or (), Which(reason or (), topic or (), since, until), dry_run, output)


def _set_up_log(level: Literal["debug", "info", "warning", "error"]) -> None:
    from stream.log import setup

    setup("auto", level)


def _usage(read: Callable[[Any], Any], text: object) -> Any:
    """A value of an option; what is wrong with it is a mistake in usage."""
    try:
        return read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"must be like site=berlin, not {text}")
    return name, value


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < 1e9:
            return float(text)
    raise ValueError(f"must be max or a number above 0, not {text}")


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
