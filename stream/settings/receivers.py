"""In which ways people are told of incidents: Alertmanager, webhook, e-mail, a program, apprise."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, model_validator

from stream.settings.quantities import (
    Duration,
    Section,
    Text,
    TextOrList,
    Url,
    UrlOrList,
    by_default,
    expected,
    refused,
)

S = TypeVar("S", bound=Section)
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):([0-9]{1,5})")


class BasicAuth(Section):
    """User and password of an HTTP address."""

    username: Text
    """User."""
    password: str | None = None
    """Password; or give `password_file`."""
    password_file: Text | None = None
    """File that holds the password, read anew with each use."""

    @model_validator(mode="after")
    def _one(self) -> BasicAuth:
        return _one_of(self, "password")


class Authorization(Section):
    """The header of that name."""

    type: Text = "Bearer"
    """What stands before the credentials."""
    credentials: str | None = None
    """The token; or give `credentials_file`."""
    credentials_file: Text | None = None
    """File that holds the token, read anew with each use."""

    @model_validator(mode="after")
    def _one(self) -> Authorization:
        return _one_of(self, "credentials")


def _one_of(section: S, key: str) -> S:
    given = [name for name in (key, f"{key}_file") if getattr(section, name) is not None]
    if len(given) != 1:
        raise refused(f"give {key} or {key}_file" + (", not both" if given else ""))
    return section


class TlsConfig(Section):
    """TLS to a server that is told."""

    ca_file: Text | None = None
    """Authorities to trust, PEM; by default the system's."""
    cert_file: Text | None = None
    """Client certificate, PEM."""
    key_file: Text | None = None
    """Its key, PEM; not needed where it is in `cert_file`."""
    insecure_skip_verify: bool = False
    """Whether to trust whoever answers."""


class Endpoint(Section):
    """An HTTP address that notifications are posted to."""

    timeout: Duration = by_default("10s")
    """Longest wait for an answer."""
    headers: dict[Text, str] = Field(default_factory=dict)
    """Headers added to each request."""
    basic_auth: BasicAuth | None = None
    """User and password."""
    authorization: Authorization | None = None
    """A token, like `{credentials_file: /run/secrets/token}`."""
    tls_config: TlsConfig = TlsConfig()
    """TLS, where the address begins with https."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Endpoint:
        if self.basic_auth and self.authorization:
            raise refused("give basic_auth or authorization, not both")
        return self


class Alertmanager(Endpoint):
    """Prometheus Alertmanager, one or all of a cluster; heed adds `/api/v2/alerts`."""

    url: UrlOrList
    """Where it is; of a cluster a list of all its members."""


class Webhook(Endpoint):
    """A POST of Alertmanager's webhook object, version 4."""

    url: Url | None = None
    """Where to post; or give `url_file`."""
    url_file: Text | None = None
    """File that holds the address, read anew with each use."""

    @model_validator(mode="after")
    def _somewhere(self) -> Webhook:
        return _one_of(self, "url")


def _smarthost(text: str) -> str:
    found = _SERVER.fullmatch(text)
    if not (found and int(found[2]) < 65536):
        raise expected("a mail server like mail.example.org:587")
    return text


class Email(Section):
    """A mail for each notification, as text and HTML."""

    to: TextOrList
    """Who gets it."""
    from_: Text = Field(alias="from")
    """Who it is from."""
    smarthost: Annotated[Text, AfterValidator(_smarthost)]
    """Mail server with port; on 465 TLS is spoken from the start, otherwise after STARTTLS."""
    hello: Text | None = None
    """Name that heed gives itself; by default the host's."""
    username: Text | None = None
    """User; by default there is no log-in."""
    password: str | None = None
    """Password; or give `password_file`."""
    password_file: Text | None = None
    """File that holds the password, read anew with each use."""
    require_tls: bool = True
    """Whether to refuse a server that offers no TLS."""
    headers: dict[Text, str] = Field(default_factory=dict)
    """Headers added, or put in place of heed's own, like `Subject`."""
    tls_config: TlsConfig = TlsConfig()
    """TLS to the mail server."""
    timeout: Duration = by_default("10s")
    """Longest wait for an answer."""

    @model_validator(mode="after")
    def _log_in(self) -> Email:
        if self.username is not None:
            return _one_of(self, "password")
        if self.password is not None or self.password_file is not None:
            raise refused("is required where there is a password", "username")
        return self


class Exec(Section):
    """A program that gets the notification as JSON on its standard input; no shell is involved."""

    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Program and arguments, as a list."""
    env: dict[Text, str] = Field(default_factory=dict)
    """Variables it gets beside the few that are passed on."""
    timeout: Duration = by_default("10s")
    """After which it is killed."""


class Apprise(Section):
    """Chats, pagers and the like, by way of apprise; needs heed-monitor[notify]."""

    urls: TextOrList | None = None
    """Addresses as apprise writes them, like `slack://...`; or give `urls_file`."""
    urls_file: Text | None = None
    """File with an address a line, read anew with each use."""

    @model_validator(mode="after")
    def _somewhere(self) -> Apprise:
        return _one_of(self, "urls")
