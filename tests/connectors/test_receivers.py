"""Receivers on real servers: what they send, and what an answer means for the next try."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from listening import Answer, MailServer, WebServer, eventually, free_port, notification

from connectors.keeping import outbox as outbox_module
from connectors.keeping.outbox import Outbox
from connectors.keeping.shelf import Letter
from connectors.receivers import http_post
from connectors.receivers.alertmanager import AlertmanagerSink
from connectors.receivers.apprise_sink import AppriseSink
from connectors.receivers.command import CommandSink
from connectors.receivers.http_post import HttpOptions, HttpPoster, basic, retry_after
from connectors.receivers.mail import MailOptions, MailSink
from connectors.receivers.notification import text, title
from connectors.receivers.tls import Tls
from connectors.receivers.webhook import WebhookSink
from connectors.sink import SinkError

NOW = 1_772_366_400_000_000_000  # 2026-03-01T12:00:00Z


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[trustme.CA, str]]:
    made = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    made.cert_pem.write_to_path(path)
    yield made, str(path)


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def webhook(url: str, **options: Any) -> WebhookSink:
    return WebhookSink(lambda: url, HttpPoster(HttpOptions(**options), lambda: NOW))


def refused(send: Callable[[], None]) -> SinkError:
    with pytest.raises(SinkError) as caught:
        send()
    assert str(caught.value)
    return caught.value


# --- webhook, and what all that posts shares


def test_a_webhook_gets_each_notification_as_it_is(web: WebServer) -> None:
    sent = [notification(0), notification(1, "resolved")]
    webhook(f"{web.url}/heed?x=1", headers={"X-Site": "plant"}).send(sent)
    assert web.told == sent
    assert {post.path for post in web.posts} == {"/heed?x=1"}
    assert web.posts[0].headers["content-type"] == "application/json"
    assert web.posts[0].headers["x-site"] == "plant"


def test_of_too_many_alerts_the_rest_is_counted(web: WebServer) -> None:
    sink = WebhookSink(lambda: web.url, HttpPoster(HttpOptions()), max_alerts=2)
    sink.send([{**notification(0, alerts=5), "truncatedAlerts": 4}, notification(1, alerts=2)])
    assert [(len(each["alerts"]), each["truncatedAlerts"]) for each in web.told] == [(2, 7), (2, 0)]


@pytest.mark.parametrize(
    ("status", "reason", "tries"),
    [
        (400, "refused", 1),
        (413, "refused", 1),
        (422, "refused", 1),
        (401, "auth", http_post.AWHILE),
        (403, "auth", http_post.AWHILE),
        (404, "refused", http_post.AWHILE),
        (302, "refused", http_post.AWHILE),
        (408, "server_error", None),
        (429, "rate_limited", None),
        (500, "server_error", http_post.LONG),
        (502, "server_error", None),
        (503, "server_error", None),
        (504, "server_error", None),
    ],
)
def test_an_answer_says_whether_another_try_makes_sense(
    web: WebServer, status: int, reason: str, tries: int | None
) -> None:
    web.script = [Answer(), Answer(status, {"Location": "/elsewhere"}, b"no\nthanks")]
    error = refused(lambda: webhook(web.url).send([notification(i) for i in range(3)]))
    assert (error.reason, error.tries, error.sent) == (reason, tries, 1)
    assert f"answered {status}: no thanks" in str(error)
    assert len(web.posts) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), ("0", 0), ("Sun, 01 Mar 2026 12:01:30 GMT", 90), ("soon", 0), ("-3", 0), ("9" * 99, 3600), (None, 0)],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(text: str | None, seconds: float) -> None:
    assert retry_after(text, NOW) == seconds


def test_who_is_told_to_wait_waits(web: WebServer) -> None:
    web.script = [Answer(429, {"Retry-After": "12"})]
    assert refused(lambda: webhook(web.url).send([notification()])).wait_s == 12


def test_nobody_there_and_nobody_answering_are_told_apart(web: WebServer) -> None:
    error = refused(lambda: webhook(f"http://127.0.0.1:{free_port()}").send([notification()]))
    assert (error.reason, error.tries) == ("unreachable", None)
    assert "refused" in str(error)
    web.script = [Answer(wait_s=20)]
    began = time.monotonic()
    assert refused(lambda: webhook(web.url, timeout_s=0.2).send([notification()])).reason == "timeout"
    assert time.monotonic() - began < 8


def test_a_name_that_nothing_has_is_unreachable() -> None:
    assert refused(lambda: webhook("http://nowhere.invalid/x").send([notification()])).reason == "unreachable"


def test_a_redirect_is_followed_on_the_same_host_only(web: WebServer) -> None:
    web.script = [Answer(307, {"Location": "/there"})]
    webhook(f"{web.url}/here").send([notification()])
    assert [post.path for post in web.posts] == ["/here", "/there"]
    other = f"http://localhost:{web.port}/stolen"
    web.script = [Answer(308, {"Location": other})]
    assert refused(lambda: webhook(web.url).send([notification()])).reason == "refused"
    web.script = [Answer(307, {"Location": "/round"})] * 9
    refused(lambda: webhook(web.url).send([notification()]))
    assert "/stolen" not in {post.path for post in web.posts}


def test_errors_show_no_more_of_an_address_than_its_host() -> None:
    port = free_port()
    error = refused(lambda: webhook(f"http://me:hunter2@127.0.0.1:{port}/hooks/hunter2").send([notification()]))
    assert "hunter2" not in str(error)
    assert f"127.0.0.1:{port}" in str(error)


def test_credentials_are_read_anew_each_time(web: WebServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    sink = webhook(web.url, authorization=lambda: f"Bearer {token.read_text()}")
    assert refused(lambda: sink.send([notification()])).reason == "auth"
    for secret in ("first", "second"):
        token.write_text(secret)
        sink.send([notification()])
    assert [post.headers["authorization"] for post in web.posts] == ["Bearer first", "Bearer second"]


def test_user_and_password_may_stand_in_the_address(web: WebServer) -> None:
    webhook(f"http://me:p%40ss@127.0.0.1:{web.port}/").send([notification()])
    assert web.posts[0].headers["authorization"] == basic("me", "p@ss")


def test_tls_is_checked_against_the_authority_that_is_named(authority: tuple[trustme.CA, str]) -> None:
    server = WebServer(tls=server_tls(authority[0]))
    try:
        error = refused(lambda: webhook(server.url).send([notification()]))
        assert error.reason == "unreachable"
        assert "certificate" in str(error)
        webhook(server.url, tls=Tls(ca_file=authority[1])).send([notification(1)])
        webhook(server.url, tls=Tls(insecure=True)).send([notification(2)])
        assert "No such file" in str(refused(lambda: webhook(server.url, tls=Tls("nowhere.pem")).send([{}])))
    finally:
        server.close()
    assert [post.json["alerts"][0]["labels"]["alertname"] for post in server.posts] == ["Alert1", "Alert2"]


def test_a_client_certificate_is_shown(authority: tuple[trustme.CA, str], tmp_path: Path) -> None:
    context = server_tls(authority[0])
    context.verify_mode = ssl.CERT_REQUIRED
    authority[0].configure_trust(context)
    own = tmp_path / "heed.pem"
    authority[0].issue_cert("heed@example.org").private_key_and_cert_chain_pem.write_to_path(own)
    server = WebServer(tls=context)
    try:
        refused(lambda: webhook(server.url, tls=Tls(authority[1])).send([notification()]))
        webhook(server.url, tls=Tls(authority[1], str(own))).send([notification()])
    finally:
        server.close()
    assert len(server.posts) == 1


def test_a_proxy_of_the_environment_is_used_unless_it_is_not_to_be(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", web.url)
    monkeypatch.setenv("no_proxy", "")
    webhook("http://far.example/hook").send([notification()])
    assert web.posts[0].path == "http://far.example/hook"
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    webhook(f"http://localhost:{web.port}/here").send([notification()])
    assert web.posts[1].path == "/here", "this machine is asked directly"
    monkeypatch.setenv("no_proxy", "far.example")
    assert refused(lambda: webhook("http://far.example/hook", timeout_s=5).send([{}])).reason == "unreachable"


def test_what_is_no_unicode_gets_through_and_what_is_no_json_is_given_up(web: WebServer) -> None:
    odd = {"labels": {"stream": "\ud800"}}
    webhook(web.url).send([odd])
    assert web.told == [odd]
    assert refused(lambda: webhook(web.url).send([{"labels": {1j: "x"}}])).tries == 1


# --- Alertmanager


def alertmanager(*urls: str, **how: Any) -> AlertmanagerSink:
    return AlertmanagerSink(urls, HttpPoster(HttpOptions()), lasts=240 * 10**9, now=lambda: NOW, **how)


def test_alerts_go_to_alertmanager_with_an_end_ahead_while_they_fire(web: WebServer) -> None:
    alertmanager(f"{web.url}/prefix/").send([notification(0), notification(1, "resolved")])
    assert {post.path for post in web.posts} == {"/prefix/api/v2/alerts"}
    firing, over = web.told[0]
    assert (firing["startsAt"], firing["endsAt"]) == ("2026-03-01T12:00:00Z", "2026-03-01T12:04:00Z")
    assert over["endsAt"] == "2026-03-01T12:05:00Z"
    assert firing["labels"]["stream"] == "incident0/s0"
    assert firing["annotations"]["description"] == "far too high"
    assert firing["generatorURL"] == "http://heed/"


def test_many_alerts_are_posted_in_few_requests_of_bounded_size(web: WebServer) -> None:
    alertmanager(web.url).send([notification(i, alerts=100) for i in range(7)])
    assert [len(each) for each in web.told] == [256, 256, 188]


def test_it_is_known_which_messages_went_through_before_one_failed(web: WebServer) -> None:
    web.script = [Answer(), Answer(503)]
    error = refused(lambda: alertmanager(web.url).send([notification(i, alerts=100) for i in range(7)]))
    assert error.sent == 2  # 256 alerts were taken: two messages, and half of a third


def test_every_member_of_a_cluster_is_told_and_one_is_enough(web: WebServer) -> None:
    other, away = WebServer(), f"http://127.0.0.1:{free_port()}"
    try:
        box = Outbox({"am": (sink := alertmanager(web.url, away, other.url))})
        box.put([Letter(1, "am", notification())])
        assert eventually(lambda: box.counts()["am"].delivered == 1)
        assert len(web.posts) == len(other.posts) == 1
        assert box.problems() == {"am": sink.complaint}
        assert away in sink.complaint
        assert sink.complaint.endswith("the others took it")
        assert box.close()
        web.script, other.script = [Answer(400)], [Answer(400)]
        error = refused(lambda: alertmanager(web.url, away, other.url).send([notification()]))
        assert error.tries is None, "one of them may still take it"
    finally:
        other.close()


def test_odd_labels_get_names_that_every_alertmanager_takes(web: WebServer) -> None:
    odd = {"site.name": "a", "1st": "b", "": "c", "ok": "\ud800x", "none": None}
    alertmanager(web.url).send([{"alerts": [{"labels": odd, "status": "firing"}, {"status": "resolved"}]}])
    first, second = web.told[0]
    assert first["labels"] == {"site_name": "a", "_1st": "b", "_": "c", "ok": "?x"}
    assert second["labels"] == {"alertname": "unnamed"}
    assert second["endsAt"] == "2026-03-01T12:00:00Z"


# --- e-mail


def mail(server: MailServer, to: tuple[str, ...] = ("ops@example.org",), **options: Any) -> MailSink:
    how = {"require_tls": False, "timeout_s": 5.0, **options}
    return MailSink(MailOptions("127.0.0.1", server.port, "heed@example.org", to, **how), now=lambda: NOW)


@pytest.fixture
def post_office() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


def test_a_mail_tells_of_all_alerts_as_text_and_as_html(post_office: MailServer) -> None:
    mail(post_office, ("a@example.org", "b@example.org")).send([notification(0, alerts=3)])
    found = post_office.mails[0]
    assert found["Subject"] == "[FIRING:3] Alert0 incident0"
    assert found["Date"] == "Sun, 01 Mar 2026 12:00:00 -0000"
    assert post_office.recipients == [["a@example.org", "b@example.org"]]
    plain, rich = (found.get_body((kind,)).get_content() for kind in ("plain", "html"))  # type: ignore[union-attr]
    for part in (plain, rich):
        assert all(f"Alert0 of s{n}" in part for n in range(3))
        assert "http://heed/" in part
    assert rich.startswith("<!doctype html>")


def test_mails_about_one_incident_form_a_thread(post_office: MailServer) -> None:
    mail(post_office).send([notification(0), notification(0, "resolved"), notification(1)])
    about = [found["References"] for found in post_office.mails]
    assert about[0] == about[1] != about[2]
    assert len({found["Message-ID"] for found in post_office.mails}) == 3


def test_names_can_neither_add_headers_nor_html(post_office: MailServer) -> None:
    odd = {**notification(0), "groupLabels": {"a": "x\nBcc: all@example.org", "b": "<script>\x1b"}}
    mail(post_office, headers={"X-Team": "one\ntwo"}).send([odd])
    found = post_office.mails[0]
    assert found["Bcc"] is None
    assert found["X-Team"] == "one two"
    assert "<script>" not in found.get_body(("html",)).get_content()  # type: ignore[union-attr]


def test_headers_of_ones_own_stand_in_place_of_heeds(post_office: MailServer) -> None:
    mail(post_office, headers={"subject": "Plant"}).send([notification()])
    assert post_office.mails[0].get_all("Subject") == ["Plant"]


def test_a_server_without_tls_is_refused_where_tls_is_required(post_office: MailServer) -> None:
    error = refused(lambda: mail(post_office, require_tls=True).send([notification()]))
    assert "STARTTLS" in str(error)
    assert post_office.mails == []


def test_mail_goes_over_tls_and_after_a_log_in(authority: tuple[trustme.CA, str]) -> None:
    server = MailServer(server_tls(authority[0]), "heed", "right")
    try:
        how = {"require_tls": True, "tls": Tls(authority[1]), "user": "heed"}
        error = refused(lambda: mail(server, password=lambda: "wrong", **how).send([notification()]))
        assert (error.reason, error.tries) == ("auth", 8)
        mail(server, password=lambda: "right", **how).send([notification()])
        assert refused(lambda: mail(server, require_tls=True).send([notification()])).reason == "unreachable"
    finally:
        server.close()
    assert server.encrypted == [True]


def test_on_its_own_port_tls_is_spoken_from_the_start(
    authority: tuple[trustme.CA, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MailServer(at_once=server_tls(authority[0]))
    monkeypatch.setattr("connectors.receivers.mail.SMTPS_PORT", server.port)
    try:
        mail(server, require_tls=True, tls=Tls(authority[1])).send([notification()])
        assert refused(lambda: mail(server).send([notification()])).reason == "unreachable"
    finally:
        server.close()
    assert server.encrypted == [True]


@pytest.mark.parametrize(
    ("answer", "reason", "tries"), [("451 later", "server_error", None), ("554 never", "refused", 1)]
)
def test_a_mail_server_says_whether_another_try_makes_sense(
    post_office: MailServer, answer: str, reason: str, tries: int | None
) -> None:
    sink = mail(post_office)
    sink.send([notification(0)])
    post_office.answer = answer
    error = refused(lambda: sink.send([notification(1)]))
    assert (error.reason, error.tries, error.sent) == (reason, tries, 0)
    assert answer.split()[1] in str(error)


def test_a_mail_for_nobody_is_given_up_and_one_for_some_is_not_sent_twice(post_office: MailServer) -> None:
    assert refused(lambda: mail(post_office, ("nobody@x.org",)).send([notification()])).tries == 1
    assert refused(lambda: mail(post_office, ("later@x.org",)).send([notification()])).tries is None
    error = refused(lambda: mail(post_office, ("nobody@x.org", "b@x.org")).send([notification()]))
    assert error.tries == 1
    assert "nobody@x.org: 550" in str(error)
    assert post_office.recipients == [["b@x.org"]]


def test_no_mail_server_is_unreachable() -> None:
    options = MailOptions("127.0.0.1", free_port(), "a@b", ["c@d"], require_tls=False)
    assert refused(lambda: MailSink(options).send([notification()])).reason == "unreachable"


# --- a program


def program(folder: Path, body: str) -> list[str]:
    path = folder / "told.py"
    path.write_text(f"import json, os, sys, time\ntold = json.load(sys.stdin)\n{body}")
    return [sys.executable, str(path)]


def test_a_program_gets_the_notification_and_few_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    out = tmp_path / "out"
    command = [
        *program(tmp_path, f"json.dump([told, dict(os.environ), sys.argv], open({str(out)!r}, 'w'))"),
        "$HOME; x",
    ]
    CommandSink(command, env={"SITE": "plant"}).send([notification(3)])
    import json

    told, variables, arguments = json.loads(out.read_text())
    assert told == notification(3)
    assert arguments[1:] == ["$HOME; x"], "no shell has seen it"
    assert variables["SITE"] == "plant"
    assert (variables["HEED_STATUS"], variables["HEED_RECEIVER"]) == ("firing", "oncall")
    assert "A_SECRET" not in variables


def test_an_exit_code_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    command = program(tmp_path, "print('x' * 10**6, file=sys.stderr); sys.exit('nobody is on call' if "
                                "told['alerts'][0]['fingerprint'] == 'incident1-0' else 0)")  # fmt: skip
    error = refused(lambda: CommandSink(command).send([notification(0), notification(1)]))
    assert (error.reason, error.sent) == ("failed", 1)
    assert "exit code 1" in str(error)
    assert str(error).endswith("nobody is on call")
    assert len(str(error)) < 500


def test_a_program_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    mark = f"heed-{time.monotonic_ns()}"
    hang = (
        f"import subprocess; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '{mark}']).wait()"
    )
    error = refused(lambda: CommandSink(program(tmp_path, hang), timeout_s=1.0).send([notification()]))
    assert error.reason == "timeout"
    listed = ["ps", "-eo", "args"]
    assert eventually(lambda: mark not in subprocess.run(listed, capture_output=True, text=True, check=True).stdout)


def test_a_program_that_is_not_there_is_said_so() -> None:
    error = refused(lambda: CommandSink(["/nowhere/at-all"]).send([notification()]))
    assert "No such file" in str(error)


# --- apprise


def test_apprise_tells_whoever_it_knows(web: WebServer) -> None:
    pytest.importorskip("apprise")
    AppriseSink(lambda: [f"json://127.0.0.1:{web.port}/chat"]).send([notification(0), notification(0, "resolved")])
    assert [(told["title"], told["type"]) for told in web.told] == [
        ("[FIRING:1] Alert0 incident0", "failure"), ("[RESOLVED] Alert0 incident0", "success"),
    ]  # fmt: skip
    assert "far too high" in web.told[0]["message"]


def test_apprise_says_what_went_wrong_as_far_as_it_is_known(web: WebServer) -> None:
    pytest.importorskip("apprise")
    web.script = [Answer(500)]
    error = refused(lambda: AppriseSink(lambda: [f"json://127.0.0.1:{web.port}"]).send([notification()]))
    assert "500" in str(error)
    assert "one of the URLs" in str(refused(lambda: AppriseSink(lambda: ["nonsense://x"]).send([notification()])))


def test_without_apprise_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ValueError, match=r"pip install 'heed-monitor\[notify\]'"):
        AppriseSink(list)


# --- what people read


def test_a_notification_with_next_to_nothing_in_it_can_still_be_read() -> None:
    assert title({}) == "[FIRING:1]"
    assert "an alert" in text({})
    assert title({"alerts": [], "status": "resolved"}) == "[RESOLVED]"


def test_many_alerts_are_cut_short_and_counted() -> None:
    told = text({**notification(0, alerts=80), "truncatedAlerts": 20})
    assert "... and 50 more alerts" in told
    assert told.count("FIRING: ") == 50


def test_a_resolved_alert_says_from_when_until_when() -> None:
    told = text(notification(0, "resolved"))
    assert "since 2026-03-01T12:00:00Z" in told
    assert "until 2026-03-01T12:05:00Z" in told


# --- through the outbox


def test_a_receiver_that_stumbles_is_told_everything_once_and_not_sooner_than_it_asked(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "FIRST_PAUSE_S", 0.01)
    web.script = [Answer(500), Answer(429, {"Retry-After": "1"}), Answer(503), Answer(wait_s=6.0)]
    web.unwanted = lambda found: found["groupLabels"]["group"] == "incident1"
    box = Outbox({"hook": webhook(web.url, timeout_s=3)})
    began = time.monotonic()
    box.put([Letter(n, "hook", notification(n)) for n in range(4)])
    assert eventually(lambda: box.counts()["hook"].waiting == 0)
    assert time.monotonic() - began >= 1.0
    assert box.close()
    told = [each["groupLabels"]["group"] for each in web.told]
    assert told[:5] == ["incident0"] * 5, "four that failed, and the one that was taken"
    assert told[-2:] == ["incident2", "incident3"]
    assert set(told[5:-2]) == {"incident1"}
    assert [(number, why.partition(" answered ")[2]) for number, _, why in box.take_dead()] == [(1, "400: {}")]
    found = box.counts()["hook"]
    assert (found.delivered, found.dead) == (3, 1)
    assert {why: n for why, n in found.failed.items() if why != "refused"} == {
        "server_error": 2, "rate_limited": 1, "timeout": 1,
    }  # fmt: skip


def test_a_slow_receiver_delays_no_other(web: WebServer) -> None:
    other, gate = WebServer(), threading.Event()
    web.unwanted = lambda found: not gate.wait(60)
    box = Outbox({"slow": webhook(web.url, timeout_s=60), "quick": webhook(other.url)})
    box.put([Letter(n, name, notification(n)) for n in range(20) for name in ("slow", "quick")])
    assert eventually(lambda: len(other.posts) == 20)
    assert len(web.posts) <= 1
    gate.set()
    assert box.close()
    assert len(web.posts) == 20
    other.close()
