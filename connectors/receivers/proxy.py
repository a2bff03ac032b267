"""Which proxy the environment names for an address."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_of(url: str) -> str:
    """The proxy's URL, empty where there is none. This machine itself is asked directly, as programs in Go do it."""
    parts = urlsplit(url)
    if _is_here(parts.hostname or "") or proxy_bypass(parts.netloc):
        return ""
    return getproxies().get(parts.scheme, "")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
