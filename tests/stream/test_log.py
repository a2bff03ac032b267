"""Log lines: one set-up, known names, the clock that is given, and strict JSON whatever is bound."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from conftest import hear_this_thread_alone

from connectors.clock import ReplayClock
from stream import log
from stream.log_names import LOG_NAMES

ROOT = Path(__file__).parent.parent.parent
NOON = 1_767_268_800_123_456_789


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers, logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers, logging.root.level = handlers, level


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def set_up(format: log.Format = "json", level: log.Level = "info") -> io.StringIO:
    out = io.StringIO()
    log.setup(format, level, out, ReplayClock(NOON))
    hear_this_thread_alone()
    return out


def test_a_line_has_its_name_time_level_and_what_it_is_about() -> None:
    out = set_up()
    logger = log.get(source="kafka")
    with log.about(group="press1", frame=NOON):
        logger.info("gate.shed", streams=np.int64(3), weights=np.array([0.5, 1.0]))
    logger.info("gate.shed")
    assert lines(out) == [
        {
            "timestamp": "2026-01-01T12:00:00.123456Z", "level": "info", "event": "gate.shed", "source": "kafka",
            "group": "press1", "frame": "2026-01-01T12:00:00.123456Z", "streams": 3, "weights": [0.5, 1.0],
        },
        {"timestamp": "2026-01-01T12:00:00.123456Z", "level": "info", "event": "gate.shed", "source": "kafka"},
    ]  # fmt: skip


def test_a_line_is_strict_json_whatever_is_bound() -> None:
    out = set_up()
    log.get().info("model.loaded", path=Path("a"), bad=float("nan"), odd={1}, text="zwei\nZeilen ü")
    (found,) = lines(out)
    assert (found["path"], found["bad"], found["odd"], found["text"]) == ("a", "nan", "{1}", "zwei\nZeilen ü")


def test_an_error_brings_its_traceback_in_one_line() -> None:
    out = set_up()
    try:
        raise ValueError("odd")
    except ValueError:
        log.get().exception("model.failed")
    assert "ValueError: odd" in lines(out)[0]["exception"]


def test_a_later_set_up_holds_for_loggers_that_exist() -> None:
    logger = log.get()
    first = set_up(level="error")
    logger.info("config.loaded")
    second = set_up(level="info")
    logger.info("config.loaded")
    assert (first.getvalue(), len(lines(second))) == ("", 1)


def test_libraries_speak_in_the_same_lines_and_only_once() -> None:
    set_up()
    out = set_up()
    logging.root.handlers = logging.root.handlers[-1:]  # without pytest's own, which refuse odd records
    logging.getLogger("kafka.conn").warning("no answer from %s", "broker")
    logging.getLogger("kafka.conn").warning("a template %s that isn't filled in", *("a", "b"))
    logging.getLogger("kafka.conn").log(45, "odd level")
    logging.getLogger("kafka.conn").info("chatter")
    assert [(line["event"], line["logger"], line["message"]) for line in lines(out)] == [
        ("library.logged", "kafka.conn", "no answer from broker"),
        ("library.logged", "kafka.conn", "a template %s that isn't filled in"),
        ("library.logged", "kafka.conn", "odd level"),
    ]


def test_what_a_library_says_again_from_one_place_waits_and_other_matters_from_there_do_not() -> None:
    """librdkafka says everything from one place; what it is about is in the name."""
    out = set_up()
    for about, text in [("FAIL", "refused"), ("FAIL", "refused again"), ("FENCED", "another took its place")]:
        logging.getLogger(f"librdkafka.{about}").error(text)
    assert [line["message"] for line in lines(out)] == ["refused", "another took its place"]


def test_a_line_and_its_end_are_one_write() -> None:
    """What else writes to the same place (another worker, a native library) comes between lines and not into one."""

    seen: list[str] = []

    class Writes(io.StringIO):
        def write(self, text: str) -> int:
            seen.append(text)
            return len(text)

    log.setup("json", "info", Writes(), ReplayClock(NOON))
    log.get().info("daemon.started")
    log.get().info("daemon.stopped")
    assert [text[-2:] for text in seen] == ["}\n", "}\n"]


def test_people_get_plain_lines_and_machines_json() -> None:
    auto = set_up("auto")
    log.get().info("daemon.started", streams=np.float32(0.5))
    assert lines(auto)[0]["event"] == "daemon.started"
    console = set_up("console")
    log.get().info("daemon.started", streams=np.float32(0.5))
    assert "\x1b" not in console.getvalue()
    assert re.search(r"daemon.started\s+streams=0.5", console.getvalue())


def test_names_are_an_area_and_what_happened() -> None:
    assert [name for name in LOG_NAMES if not re.fullmatch(r"[a-z]+\.[a-z_]+", name)] == []


def test_the_documentation_lists_every_name_and_no_other() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (ROOT / "docs" / "logs.md").read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == LOG_NAMES


def test_the_code_logs_no_name_that_is_not_in_the_table() -> None:
    call = re.compile(r'\.(?:debug|info|warning|error|exception|critical)\(\s*"([a-z]+\.[a-z_]+)"')
    said = [name for room in ("stream", "connectors", "models") for path in (ROOT / room).rglob("*.py")
            for name in call.findall(path.read_text("utf-8"))]  # fmt: skip
    assert sorted(set(said) - set(LOG_NAMES)) == []
