"""What every sink promises, tried on all of them."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from listening import MailServer, WebServer, free_port

from connectors.console import ConsoleSink
from connectors.jsonl import JsonlSink
from connectors.receivers.alertmanager import AlertmanagerSink
from connectors.receivers.apprise_sink import AppriseSink
from connectors.receivers.command import CommandSink
from connectors.receivers.http_post import HttpOptions, HttpPoster
from connectors.receivers.mail import MailOptions, MailSink
from connectors.receivers.webhook import WebhookSink
from connectors.sink import Sink, SinkError


@dataclass
class Case:
    """A sink, how to read what it delivered (one text per message), and one of its kind that can't deliver."""

    sink: Sink
    delivered: Callable[[], list[str]]
    broken: Sink
    end: Callable[[], None] = lambda: None  # of the server it needs


def message(i: int) -> dict[str, object]:
    labels = {"alertname": f"Alert{i}", "severity": "warning", "stream": f"m{i}/temp"}
    return {"fingerprint": f"f{i}", "status": "firing", "starts_at": "2023-11-14T22:13:20Z", "labels": labels}


def console(folder: Path) -> Case:
    stream, closed = io.StringIO(), io.StringIO()
    closed.close()
    return Case(ConsoleSink(stream), lambda: stream.getvalue().splitlines(), ConsoleSink(closed))


def jsonl(folder: Path) -> Case:
    path = folder / "alerts.jsonl"
    return Case(JsonlSink(path), lambda: path.read_text().splitlines() if path.exists() else [], JsonlSink(folder))


def poster() -> HttpPoster:
    return HttpPoster(HttpOptions())


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def webhook(folder: Path) -> Case:
    server = WebServer()
    sink = WebhookSink(lambda: server.url, poster())
    broken = WebhookSink(nowhere, poster())
    return Case(sink, lambda: [json.dumps(told) for told in server.told], broken, server.close)


def alertmanager(folder: Path) -> Case:
    server = WebServer()
    sink = AlertmanagerSink([server.url], poster())
    broken = AlertmanagerSink([nowhere()], poster())
    return Case(sink, lambda: [json.dumps(a) for told in server.told for a in told], broken, server.close)


def email(folder: Path) -> Case:
    server = MailServer()
    ways = [MailOptions("127.0.0.1", port, "a@b", ["c@d"], require_tls=False) for port in (server.port, free_port())]
    sink, broken = (MailSink(options) for options in ways)
    return Case(sink, lambda: [mail.as_string() for mail in server.mails], broken, server.close)


def command(folder: Path) -> Case:
    told = folder / "told"
    sink = CommandSink(["sh", "-c", f"cat >> {told}; echo >> {told}"])
    broken = CommandSink(["false"])
    return Case(sink, lambda: told.read_text().splitlines() if told.exists() else [], broken)


def apprise(folder: Path) -> Case:
    pytest.importorskip("apprise")
    server = WebServer()
    sink = AppriseSink(lambda: [f"json://127.0.0.1:{server.port}"])
    broken = AppriseSink(lambda: [nowhere().replace("http", "json")])
    return Case(sink, lambda: [json.dumps(told) for told in server.told], broken, server.close)


# A sink that needs a server joins here with a case of its own; Kafka has a contract of its own beside this one.
KINDS = [console, jsonl, webhook, alertmanager, email, command, apprise]


@pytest.fixture(params=KINDS, ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    made: Case = request.param(tmp_path)
    yield made
    made.sink.close()
    made.end()


def test_messages_are_delivered_in_order_before_send_returns(case: Case) -> None:
    case.sink.send([message(0), message(1)])
    first = case.delivered()
    case.sink.send([message(2)])
    assert [f"Alert{i}" in text for i, text in enumerate(case.delivered())] == [True] * 3
    assert len(first) == 2


def test_nothing_to_send_is_nothing(case: Case) -> None:
    case.sink.send([])
    assert case.delivered() == []


def test_what_can_not_be_sent_is_a_sink_error_each_time(case: Case) -> None:
    for _ in range(2):
        with pytest.raises(SinkError) as error:
            case.broken.send([message(0)])
        assert str(error.value)
    case.broken.close()


def test_a_message_may_hold_whatever_json_may(case: Case) -> None:
    odd = {**message(0), "streams": [{"stream": "ü\n\x1b", "value": None, "score": 1e300}], "evidence": {"a": []}}
    case.sink.send([odd, {}])
    assert len(case.delivered()) == 2


def test_it_has_a_name_and_can_be_closed_twice(case: Case) -> None:
    assert case.sink.name
    case.sink.send([message(0)])
    case.sink.close()
    case.sink.close()
    assert len(case.delivered()) == 1


def test_json_lines_keep_all_of_a_message(tmp_path: Path) -> None:
    made = jsonl(tmp_path)
    made.sink.send([message(3)])
    assert json.loads(made.delivered()[0]) == message(3)
