"""A broker with TLS, passwords, tokens and access lists, its certificates made on the spot, and a token endpoint."""

from __future__ import annotations

import base64
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import trustme
from conftest import Broker, free_port
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

USER, PASSWORD, KEY_PASSWORD = "heed", "only-for-tests", "sesame"
LISTENERS = {"SECURE": "SASL_SSL", "MUTUAL": "SSL", "EXPIRED": "SSL"}
_MODULE = "org.apache.kafka.common.security"
_VALIDATOR = f"{_MODULE}.oauthbearer.OAuthBearerValidatorCallbackHandler"


class TokenEndpoint:
    """Gives signed tokens for client credentials, and the key to check them with."""

    def __init__(self) -> None:
        self.life_s, self.asked, self.status = 3600, 0, 200
        self.forms: list[dict[str, list[str]]] = []
        self._key = rsa.generate_private_key(65537, 2048)
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, {"keys": [endpoint._public()]})

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                self._answer(*endpoint._token(self.headers["authorization"], form))

            def _answer(self, status: int, body: Any) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self.keys = f"http://127.0.0.1:{self._server.server_port}/keys"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _token(self, authorization: str, form: str) -> tuple[int, dict[str, object]]:
        self.asked += 1
        self.forms.append(parse_qs(form))
        user, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if self.status != 200 or (unquote_plus(user), unquote_plus(secret)) != (USER, PASSWORD):
            return (self.status if self.status != 200 else 401), {"error": "invalid_client"}
        return 200, {"access_token": self.signed(), "expires_in": self.life_s, "token_type": "Bearer"}

    def signed(self) -> str:
        now = int(time.time())
        claims = {"sub": USER, "aud": "kafka", "iat": now, "exp": now + self.life_s, "jti": str(self.asked)}
        parts = [_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "one"}, claims)]
        signature = self._key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        return ".".join([*parts, _base64(signature)])

    def _public(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        n, e = (_base64(number.to_bytes(size, "big")) for number, size in ((numbers.n, 256), (numbers.e, 3)))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "n": n, "e": e}


class SecureBroker:
    """One broker: PLAINTEXT for the tests' own hand, and a listener for each way to be let in."""

    def __init__(self, folder: Path, endpoint: TokenEndpoint) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._ports = folder, {name: free_port() for name in LISTENERS}
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca, self.wrong_ca = str(folder / "ca.pem"), str(folder / "wrong-ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        stranger.cert_pem.write_to_path(self.wrong_ca)
        past = datetime.now(UTC) - timedelta(days=1)
        server = _keystore(folder / "server.pem", authority.issue_cert("127.0.0.1"))
        expired = _keystore(folder / "expired.pem", authority.issue_cert("127.0.0.1", not_after=past))
        own = authority.issue_cert("heed.test")
        self.certificate, self.key = str(folder / "client.pem"), str(folder / "client-key.pem")
        (folder / "client.pem").write_bytes(b"".join(pem.bytes() for pem in own.cert_chain_pems))
        (folder / "client-key.pem").write_bytes(
            _pkcs8(own.private_key_pem.bytes(), BestAvailableEncryption(KEY_PASSWORD.encode()))
        )
        self.broker = Broker(
            folder / "kafka",
            HEED_KAFKA_JAVA=f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={endpoint.keys}",
            HEED_KAFKA_FORMAT=" ".join(
                f"--add-scram SCRAM-SHA-{n}=[name={USER},password={PASSWORD}]" for n in (256, 512)
            ),
        )
        self.broker.properties = self._properties(server, expired, endpoint.keys)

    def servers(self, listener: str = "SECURE") -> str:
        return f"127.0.0.1:{self._ports[listener]}"

    def client(self, mechanism: str = "SCRAM-SHA-512", **more: str) -> dict[str, str]:
        """What a client needs to be let in with a password."""
        return {
            "bootstrap.servers": self.servers(), "security.protocol": "SASL_SSL", "ssl.ca.location": self.ca,
            "sasl.mechanism": mechanism, "sasl.username": USER, "sasl.password": PASSWORD, **more,
        }  # fmt: skip

    def _properties(self, server: Path, expired: Path, keys: str) -> str:
        listeners = [f"PLAINTEXT://127.0.0.1:{self.broker.port}"]
        listeners += [f"{name}://127.0.0.1:{port}" for name, port in self._ports.items()]
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
        found = {
            "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{self.broker.controller}"]),
            "advertised.listeners": ",".join(listeners),
            "listener.security.protocol.map": ",".join(f"{name}:{how}" for name, how in protocols.items()),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.ca,
            "listener.name.expired.ssl.keystore.type": "PEM",
            "listener.name.expired.ssl.keystore.location": str(expired),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.secure.plain.sasl.jaas.config": (
                f'{_MODULE}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            ),
            "listener.name.secure.oauthbearer.sasl.jaas.config": (
                f"{_MODULE}.oauthbearer.OAuthBearerLoginModule required;"
            ),
            "listener.name.secure.oauthbearer.sasl.server.callback.handler.class": _VALIDATOR,
            "listener.name.secure.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": keys,
            "listener.name.secure.oauthbearer.sasl.oauthbearer.expected.audience": "kafka",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "true",
        }
        for n in (256, 512):
            module = f"{_MODULE}.scram.ScramLoginModule required;"
            found[f"listener.name.secure.scram-sha-{n}.sasl.jaas.config"] = module
        return "\n".join(f"{name}={value}" for name, value in found.items()) + "\n"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _pkcs8(pem: bytes, encryption: KeySerializationEncryption) -> bytes:
    return load_pem_private_key(pem, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _keystore(path: Path, made: trustme.LeafCert) -> Path:
    """Key and certificates in one file, as Kafka wants them."""
    path.write_bytes(
        _pkcs8(made.private_key_pem.bytes(), NoEncryption()) + b"".join(pem.bytes() for pem in made.cert_chain_pems)
    )
    return path
