"""The sinks of a receiver from its settings; secrets are read from their files each time they are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectors.receivers.tls import Tls
from connectors.sink import Sink
from stream.settings import Alertmanager, Apprise, Email, Endpoint, Exec, Receiver, TlsConfig, Webhook, ways
from stream.settings.quantities import split_address

SECOND = 1_000_000_000  # ns
LASTS = 300 * SECOND  # that an Alertmanager takes a firing alert for firing, at least


def receiver_sinks(receiver: Receiver) -> dict[str, Sink]:
    """By name, one for each way in which the receiver is told; raises ValueError."""
    return {name: _MAKERS[kind](getattr(receiver, kind), name, receiver) for kind, name in ways(receiver).items()}


def _secret(value: str | None, file: str | None) -> Callable[[], str]:
    """What gives a secret that stands in the configuration, or in a file of its own; raises OSError."""
    if file is None:
        return lambda: value or ""
    path = Path(file)
    return lambda: path.read_text("utf-8").rstrip("\r\n")


def _tls(found: TlsConfig) -> Tls:
    return Tls(found.ca_file, found.cert_file, found.key_file, found.insecure_skip_verify)


def _authorization(endpoint: Endpoint) -> Callable[[], str | None]:
    from connectors.receivers.http_post import basic

    if endpoint.basic_auth is not None:
        user = endpoint.basic_auth.username
        password = _secret(endpoint.basic_auth.password, endpoint.basic_auth.password_file)
        return lambda: basic(user, password())
    if endpoint.authorization is not None:
        kind = endpoint.authorization.type
        token = _secret(endpoint.authorization.credentials, endpoint.authorization.credentials_file)
        return lambda: f"{kind} {token()}"
    return lambda: None


def _poster(endpoint: Endpoint) -> Any:
    from connectors.receivers.http_post import HttpOptions, HttpPoster  # only those who post pay for its import

    authorization, tls = _authorization(endpoint), _tls(endpoint.tls_config)
    return HttpPoster(HttpOptions(endpoint.timeout / SECOND, endpoint.headers, authorization, tls))


def _alertmanager(found: Alertmanager, name: str, receiver: Receiver) -> Sink:
    from connectors.receivers.alertmanager import AlertmanagerSink

    return AlertmanagerSink(found.url, _poster(found), name, max(4 * receiver.resend_delay, LASTS))


def _webhook(found: Webhook, name: str, receiver: Receiver) -> Sink:
    from connectors.receivers.webhook import WebhookSink

    return WebhookSink(_secret(found.url, found.url_file), _poster(found), name, receiver.max_alerts)


def _email(found: Email, name: str, receiver: Receiver) -> Sink:
    from connectors.receivers.mail import MailOptions, MailSink

    options = MailOptions(
        *split_address(found.smarthost),
        sender=found.from_,
        to=found.to,
        user=found.username,
        password=_secret(found.password, found.password_file),
        require_tls=found.require_tls,
        tls=_tls(found.tls_config),
        timeout_s=found.timeout / SECOND,
        hello=found.hello,
        headers=found.headers,
    )
    return MailSink(options, name)


def _exec(found: Exec, name: str, receiver: Receiver) -> Sink:
    from connectors.receivers.command import CommandSink

    return CommandSink(found.command, name, found.timeout / SECOND, found.env)


def _apprise(found: Apprise, name: str, receiver: Receiver) -> Sink:
    from connectors.receivers.apprise_sink import AppriseSink

    lines = _secret(None if found.urls is None else "\n".join(found.urls), found.urls_file)
    return AppriseSink(lambda: [line.strip() for line in lines().splitlines() if line.strip()], name)


_MAKERS: dict[str, Callable[[Any, str, Receiver], Sink]] = {
    "alertmanager": _alertmanager, "webhook": _webhook, "email": _email, "exec": _exec, "apprise": _apprise,
}  # fmt: skip
