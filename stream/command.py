"""What all commands of `heed` share: options, exit codes, and how they end when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal

import typer

OK, FAILED, USAGE, LINT, UNAVAILABLE, SOFTWARE, IO, CONFIG = 0, 1, 2, 3, 69, 70, 74, 78

ConfigFile = Annotated[str | None, typer.Option("-c", "--config", help="Configuration file or directory.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override one key: a.b=c. May be repeated.")]
Output = Annotated[Literal["table", "json"], typer.Option("-o", "--output", help="For people, or for programs.")]


def fails_well(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors that have a message of their own end the command with it, and with the exit code of their kind."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (BrokenPipeError, KeyboardInterrupt):
            sys.stderr.close()
            raise SystemExit(OK) from None
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            typer.echo(f"heed: {error}", err=True)
            raise typer.Exit(code) from None

    return run


def _exit_code(error: Exception) -> int | None:
    kinds = {
        "ConfigError": CONFIG, "ModelError": CONFIG, "UnusableError": CONFIG, "SourceError": UNAVAILABLE,
        "WebError": UNAVAILABLE, "SinkError": IO, "StoreError": IO, "DeclinedError": FAILED,
    }  # fmt: skip
    found = next((kinds[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in kinds), None)
    return IO if found is None and isinstance(error, OSError) else found
