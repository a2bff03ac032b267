"""A daemon in a process of its own whose looks burn CPU time: run_loaded.py CONFIG SECONDS_A_LOOK [web].

Its log has every state that it shows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack

from connectors.clock import WallClock
from stream.app.daemon import Daemon, RunOptions, tell_end
from stream.log import get, setup
from stream.price import burning
from stream.settings import load


def telling_states(daemon: Daemon) -> Callable[[int], None]:
    """A line for each state that is shown, which nobody may ask for in time."""
    shown_at = [0]

    def tell(now: int) -> None:
        shown = daemon._board.board.latest()
        if shown.time != shown_at[0]:
            shown_at[0] = shown.time
            get().info("state.shown", state=shown.state)

    return tell


def main(config: str, each: float, web: bool) -> None:
    settings = load(config)
    setup("json", "info")
    with ExitStack() as stack:
        options = RunOptions(config, web=web)
        daemon = Daemon(options, settings, WallClock(), stack, lambda own: burning(own, each))
        daemon.loop._hooks += (telling_states(daemon),)
        daemon.catch_signals()
        daemon.run()
    tell_end(daemon)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:] == ["web"])
