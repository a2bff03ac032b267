"""What the pages say is so: commands, options, keys, names, links and figures are held against the program."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import stream.cli
from connectors.recordings import scores
from connectors.recordings.recording import COLUMNS
from stream.app.replay import Options, replay
from stream.log_names import LOG_NAMES
from stream.rules.columns import NUMBERS, STRINGS
from stream.rules.compiler import KNOWN
from stream.rules.rule_file import GROUP_KEYS, RULE_KEYS, built_in, load_rules
from stream.ruletests.report import run_suite
from stream.ruletests.suite import load_suite
from stream.selection import Reason
from stream.settings import load
from stream.settings.show import reference
from stream.telemetry import METRICS
from stream.window_state import COUNTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md"), *(ROOT / "deploy").glob("dev/kafka/*.md")]
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

Command = object  # what typer makes of a function; it has no public type


def text(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def prose(page: Path) -> str:
    """A page without code blocks, code spans and the targets of links."""
    plain = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text("utf-8")))
    return re.sub(r"\]\([^)]*\)", "]", plain)


def blocks(page: Path, *kinds: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text("utf-8")) if kind in kinds]


# --- the command line


def commands() -> dict[str, Command]:
    """Every command by how it is called: ``heed config show``."""

    def walk(name: str, command: Command) -> Iterator[tuple[str, Command]]:
        yield name, command
        for child, inner in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {child}", inner)

    return dict(walk("heed", typer.main.get_command(stream.cli.app)))


COMMANDS = commands()
ALWAYS = {"--help", "-h", "--install-completion", "--show-completion"}


def options(command: Command) -> set[str]:
    return {name for each in command.params for name in each.opts if name.startswith("-")} - ALWAYS  # type: ignore[attr-defined]


def section(page: str, title: str) -> str:
    """What stands below a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {title!r}"
    return found[1]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "heed"])
def test_every_command_is_told_with_all_its_options_and_no_others(name: str) -> None:
    told = section(text("commands.md"), f"`{name}`")
    rows = re.findall(r"^\| (`-.*?) \|", told, re.MULTILINE)
    assert {option for row in rows for option in re.findall(r"`(-[\w-]+)`", row)} == options(COMMANDS[name])


def test_no_command_is_told_that_does_not_exist() -> None:
    told = re.findall(r"^#+ `(heed[^`]*)`", text("commands.md"), re.MULTILINE)
    assert set(told) - set(COMMANDS) == set()


def shell_lines() -> list[tuple[str, str]]:
    """Every line of every shell block, and those behind a prompt elsewhere, with its page."""
    found = []
    for page in PAGES:
        lines = [line for body in blocks(page, "sh", "bash") for line in body.splitlines()]
        lines += [line[2:] for body in blocks(page, "") for line in body.splitlines() if line.startswith("$ ")]
        found += [(page.relative_to(ROOT).as_posix(), line) for line in lines if line.strip()]
    return found


@pytest.mark.parametrize(("page", "line"), shell_lines())
def test_a_command_on_a_page_is_one_that_exists(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    while words and Path(words[0]).name == "heed":
        words = known_heed_command(words)
    if words and words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
        if words[1] == "demo" and len(words) > 2:
            known_heed_command(["heed", "demo", *shlex.split(words[2].removeprefix("ARGS="))])


def known_heed_command(words: list[str]) -> list[str]:
    """Check one call of heed; what stands behind a pipe is left."""
    name, rest = "heed", words[1:]
    while rest and f"{name} {rest[0]}" in COMMANDS:
        name, rest = f"{name} {rest[0]}", rest[1:]
    assert not getattr(COMMANDS[name], "commands", None), f"{' '.join(words)}: no such command"
    end = next((i for i, word in enumerate(rest) if word in ("|", ">", "&", "&&")), len(rest))
    given = {word.partition("=")[0] for word in rest[:end] if re.match(r"-{1,2}[a-z]", word)}
    assert given - options(COMMANDS[name]) - ALWAYS == set()
    return []


def test_files_that_pages_name_in_commands_are_there() -> None:
    named = {word for _, line in shell_lines() for word in re.findall(r"\b(?:examples|deploy)/[\w./-]+", line)}
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


# --- names


def test_every_key_of_the_configuration_is_told() -> None:
    page = text("configuration.md")
    assert [row for rows in reference().values() for row in rows if row not in page] == []


def test_every_log_line_is_told_and_has_its_advice() -> None:
    advice, names = section(text("operating.md"), "The log says"), text("logs.md")
    assert [name for name in LOG_NAMES if f"`{name}`" not in advice or f"`{name}`" not in names] == []


def test_every_reason_not_to_be_ready_is_told() -> None:
    reasons = re.findall(r'told\.append\("([^"]+)"\)', (ROOT / "stream" / "app" / "publish.py").read_text())
    told = section(text("operating.md"), "`/-/ready` says")
    assert reasons
    assert [reason for reason in reasons if f"`{reason}`" not in told] == []


def test_every_metric_is_told_with_its_labels() -> None:
    rows = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(
            r"^\| `(heed_\w+)` \|([^|]*)\|", section(text("operating.md"), "A metric says"), re.MULTILINE
        )
    }
    assert rows == {metric.name: set(metric.labels) for metric in METRICS}


