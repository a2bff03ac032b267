"""The configuration: the documented example, every default, and what a person reads who made a mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.formats.codec import JsonCodec
from stream.settings import (
    ConfigError,
    KafkaSink,
    KafkaSource,
    RecordingSource,
    Settings,
    StreamRules,
    blind_kept,
    findings,
    from_mapping,
    generate,
    load,
    load_text,
    names,
    reference,
    rule_paths,
    schema,
    show,
    sink_client,
    split_address,
)

HERE = Path(__file__).parent
CASES = HERE.parent / "config_cases"
DOCS = HERE.parent.parent / "docs"
SECOND = 1_000_000_000
KAFKA = {"type": "kafka", "topics": ["a"], "client": {"bootstrap.servers": "broker:9092"}}
BROKEN = sorted(path for path in CASES.glob("*.yaml") if path.stem != "design")


def design() -> Settings:
    return load(CASES / "design.yaml", env={})


def problems_of(text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "heed.yaml", env=env)
    return str(caught.value).splitlines()


def test_the_documented_example_loads_with_every_value_in_its_unit() -> None:
    found = design()
    source = found.sources[0]
    assert isinstance(source, KafkaSource)
    assert source.client == {"bootstrap.servers": "127.0.0.1:9092", "group.id": "heed"}
    assert (source.fields.group, source.fields.labels) == ("{machine}", {"site": "{site}"})
    assert (found.windows.size, found.windows.lateness, found.windows.ttl) == (128, 2 * SECOND, 3600 * SECOND)
    assert (found.limits.message_bytes, found.limits.memory) == (1 << 20, 4 << 30)
    assert (found.budget.latency, found.budget.blind, found.budget.cores) == (SECOND // 4, 30 * SECOND, 1)
    assert (found.model.name, found.model.path, found.model.false_alarms) == ("builtin", None, 0.1)
    assert found.streams[0].missing == (-999.0,)
    assert found.streams[2].closed == "night"
    assert [sink.type for sink in found.sinks] == ["kafka", "jsonl"]
    assert found.receivers[0].alertmanager is not None
    assert found.route.repeat_interval == 4 * 3600 * SECOND
    assert findings(found) == []


def test_everything_but_sources_has_the_default_that_the_example_shows() -> None:
    example, least = design(), from_mapping({})
    for section in ("windows", "limits", "model", "budget", "state", "server", "logging"):
        assert getattr(example, section) == getattr(least, section), section
    assert (least.evidence, least.budget.policy, least.budget.explore) == ("full", "weight", 0.25)
    assert [sink.type for sink in least.sinks] == ["console"]


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines(keepends=True)
    wanted = [line.removeprefix("# expect: ").rstrip("\n") for line in lines if line.startswith("# expect: ")]
    text = "".join(line for line in lines if not line.startswith("# expect: "))
    assert problems_of(text, SECRET_WORD="hunter2") == wanted
    assert wanted and "hunter2" not in str(wanted)


def test_there_are_broken_cases_of_every_kind() -> None:
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("kind", ["minimal", "full"])
def test_what_is_generated_loads_and_what_is_shown_loads_as_the_same(kind: Any) -> None:
    found = load_text(generate(kind), env={})
    assert load_text(show(found), env={}) == found
    assert findings(found) == []


def test_the_full_example_names_every_key_and_its_defaults_are_the_real_ones() -> None:
    text, example = generate("full"), load_text(generate("full"), env={})
    keys = {row.split("`")[1].rpartition(".")[2] for rows in reference().values() for row in rows}
    assert [key for key in keys if not re.search(rf"(?<![\w.]){key}:", text)] == []
    least = from_mapping({})
    for section in ("windows", "limits", "model", "evidence", "budget", "rule_files", "state", "server", "logging"):
        assert getattr(example, section) == getattr(least, section), section


def test_every_key_is_in_the_documentation_with_type_default_and_meaning() -> None:
    text = (DOCS / "configuration.md").read_text("utf-8")
    parts = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
    for heading, rows in reference().items():
        assert [line for line in parts[heading].splitlines() if line.startswith("| `")] == rows, heading
    assert list(parts) == list(reference())


def test_every_key_says_what_it_means() -> None:
    assert [row for rows in reference().values() for row in rows if row.endswith("|  |")] == []


def test_the_documentation_shows_real_messages_and_an_example_that_loads() -> None:
    text = (DOCS / "configuration.md").read_text("utf-8")
    example, messages = re.findall(r"```(?:yaml)?\n(.*?)```", text, re.DOTALL)
    assert load_text(example, env={}).sources
    for message in messages.splitlines():
        said = message.split(" ", 1)[1]
        assert said in str(problems_of("sources:\n- topcis: []\n  type: kafka\nbudget: {latency: 250}\n"))


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value)


def test_the_schema_is_closed_and_refers_to_nothing_that_is_missing() -> None:
    found = schema()
    assert found["required"] == ["sources"]
    assert set(design().model_dump()) == set(found["properties"])
    for node in nodes(found):
        if "properties" in node and node.get("type") == "object":
            assert node["additionalProperties"] is False
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/$defs/") in found["$defs"]


def fits(value: Any, node: dict[str, Any], defs: dict[str, Any]) -> bool:
    """As much of JSON Schema as the settings use."""
    if "$ref" in node:
        return fits(value, defs[node["$ref"].removeprefix("#/$defs/")], defs)
    if "oneOf" in node or "anyOf" in node:
        return any(fits(value, option, defs) for option in node.get("oneOf", []) + node.get("anyOf", []))
    if "const" in node or "enum" in node:
        return value in node.get("enum", [node.get("const")])
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool}
    types = node.get("type", [])
    if not any(isinstance(value, kinds[kind]) for kind in ([types] if isinstance(types, str) else types)):
        return False
    if isinstance(value, dict) and "properties" in node:
        known = node["properties"]
        needed = all(key in value for key in node.get("required", ()))
        return needed and all(key in known and fits(item, known[key], defs) for key, item in value.items())
    return not isinstance(value, list) or all(fits(item, node["items"], defs) for item in value)


def test_the_schema_takes_the_examples_and_refuses_what_is_unknown() -> None:
    found = schema()
    for text in ((CASES / "design.yaml").read_text("utf-8"), generate("full"), generate("minimal")):
        assert fits(yaml.safe_load(text), found, found["$defs"])
    assert not fits({"sources": [{"type": "stdin", "topcis": []}]}, found, found["$defs"])
    assert not fits({"windows": {}}, found, found["$defs"])


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["5s", "1MiB"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*Settings.model_fields, "type", "name", "size", "blind", "client", "match", "times", "x.y"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_any_tree_gives_settings_or_an_error_that_can_be_read(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    try:
        found = load_text(text, env={})
    except ConfigError as error:
        assert all(problem.message for problem in error.problems) and str(error)
    else:
        assert found.sources


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
NS = st.integers(1, 10**17)


@settings(max_examples=150, deadline=None)
@given(NAMES, NS, NS, st.integers(1, 1 << 50), NAMES, st.floats(0, 1))
def test_whatever_is_set_is_shown_so_that_it_loads_again(
    name: str, latency: int, blind: int, memory: int, label: str, explore: float
) -> None:
    base = from_mapping({"sources": [{"type": "file", "path": name}], "streams": [{"match": name}]})
    found = base.model_copy(
        update={
            "budget": base.budget.model_copy(update={"latency": latency, "blind": blind, "explore": explore}),
            "limits": base.limits.model_copy(update={"memory": memory}),
            "streams": (base.streams[0].model_copy(update={"labels": {label: name}, "step": latency}),),
        }
    )
    shown = show(found)
    if "<secret>" not in shown:
        assert load_text(shown, env={}) == found


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        from_mapping({}).budget.latency = 1


def test_secrets_are_not_shown_and_not_told_in_errors() -> None:
    client = {
        "bootstrap.servers": "b:1",
        "sasl.password": "hunter2",
        "ssl.key.password": "hunter2",
        "sasl.username": "u",
    }
    tree = {
        "sources": [{**KAFKA, "client": client}],
        "receivers": [{"name": "a", "webhook": {"url": "http://me:hunter2@hooks/x"}}],
    }
    text = show(from_mapping(tree))
    assert "hunter2" not in text
    assert (text.count("<secret>"), "sasl.username: u" in text) == (4, True)


def test_secrets_of_receivers_are_not_shown() -> None:
    secret = "hunter2"
    kinds = {
        "alertmanager": {
            "url": "http://am:9093/p",
            "authorization": {"credentials": secret},
            "headers": {"Cookie": secret},
        },
        "webhook": {"url": f"https://hooks/{secret}/{secret}", "basic_auth": {"username": "u", "password": secret}},
        "email": {"to": "a@b", "from": "c@d", "smarthost": "m:25", "username": "u", "password": secret},
        "exec": {"command": ["true"], "env": {"API_TOKEN": secret, "SITE": "plant"}},
        "apprise": {"urls": [f"slack://{secret}"]},
    }
    text = show(from_mapping({"receivers": [{"name": "a", **kinds}]}))
    assert secret not in text
    assert all(shown in text for shown in ("http://am:9093/p", "https://hooks/<secret>", "from: c@d", "SITE: plant"))


def test_a_secret_is_read_from_its_file_when_it_is_needed(tmp_path: Path) -> None:
    secret = tmp_path / "kafka"
    client = {"bootstrap.servers": "b:1", "sasl.password_file": str(secret), "fetch.min.bytes": 1, "enable.x": True}
    found = from_mapping({"sources": [{**KAFKA, "client": client}], "sinks": [{"type": "kafka", "topic": "t"}]})
    assert str(secret) in show(found)
    sink = found.sinks[0]
    assert isinstance(sink, KafkaSink)
    with pytest.raises(ConfigError, match=r"sasl.password_file: .* can't be read: No such file"):
        sink_client(sink, found.sources)
    secret.write_text("hunter2\n")
    assert sink_client(sink, found.sources) == {
        "bootstrap.servers": "b:1", "group.id": "heed", "sasl.password": "hunter2", "fetch.min.bytes": "1",
        "enable.x": "true",
    }  # fmt: skip


def test_a_sink_with_its_own_client_uses_that() -> None:
    own = {"type": "kafka", "topic": "t", "client": {"bootstrap.servers": "other:9092"}}
    found = from_mapping({"sources": [KAFKA], "sinks": [own]})
    sink = found.sinks[0]
    assert isinstance(sink, KafkaSink)
    assert sink_client(sink, found.sources) == {"bootstrap.servers": "other:9092"}


def test_sources_are_needed_by_a_file_and_not_without_one(tmp_path: Path) -> None:
    path = tmp_path / "heed.yaml"
    path.write_text("budget: {latency: 1s}\n")
    with pytest.raises(ConfigError, match="sources: is required"):
        load(path, env={})
    assert load(path, env={}, need_sources=False).budget.latency == SECOND
    assert load(None, ["budget.latency=2s"], {}).budget.latency == 2 * SECOND
    assert load(None, {"budget.latency": "3s"}, {}).budget.latency == 3 * SECOND


def test_an_override_that_is_wrong_is_told_as_such() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, ["budget.latency=5", "budget.polcy=gate", "budget"], {})
    assert str(caught.value).splitlines() == [
        "--set budget: expected key=value, like budget.latency=100ms",
        "--set budget.latency=5: budget.latency: expected a duration like 250ms, 30s, 5m or 1h30m, found 5",
        '--set budget.polcy=gate: budget.polcy: unknown key "polcy", did you mean "policy"?',
    ]


def test_later_files_win_and_a_directory_is_read_in_order_of_name(tmp_path: Path) -> None:
    (tmp_path / "10-base.yaml").write_text("sources: [{type: stdin}]\nbudget: {latency: 1s, cores: 2}\n")
    (tmp_path / "20-site.yml").write_text("budget:\n  latency: 2s\n")
    (tmp_path / "30-empty.yaml").write_text("# nothing yet\n")
    found = load(tmp_path, env={})
    assert (found.budget.latency, found.budget.cores) == (2 * SECOND, 2)
    (tmp_path / "20-site.yml").write_text("budget:\n  latncy: 2s\n")
    with pytest.raises(ConfigError, match=r"20-site.yml:2:3: budget.latncy: unknown key"):
        load([tmp_path], env={})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"\xff\xfe\x00", r":1:1: is not UTF-8 text"),
        (b"a: b\n" * 300_000, "is larger than 1 MiB: is this a configuration?"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_plainly(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "heed.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(path, env={})


def test_a_directory_without_yaml_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the directory holds no \*.yaml file"):
        load(tmp_path, env={})


def test_the_first_match_holds_alone_and_case_matters() -> None:
    entries = [
        {"match": "press*/vibration", "labels": {"kind": "sensor"}, "step": "1s", "priority": "critical"},
        {"match": "press*", "aggregate": "max", "blind": "10s"},
    ]
    rules = StreamRules(from_mapping({"streams": entries}).streams)
    first = rules.resolve("press1/vibration", {"site": "berlin", "kind": "old"})
    assert (first.labels, first.step, first.priority) == ({"site": "berlin", "kind": "sensor"}, SECOND, "critical")
    assert (first.aggregate, first.blind, first.entry) == ("mean", None, 0)
    assert rules.resolve("press1/a/b").aggregate == "max"
    other = rules.resolve("Press1/temp", {"site": "berlin"})
    assert (other.entry, other.aggregate, other.transform, other.labels) == (-1, "mean", "none", {"site": "berlin"})


def test_the_fields_are_what_the_codec_takes() -> None:
    from connectors.batch import StreamTable

    fields = from_mapping({"sources": [{"type": "stdin", "fields": {"stream": "{m}/{_field}", "value": ["a", "b"]}}]})
    source = fields.sources[0]
    assert not isinstance(source, RecordingSource) and source.type == "stdin"
    assert JsonCodec(source.fields.model_dump(), source.time_unit, source.zone, StreamTable())


def test_sources_without_a_name_get_their_type_and_a_number() -> None:
    tree = {"sources": [{"type": "stdin", "name": "kafka"}, KAFKA, KAFKA, {"type": "synthetic"}]}
    assert names(from_mapping(tree).sources) == ["kafka", "kafka-2", "kafka-3", "synthetic"]


def test_the_format_of_a_file_is_told_by_its_ending() -> None:
    tree = {"sources": [{"type": "file", "path": "a.csv"}, {"type": "file", "path": "a.log"}]}
    assert [source.format for source in from_mapping(tree).sources if source.type == "file"] == ["csv", "json"]


def test_a_model_of_ones_own_takes_the_place_of_the_shipped_one() -> None:
    model = from_mapping({"model": {"path": "mine.onnx"}}).model
    assert (model.name, model.path) == (None, "mine.onnx")
    assert from_mapping({"model": {"name": "none"}}).model.name == "none"


def test_addresses_are_split() -> None:
    assert split_address("127.0.0.1:8321") == ("127.0.0.1", 8321)
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address(":80") == ("", 80)


def found_in(**tree: Any) -> str:
    return "\n".join(findings(from_mapping(tree)))


def test_a_blindness_that_cannot_be_kept_is_raised_and_told() -> None:
    assert blind_kept(5 * SECOND, 10, SECOND) == 20 * SECOND
    assert blind_kept(5 * SECOND, 1, SECOND) == 5 * SECOND
    said = found_in(windows={"every": 10}, streams=[{"match": "*", "blind": "5s"}, {"match": "b", "step": "1m"}])
    assert "streams[0].blind: 5s is below 2 x every x step = 2 x 10 x 1s; raised to 20s" in said
    assert "budget.blind (streams[1], b): 30s is below 2 x every x step = 2 x 10 x 1m; raised to 20m" in said
    assert "budget.blind: 30s" not in said


def test_steps_that_a_group_may_mix_are_told() -> None:
    said = found_in(streams=[{"match": "a", "step": "1s"}, {"match": "b", "step": "10s"}])
    assert "streams: steps of 1s, 10s; a group whose streams differ is looked at on the largest" in said


def test_an_entry_behind_one_that_matches_all_is_told() -> None:
    said = found_in(streams=[{"match": "press*"}, {"match": "press1/*"}, {"match": "mill*"}, {"match": "mill*"}])
    assert "streams[1]: never reached, streams[0] (press*) comes first" in said
    assert "streams[3]: never reached, streams[2] (mill*) comes first" in said
    assert "streams[2]:" not in said


def test_memory_that_does_not_suffice_is_told_with_numbers() -> None:
    said = found_in(limits={"streams": 2_000_000})
    assert said.startswith("limits.memory: 2,000,000 streams need about 7812MiB, more than 4GiB")


def test_what_nothing_uses_and_what_is_open_is_told() -> None:
    said = found_in(
        time_intervals=[{"name": "night", "time_intervals": [{}]}],
        receivers=[{"name": n, "webhook": {"url": "http://h"}} for n in ("a", "b")],
        server={"listen": "0.0.0.0:80"},
        windows={"ttl": "10s", "idle": "1s"},
    )
    assert "time_intervals[0]: nothing uses night" in said
    assert "receivers[1]: b is never told, no route names it" in said
    assert "server.listen: 0.0.0.0:80 may be reached from other machines" in said
    assert "windows.ttl: 10s is less than a window; 2m8s holds" in said
    assert "windows.idle: not longer" in said and "budget.blind: longer than windows.ttl" in said


@pytest.mark.parametrize(
    ("client", "told"),
    [
        ({"fetch.min.bytes": "100000", "fetch.wait.max.ms": "2000"}, True),
        ({"fetch.min.bytes": "100000", "fetch.wait.max.ms": "1999"}, False),
        ({"fetch.min.bytes": "100000"}, False),  # 100 ms unless told otherwise
        ({"fetch.wait.max.ms": "5000"}, False),  # what is there is given at once
        ({"fetch.min.bytes": "many", "fetch.wait.max.ms": "soon"}, False),  # somebody else says so
    ],
)
def test_brokers_that_may_hold_readings_back_for_too_long_are_told_of(client: dict[str, str], told: bool) -> None:
    source = {"type": "kafka", "topics": ["t"], "client": {"bootstrap.servers": "b:1", **client}}
    said = found_in(sources=[source], windows={"lateness": "2s"})
    assert told == ("sources[0].client.fetch.wait.max.ms: with fetch.min.bytes 100000 brokers hold" in said)
    assert told == ("windows.lateness, 2s; some will be late" in said)


def test_rule_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "c.txt"):
        (tmp_path / name).touch()
    found = from_mapping({"rule_files": ["*.yaml", str(tmp_path / "a.yaml"), "c.txt"]})
    assert [path.name for path in rule_paths(found, tmp_path)] == ["a.yaml", "b.yaml", "c.txt"]
    assert rule_paths(from_mapping({"rule_files": ["x/*.yaml"]}), tmp_path) == []  # as in Prometheus
    with pytest.raises(ConfigError, match=r'rule_files\[0\]: no file matches "x/a.yaml"'):
        rule_paths(from_mapping({"rule_files": ["x/a.yaml"]}), tmp_path)
