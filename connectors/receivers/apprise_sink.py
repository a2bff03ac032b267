"""Notifications to whatever apprise knows: chats, pagers, text messages (heed-monitor[notify])."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connectors.receivers.notification import text, title
from connectors.sink import SinkError

TRIES = 20  # about nine minutes, then the message is given up: apprise does not say whether it was at fault
MISSING = "apprise is not installed: pip install 'heed-monitor[notify]'"


class AppriseSink:
    """Sends each message to all ``urls``, which are asked for anew each time; raises ValueError without apprise."""

    def __init__(self, urls: Callable[[], Sequence[str]], name: str = "apprise") -> None:
        self.name, self._urls = name, urls
        try:
            import apprise  # only those who use it pay for its import, and it need not be installed
        except ImportError as error:
            raise ValueError(MISSING) from error
        self._apprise: Any = apprise

    def send(self, messages: Sequence[Mapping[str, object]]) -> None:
        for done, message in enumerate(messages):
            try:
                self._notify(message)
            except SinkError as error:
                error.sent = done
                raise

    def _notify(self, message: Mapping[str, object]) -> None:
        services = self._services()
        kind = "SUCCESS" if message.get("status") == "resolved" else "FAILURE"
        with _Heard() as heard:
            told = services.notify(
                title=title(message),
                body=text(message),
                notify_type=getattr(self._apprise.NotifyType, kind),
                body_format=self._apprise.NotifyFormat.TEXT,
            )
        if not told:
            raise SinkError(f"{self.name}: {heard.said or 'not told, and apprise says no more'}", "failed", tries=TRIES)

    def _services(self) -> Any:
        try:
            urls = list(self._urls())
        except (OSError, UnicodeDecodeError) as error:
            raise SinkError(f"{self.name}: the URLs can't be read: {error}", "auth") from error
        services = self._apprise.Apprise()
        if not all(services.add(url) for url in urls):
            raise SinkError(f"{self.name}: one of the URLs is none that apprise knows", "refused", tries=TRIES)
        return services

    def close(self) -> None:
        pass


class _Heard(logging.Handler):
    """What apprise logs as a warning or worse while it is at work; it tells no other way what went wrong."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said = ""

    def __enter__(self) -> _Heard:
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *problem: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.said = (self.said or record.getMessage())[:200]