def test_every_exit_code_is_told() -> None:
    codes = {stream.cli.OK, stream.cli.FAILED, stream.cli.USAGE, stream.cli.UNAVAILABLE, stream.cli.SOFTWARE}
    codes |= {stream.cli.IO, stream.cli.CONFIG, stream.cli.LINT}
    told = re.findall(r"^\| (\d+) \|", section(text("operating.md"), "Exit codes"), re.MULTILINE)
    assert {int(code) for code in told} == codes


def test_every_name_key_and_function_of_rules_is_told() -> None:
    page = text("alerts.md")
    names = section(page, "Expressions")
    assert [name for name in (*NUMBERS, *STRINGS) if f"`{name}`" not in names] == []
    assert [name for name in KNOWN if f"`{name}(" not in page] == []
    assert [key for key in (*RULE_KEYS, *GROUP_KEYS) if f"`{key}`" not in page and f"{key}:" not in page] == []


def test_the_built_in_rules_are_told_as_they_are() -> None:
    told = section(text("alerts.md"), "Built-in rules")
    for rule in built_in():
        row = next(line for line in told.splitlines() if line.startswith(f"| `{rule.alert}` |"))
        assert f"`{rule.expr.text}`" in row
        assert row.endswith(f"| {rule.labels['severity']} |")
        assert all(str(span) in row for span in (rule.cool_down, rule.keep_firing_for) if span.steps)


def test_every_way_in_which_input_can_be_bad_is_told() -> None:
    page = section(text("formats.md"), "What becomes of bad input")
    sources = "".join(path.read_text() for path in (ROOT / "connectors").rglob("*.py"))
    reasons = set(re.findall(r'Undecodable\(\s*"(\w+)"', sources)) | {"unreadable"}
    left_out = set(re.findall(r'count\(\s*"(\w+)"', sources))
    assert len(reasons) > 8
    wanted = (reasons | left_out | set(COUNTS)) - {"readings"}
    assert {reason for reason in wanted if f"`{reason}`" not in page} == set()


def test_every_column_of_the_files_that_heed_writes_is_told() -> None:
    page = text("formats.md")
    assert [name for name in COLUMNS if f"`{name}`" not in section(page, "heed's own recordings")] == []
    said = ("ts", "group", "stream", *scores.SAID, "fidelity")
    assert [name for name in said if f"`{name}`" not in section(page, "Scores")] == []
    decided = section(page, "Decisions")
    names = ("ts", "stream", "outcome", "reason", "weight", "rank", "age", *(reason.name.lower() for reason in Reason))
    assert [name for name in names if f"`{name}`" not in decided] == []


# --- what is shown


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict]]:
    """Summary and alert messages of the example recording."""
    messages: list[dict] = []

    class Kept:
        name = "kept"

        def send(self, found: list[dict]) -> None:
            messages.extend(found)

        def close(self) -> None:
            pass

    example = ROOT / "examples"
    options = Options([str(example / "press1.csv")], labels=str(example / "labels.csv"), sinks={"kept": Kept()})
    return replay(options), messages


