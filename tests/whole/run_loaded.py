"""A daemon in a process of its own whose looks burn CPU time: run_loaded.py CONFIG SECONDS_A_LOOK [web]."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from connectors.clock import WallClock
from stream.app.daemon import Daemon, RunOptions, tell_end
from stream.log import setup
from stream.price import burning
from stream.settings import load


def main(config: str, each: float, web: bool) -> None:
    settings = load(config)
    setup("json", "info")
    with ExitStack() as stack:
        options = RunOptions(config, web=web)
        daemon = Daemon(options, settings, WallClock(), stack, lambda own: burning(own, each))
        daemon.catch_signals()
        daemon.run()
    tell_end(daemon)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:] == ["web"])
