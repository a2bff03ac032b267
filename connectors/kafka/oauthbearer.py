"""OAUTHBEARER: gives kafka-python a token each time it logs in to a broker, or does so anew."""

from __future__ import annotations

from collections.abc import Mapping

from kafka.errors import SaslAuthenticationFailedError
from kafka.net.sasl.oauth import AbstractTokenProvider

from connectors.kafka.oauth import ClientCredentials, TokenError


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """Tokens of ``credentials``; ``extensions`` go to the broker with them."""

    def __init__(self, credentials: ClientCredentials, extensions: Mapping[str, str]) -> None:
        super().__init__()
        self._credentials, self._extensions = credentials, dict(extensions)

    def token(self) -> str:
        """Called by the client, on its own thread: a slow endpoint holds up its heartbeats, for 5 s at most."""
        try:
            return self._credentials.token()
        except TokenError as error:
            raise SaslAuthenticationFailedError(str(error)) from error

    def extensions(self) -> dict[str, str]:
        return self._extensions
