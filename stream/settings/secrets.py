"""Secrets: which keys hold one, their ``_file`` twins, and how they are masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from stream.config_text import ConfigError, Problem, Tree

MASK = "<secret>"
_WORDS = ("password", "passwd", "passphrase", "secret", "token", "key.pem", "api_key", "api-key", "api.key",
          "credential", "authorization", "cookie")  # fmt: skip
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_AFTER_HOST = re.compile(r"(?<=://)([^/\s]+/).+")
_JAAS = "sasl.jaas.config"  # a password in the middle of a text
_WHOLE = (_JAAS, "urls")  # the latter: addresses as apprise writes them
_WEBHOOK = "webhook.url"  # whose path is often a secret


def is_secret(key: str) -> bool:
    """Whether a key's value must not be shown; its ``_file`` twin's may."""
    low = key.lower()
    if low.endswith(("_file", ".location", ".url", ".endpoint.uri")):
        return False
    return low in _WHOLE or any(word in low for word in _WORDS)


def masked(tree: Tree, key: str = "") -> Tree:
    """The tree with secrets, user and password of URLs, and what may be one in them, replaced by ``<secret>``."""
    if isinstance(tree, dict):
        return {name: masked(value, _WEBHOOK if f"{key}.{name}" == _WEBHOOK else name) for name, value in tree.items()}
    if isinstance(tree, list):
        return [masked(value, key) for value in tree]
    if tree is not None and is_secret(key):
        return MASK
    if not isinstance(tree, str):
        return tree
    return _USER.sub(MASK, _AFTER_HOST.sub(rf"\1{MASK}", tree) if key == _WEBHOOK else tree)


def with_files_read(client: Mapping[str, str]) -> dict[str, str]:
    """Client keys with each ``KEY_file`` read and put under ``KEY`` (without the line's end).

    Raises ConfigError for a file that can't be read.
    """
    read: dict[str, str] = {}
    for key, value in client.items():
        twin = key.removesuffix("_file")
        read[twin] = _contents(key, value) if twin != key and is_secret(twin) else value
    return read


def _contents(key: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError([Problem(f"{key}: {path} can't be read: {why}")]) from None
