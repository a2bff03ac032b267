"""Notifications by e-mail, over SMTP: a mail per notification, as text and as simple HTML."""

from __future__ import annotations

import hashlib
import smtplib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate

from connectors.clock import WallClock
from connectors.receivers.notification import html, plain, text, title
from connectors.receivers.tls import Tls
from connectors.sink import SinkError, Why

SMTPS_PORT = 465  # TLS from the first byte
AWHILE = 8  # tries, about a minute: credentials may be put right


@dataclass(frozen=True, slots=True)
class MailOptions:
    """By which server, from whom and to whom. ``password`` is read anew each time."""

    host: str
    port: int
    sender: str
    to: Sequence[str]
    user: str | None = None
    password: Callable[[], str] = lambda: ""
    require_tls: bool = True
    tls: Tls = field(default_factory=Tls)
    timeout_s: float = 10.0
    hello: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class MailSink:
    """One connection for all mails of a ``send``. Mails about the same incident form a thread."""

    def __init__(self, options: MailOptions, name: str = "email", now: Callable[[], int] | None = None) -> None:
        self.name, self._options, self._now = name, options, now or WallClock().now

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        if not messages:
            return
        done = 0
        try:
            with self._connected() as server:
                for message in messages:
                    self._mail(server, message)
                    done += 1
        except SinkError as error:
            error.sent = done
            raise
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise self._trouble(error, done) from error

    def _connected(self) -> smtplib.SMTP:
        o = self._options
        if o.port == SMTPS_PORT:
            context = o.tls.context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(o.host, o.port, o.hello, timeout=o.timeout_s, context=context)
        else:
            server = smtplib.SMTP(o.host, o.port, o.hello, timeout=o.timeout_s)
        try:
            self._prepare(server)
        except BaseException:
            server.close()
            raise
        return server

    def _prepare(self, server: smtplib.SMTP) -> None:
        o = self._options
        server.ehlo()
        if o.port != SMTPS_PORT and server.has_extn("starttls"):
            server.starttls(context=o.tls.context())
            server.ehlo()
        elif o.port != SMTPS_PORT and o.require_tls:
            raise SinkError(f"{self._server}: offers no STARTTLS, and require_tls is set", "refused", tries=AWHILE)
        if o.user is not None:
            server.login(o.user, o.password())

    @property
    def _server(self) -> str:
        return f"{self._options.host}:{self._options.port}"

    def _mail(self, server: smtplib.SMTP, message: Mapping[str, object]) -> None:
        o = self._options
        refused = server.send_message(self.mail(message), o.sender, list(o.to))
        if refused:  # the others have it: another try would tell them twice
            said = "; ".join(f"{to}: {code} {_text(why)}" for to, (code, why) in refused.items())
            raise SinkError(f"{self._server}: not taken for {said}", "refused", tries=1)

    def mail(self, message: Mapping[str, object]) -> EmailMessage:
        """The mail about a notification."""
        o, now, mail = self._options, self._now(), EmailMessage()
        thread = _digest(message.get("groupKey") or message.get("fingerprint"))
        own = {
            "Subject": title(message),
            "From": o.sender,
            "To": ", ".join(o.to),
            "Date": formatdate(now / 1e9),
            "Message-ID": f"<{thread}.{_digest(text(message))}.{now}@heed>",
            "References": f"<{thread}@heed>",
        }
        named = {name.lower() for name in o.headers}
        for name, value in {**{n: v for n, v in own.items() if n.lower() not in named}, **o.headers}.items():
            mail[name] = plain(value)
        mail.set_content(text(message))
        mail.add_alternative(html(message), subtype="html")
        return mail

    def _trouble(self, error: Exception, sent: int) -> SinkError:
        said, reason, tries = f"{self._server}: {_said(error)}", _reason(error), None
        if isinstance(error, smtplib.SMTPAuthenticationError):
            tries = AWHILE
        elif _code(error) >= 500:
            tries = 1
        return SinkError(said, reason, sent=sent, tries=tries)

    def close(self) -> None:
        pass


def _code(error: Exception) -> int:
    """The server's answer; of several recipients refused the mildest. 0 where it said nothing."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return min((int(code) for code, _ in error.recipients.values()), default=0)
    return error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0


def _reason(error: Exception) -> Why:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "auth"
    if isinstance(error, TimeoutError):
        return "timeout"
    code = _code(error)
    return "refused" if code >= 500 else "server_error" if code else "unreachable"


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{to}: {code} {_text(why)}" for to, (code, why) in error.recipients.items())
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return str(error) or type(error).__name__


def _text(said: bytes | str) -> str:
    return plain(said.decode("utf-8", "replace") if isinstance(said, bytes) else said)


def _digest(value: object) -> str:
    return hashlib.sha256(str(value).encode("utf-8", "replace")).hexdigest()[:20]
