"""JSON posted over HTTP: timeouts, TLS, proxies of the environment, and what an answer means for another try."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urljoin, urlsplit

import urllib3

from connectors.clock import WallClock
from connectors.receivers.proxy import proxy_of
from connectors.receivers.tls import Tls
from connectors.sink import SinkError, Why

MOST_HOPS = 3  # redirects followed, on the same host only
MOST_ANSWER = 64 << 10  # bytes of an answer that are read
LONGEST_WAIT_S = 3600.0  # that a Retry-After is obeyed
AWHILE = 8  # tries, about a minute: the address or the credentials may be put right
LONG = 200  # tries, over an hour and a half: the other side answers, and may fail at this message alone
SECOND = 1_000_000_000  # ns


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How to post. ``authorization`` gives the header of that name, read anew each time, or None."""

    timeout_s: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: Callable[[], str | None] = lambda: None
    tls: Tls = field(default_factory=Tls)


class HttpPoster:
    """One receiver's connections, kept open between posts. Proxies are those of the environment."""

    def __init__(self, options: HttpOptions, now: Callable[[], int] | None = None) -> None:
        self._options, self._now = options, now or WallClock().now
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}  # by scheme and proxy

    def post(self, url: str, body: bytes) -> None:
        """Post JSON; raises SinkError unless the answer is 2xx. Errors never show more of the URL than its host."""
        try:
            self._post(url, body, MOST_HOPS)
        except SinkError:
            raise
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.close()  # certificates are read anew with the next try
            raise SinkError(f"{origin(url)}: {_said(error)}", _why(error)) from error
        except ValueError as error:  # a header that can't be one
            raise SinkError(f"{origin(url)}: {_said(error)}", "failed", tries=AWHILE) from error

    def _post(self, url: str, body: bytes, hops: int) -> None:
        answer = self._pool(url).request(
            "POST", url, body=body, headers=self._headers(url), redirect=False, retries=False, preload_content=False
        )
        said = answer.read(MOST_ANSWER) or b""
        answer.release_conn() if len(said) < MOST_ANSWER else answer.close()
        onward = urljoin(url, answer.headers.get("Location", ""))
        if answer.status in (307, 308) and hops and _may_follow(url, onward):
            self._post(onward, body, hops - 1)
        elif not 200 <= answer.status < 300:
            raise self._refusal(url, answer.status, answer.headers.get("Retry-After"), said)

    def _headers(self, url: str) -> dict[str, str]:
        headers = {"User-Agent": "heed", "Content-Type": "application/json", **self._options.headers}
        try:
            authorization = self._options.authorization()
        except (OSError, UnicodeDecodeError) as error:
            raise SinkError(f"credentials can't be read: {error}", "auth") from error
        if authorization is None and "@" in urlsplit(url).netloc:
            authorization = basic(*map(unquote, urlsplit(url).netloc.rpartition("@")[0].partition(":")[::2]))
        return headers if authorization is None else {**headers, "Authorization": authorization}

    def _pool(self, url: str) -> urllib3.PoolManager:
        key = (urlsplit(url).scheme, proxy_of(url))
        if key not in self._pools:
            self._pools[key] = self._made(*key)
        return self._pools[key]

    def _made(self, scheme: str, proxy: str) -> urllib3.PoolManager:
        if self._options.tls.insecure:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # whoever set it knows
        timeout = urllib3.Timeout(total=self._options.timeout_s)
        encrypted = "https" in (scheme, urlsplit(proxy).scheme)
        context = self._options.tls.context() if encrypted else None  # it takes a while to read authorities
        if not proxy:
            return urllib3.PoolManager(timeout=timeout, ssl_context=context)
        user = urlsplit(proxy).netloc.rpartition("@")[0]
        headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers, timeout=timeout, ssl_context=context)

    def _refusal(self, url: str, status: int, after: str | None, said: bytes) -> SinkError:
        reason, tries = meaning(status)
        words = " ".join(said.decode("utf-8", "replace").split())[:200]
        text = f"{origin(url)} answered {status}{f': {words}' if words else ''}"
        return SinkError(text, reason, wait_s=retry_after(after, self._now()), tries=tries)

    def close(self) -> None:
        """Close the connections; a later post opens new ones."""
        for pool in self._pools.values():
            pool.clear()
        self._pools.clear()


def meaning(status: int) -> tuple[Why, int | None]:
    """What an answer that is not 2xx means, and after how many tries a message is given up (None: never)."""
    if status == 429:
        return "rate_limited", None
    if status in (401, 403, 407):
        return "auth", AWHILE
    if status == 500:
        return "server_error", LONG
    if status in (408, 425) or status > 500:
        return "server_error", None
    if 300 <= status < 400 or status in (404, 405, 410):
        return "refused", AWHILE  # the address is wrong, not the message
    return "refused", 1


def retry_after(text: str | None, now: int) -> float:
    """Seconds that a Retry-After asks for, from its number or its date (``now`` in ns); 0 where it says nothing."""
    if not text:
        return 0.0
    try:
        seconds = float(text) if text.strip().isdigit() else _until(text, now)
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _until(text: str, now: int) -> float:
    date = parsedate_to_datetime(text)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now / SECOND


def basic(user: str, password: str) -> str:
    """The Authorization header of a user and a password."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def origin(url: str) -> str:
    """Scheme, host and port: what may be shown of a URL, whose path may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def rfc3339(ns: int) -> str:
    """A time as text, to the microsecond."""
    return datetime.fromtimestamp(ns // 1000 / 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def _may_follow(url: str, onward: str) -> bool:
    """Only to the same host, and never from TLS to plain text."""
    old, new = urlsplit(url), urlsplit(onward)
    return new.hostname == old.hostname and new.scheme in {old.scheme, "https"}


def _why(error: Exception) -> Why:
    """urllib3 counts a connection that could not be made among the timeouts, for reasons of its past."""
    late = isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError))
    return "timeout" if late and not isinstance(error, urllib3.exceptions.NewConnectionError) else "unreachable"


def _said(error: Exception) -> str:
    """A library's error without the representation of its objects in front."""
    return str(error).rpartition(": ")[2] or type(error).__name__
