"""Notifications to a web server: Alertmanager's webhook object, version 4, in a POST each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from connectors.jsontext import written
from connectors.receivers.http_post import HttpPoster
from connectors.sink import SinkError


class WebhookSink:
    """Posts each message as it is; of more than ``max_alerts`` (0 = no limit) the rest is only counted.

    ``url`` is asked for with each message, so that it may stand in a file that changes.
    """

    def __init__(self, url: Callable[[], str], poster: HttpPoster, name: str = "webhook", max_alerts: int = 0) -> None:
        self.name, self._url, self._poster, self._max = name, url, poster, max_alerts

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        for done, message in enumerate(messages):
            try:
                self._poster.post(self._read_url(), written(cut(message, self._max), self.name))
            except SinkError as error:
                error.sent = done
                raise

    def _read_url(self) -> str:
        try:
            return self._url()
        except (OSError, ValueError) as error:
            raise SinkError(f"{self.name}: the URL can't be read: {error}", "auth") from error

    def close(self) -> None:
        self._poster.close()


def cut(message: Mapping[str, object], most: int) -> Mapping[str, object]:
    """The message with at most so many alerts; ``truncatedAlerts`` says how many more there are."""
    alerts, before = message.get("alerts"), message.get("truncatedAlerts")
    if not most or not isinstance(alerts, (list, tuple)) or len(alerts) <= most:
        return message
    left_out = len(alerts) - most + (before if isinstance(before, int) else 0)
    return {**message, "alerts": list(alerts[:most]), "truncatedAlerts": left_out}