def shape(value: object) -> object:
    """The keys of a JSON value, at every level."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_the_summary_that_is_shown_has_the_keys_of_a_real_one(run: tuple[dict, list[dict]]) -> None:
    shown = json.loads(BLOCK.search(section(text("formats.md"), "Summary"))[2])  # type: ignore[index]
    real, free = run[0], ("stages", "by_name")
    for summary in (shown, real):
        summary["throughput"]["stages"] = summary["faults"]["by_name"] = None
    assert shape(shown) == shape(real), free
    assert shown["windows"]["due"] == sum(n for name, n in shown["windows"].items() if name != "due")


def test_the_alert_message_that_is_shown_has_the_keys_of_a_real_one(run: tuple[dict, list[dict]]) -> None:
    shown = json.loads(BLOCK.search(section(text("alerts.md"), "The alert message"))[2])  # type: ignore[index]
    real = run[1][0]
    for message in (shown, real):
        message["labels"] = message["annotations"] = None
    assert shape(shown) == shape(real)


def test_the_example_finds_what_it_says_it_finds(run: tuple[dict, list[dict]]) -> None:
    faults = run[0]["faults"]
    assert (faults["injected"], faults["found"], faults["false_alerts"]) == (2, 2, 0)


def test_the_examples_load() -> None:
    settings = load(ROOT / "examples" / "heed.yaml", env={})
    assert len(settings.sources) == 3
    assert len(load_rules([ROOT / "examples" / "rules.yaml"])) == 3


def test_rule_files_that_are_shown_load(tmp_path: Path) -> None:
    shown = [body for body in blocks(DOCS / "alerts.md", "yaml") if body.startswith("groups:")]
    assert shown
    for number, body in enumerate(shown):
        path = tmp_path / f"{number}.yaml"
        path.write_text(body)
        assert load_rules([path])


def test_rule_tests_that_are_shown_pass_with_the_example_rules(tmp_path: Path) -> None:
    shown = [body for body in blocks(DOCS / "alerts.md", "yaml") if body.startswith("rule_files:")]
    assert shown
    (tmp_path / "rules.yaml").write_text((ROOT / "examples" / "rules.yaml").read_text())
    for body in shown:
        (tmp_path / "test.yaml").write_text(body)
        assert [outcome.failures for outcome in run_suite(load_suite(tmp_path / "test.yaml"))] == [[]]


# --- links, words, figures


def slugs(page: Path) -> set[str]:
    """The anchors that a page's headings have, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text("utf-8"))):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in slugs(found)):
            broken.append(target)
    assert broken == []


def test_the_index_leads_to_every_page() -> None:
    listed = {(DOCS / link).resolve() for link in re.findall(r"\]\(([\w/.-]+\.md)\)", text("README.md"))}
    assert {page for page in DOCS.glob("*.md") if page.name != "README.md"} - listed == set()
    decisions = sorted(page.name for page in (DOCS / "decisions").glob("[0-9]*.md"))
    assert [name[:3] for name in decisions] == [f"{n:03}" for n in range(1, len(decisions) + 1)]
    index = (DOCS / "decisions" / "README.md").read_text()
    for name in decisions:
        page = (DOCS / "decisions" / name).read_text()
        title = page.splitlines()[0].removeprefix(f"# {name[:3]}: ")
        assert f"| [{name[:3]}]({name}) | {title} |" in index
        assert all(f"**{part}.**" in page for part in ("Context", "Choice", "Price"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_keep_to_the_words_of_the_glossary(page: Path) -> None:
    words = prose(page).lower()
    assert re.findall(r"\b(?:pipelines?|managers?|handlers?|processors?|utils?)\b", words) == []
    assert re.findall(r"\bevents?\b(?!\s+time)", words) == []


def test_the_readme_has_no_figure_without_the_command_that_makes_it() -> None:
    page = ROOT / "README.md"
    allowed = {"3.11", "2026", "2.0"}  # Python, the year in which others were read, the licence
    assert set(re.findall(r"\d[\d.,]*\d|\d", prose(page))) - allowed == set()
    for body in blocks(page, ""):
        assert body.startswith("$ "), "output is shown with the command that made it"
