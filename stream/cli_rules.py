"""`heed rules`: check rules, list them, test them."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.command import ConfigFile, Output, fails_well

rules_app = typer.Typer(help="Alert rules: check them, test them, list them.", no_args_is_help=True)


@rules_app.command("check")
@fails_well
def rules_check(
    files: Annotated[list[str], typer.Argument(help="Rule files; globs and folders too.")],
    recordings: Annotated[
        list[str] | None,
        typer.Option("-r", "--recording", help="A rule that is about none of its streams is an error."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The same with the streams of a running heed at this address.")
    ] = None,
    output: Output = "table",
) -> None:
    """What is wrong with rules, and what will surprise; 1 with errors, 3 where there is only lint."""
    from stream.app.rule_checking import check_rules

    if recordings and url:
        raise typer.BadParameter("give a recording or an address, not both", param_hint="--url")
    raise typer.Exit(check_rules(files, recordings or (), url, output))


@rules_app.command("test")
@fails_well
def rules_test(
    files: Annotated[
        list[str], typer.Argument(help="Files of rule tests, in promtool's shape; globs and folders too.")
    ],
    junit: Annotated[str | None, typer.Option(help="Write the outcome as JUnit XML to this file.")] = None,
    output: Output = "table",
) -> None:
    """Unit tests of rules: readings and scores go in, the alerts that should fire are compared."""
    from stream.app.rule_testing import run_tests

    raise typer.Exit(run_tests(files, junit, output))


@rules_app.command("list")
@fails_well
def rules_list(
    files: Annotated[list[str] | None, typer.Argument(help="Rule files; globs and folders too.")] = None,
    config: ConfigFile = None,
    url: Annotated[str | None, typer.Option(help="Those of a running heed at this address, with their states.")] = None,
    output: Output = "table",
) -> None:
    """Rules with their groups and severities; by default the built-in ones."""
    from stream.app.rule_listing import list_rules

    if sum(map(bool, (files, config, url))) > 1:
        raise typer.BadParameter("give files, a configuration or an address, one of them")
    list_rules(files or (), config, url, output)
