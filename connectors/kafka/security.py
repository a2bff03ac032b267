"""TLS and SASL of a Kafka client: what the settings ask for, checked before anything is connected."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors.clock import WallClock
from connectors.kafka.oauth import ClientCredentials

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI")
_PASSWORDS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_OAUTH = "sasl.oauthbearer."
KEYS = frozenset(
    {
        "ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location", "ssl.key.location", "ssl.key.password",
        "ssl.crl.location", "ssl.cipher.suites", "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification", "https.ca.location", _OAUTH + "method", _OAUTH + "client.id",
        _OAUTH + "client.secret", _OAUTH + "token.endpoint.url", _OAUTH + "scope", _OAUTH + "extensions",
    }
)  # fmt: skip
Client = Mapping[str, object]
Settings = dict[str, Any]


def secured(client: Client) -> Settings:
    """kafka-python's settings for the security that ``client`` asks for; ValueError where it can't be had."""
    protocol = str(client.get("security.protocol", "PLAINTEXT")).upper()
    _needed(client, protocol)
    found: Settings = {}
    if protocol in ("SSL", "SASL_SSL"):
        found["ssl_context"] = tls(client)
    if protocol.startswith("SASL"):
        found |= _sasl(client)
    return found


def _needed(client: Client, protocol: str) -> None:
    """Keys that the protocol would pass over in silence are mistakes."""
    ways = {"ssl.": ("SSL", "SASL_SSL"), "sasl.": ("SASL_PLAINTEXT", "SASL_SSL")}
    for name in client:
        for start, wanted in ways.items():
            if name.startswith(start) and protocol not in wanted:
                raise ValueError(f"client.{name} needs security.protocol {' or '.join(wanted)}, not {protocol}")


def tls(client: Client) -> ssl.SSLContext:
    """TLS 1.2 or newer, with the files that ``client`` names; ValueError where one can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    verified = _switch(client, "enable.ssl.certificate.verification")
    context.check_hostname = verified and _hostname(client)
    context.verify_mode = ssl.CERT_REQUIRED if verified else ssl.CERT_NONE
    _trust(context, client)
    _own(context, client)
    if ciphers := client.get("ssl.cipher.suites"):
        _loaded("ssl.cipher.suites", lambda: context.set_ciphers(str(ciphers)))
    return context


def _hostname(client: Client) -> bool:
    known = {"https": True, "none": False, "": False}
    said = str(client.get("ssl.endpoint.identification.algorithm", "https")).lower()
    if said not in known:
        raise ValueError(f"client.ssl.endpoint.identification.algorithm: https or none, not {said!r}")
    return known[said]


def _switch(client: Client, name: str) -> bool:
    said = str(client.get(name, "true")).lower()
    if said not in ("true", "false"):
        raise ValueError(f"client.{name}: true or false, not {said!r}")
    return said == "true"


def _trust(context: ssl.SSLContext, client: Client) -> None:
    """Which authorities, and which of their certificates no longer."""
    where = str(client.get("ssl.ca.location", "probe"))
    if pem := client.get("ssl.ca.pem"):
        _loaded("ssl.ca.pem", lambda: context.load_verify_locations(cadata=str(pem)))
    elif where == "probe":
        context.load_default_certs()
    else:
        folder = Path(where).is_dir()
        _loaded(
            "ssl.ca.location",
            lambda: context.load_verify_locations(None if folder else where, where if folder else None),
        )
    if revoked := client.get("ssl.crl.location"):
        _loaded("ssl.crl.location", lambda: context.load_verify_locations(str(revoked)))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _own(context: ssl.SSLContext, client: Client) -> None:
    """The client's own certificate, for brokers that want one."""
    certificate, key = client.get("ssl.certificate.location"), client.get("ssl.key.location")
    if certificate is None and key is None:
        return
    if certificate is None:
        raise ValueError("client.ssl.key.location needs ssl.certificate.location too")
    password = str(client.get("ssl.key.password", ""))  # never None: OpenSSL would ask on the terminal
    _loaded(
        "ssl.key.location" if key else "ssl.certificate.location",
        lambda: context.load_cert_chain(str(certificate), None if key is None else str(key), password),
    )


def _loaded(name: str, load: Any) -> None:
    try:
        load()
    except FileNotFoundError as error:
        raise ValueError(f"client.{name}: no such file, or one that it belongs to: {error}") from error
    except (OSError, ValueError) as error:  # of OpenSSL's too
        raise ValueError(f"client.{name}: can't be used (a wrong password, another key's?): {error}") from error


def _sasl(client: Client) -> Settings:
    mechanism = str(client.get("sasl.mechanisms", client.get("sasl.mechanism", ""))).upper()
    if mechanism not in MECHANISMS:
        raise ValueError(f"client.sasl.mechanism: one of {', '.join(MECHANISMS)}, not {mechanism!r}")
    if mechanism == "OAUTHBEARER":
        return {"sasl_mechanism": mechanism, "sasl_oauth_token_provider": _provider(client)}
    missing = [name for name in ("sasl.username", "sasl.password") if not client.get(name)]
    if mechanism in _PASSWORDS and missing:
        raise ValueError(f"client.{missing[0]}: missing; {mechanism} needs it")
    return {"sasl_mechanism": mechanism}


def _provider(client: Client) -> Any:
    from connectors.kafka.oauthbearer import TokenProvider  # which imports Kafka

    if client.get(_OAUTH + "method") != "oidc":
        raise ValueError(f"client.{_OAUTH}method: write oidc: tokens are had by client credentials, and no other way")
    wanted = ("client.id", "client.secret", "token.endpoint.url")
    for name in wanted:
        if not client.get(_OAUTH + name):
            raise ValueError(f"client.{_OAUTH}{name}: missing; OAUTHBEARER needs it")
    identity, secret, url = (str(client[_OAUTH + name]) for name in wanted)
    trusted = client.get("https.ca.location")
    context = None if trusted is None else tls({"ssl.ca.location": trusted})
    credentials = ClientCredentials(url, identity, secret, str(client.get(_OAUTH + "scope", "")), WallClock(), context)
    return TokenProvider(credentials, _pairs(str(client.get(_OAUTH + "extensions", ""))))


def _pairs(text: str) -> dict[str, str]:
    """``a=b,c=d``."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if wrong := [name for name, equals, value in pairs if not (name.strip() and equals and value)]:
        raise ValueError(f"client.{_OAUTH}extensions: write name=value,name=value; {wrong[0]!r} has no value")
    return {name.strip(): value.strip() for name, _, value in pairs}
