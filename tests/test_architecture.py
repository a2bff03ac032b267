"""The shape of the house: who may import whom, who reads the clock, how large things are; found in the sources."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("stream", "models", "connectors", "benchmarks")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

# Who may import which room besides itself.
MAY_IMPORT = {
    "stream": {"connectors", "models"},
    "connectors": set(),
    "models": set(),
    "benchmarks": {"stream", "connectors", "models"},
}
LAZY_BENCH = "stream/cli.py imports benchmarks."  # `heed bench` comes with the product; it is imported when it runs
# A library that only some files may import: their paths, as patterns of the whole path.
ONLY_IN = {
    "kafka": r"connectors/kafka/\w+\.py",
    "confluent_kafka": r"connectors/kafka/confluent\.py",
    "onnxruntime": r"models/scorer\.py",
    "torch": r"models/(attention|weight|train|export|dataset|quality)\.py",
    "onnx": r"models/export\.py",
    "onnxscript": r"models/export\.py",
    "pyarrow": r"connectors/(recordings/\w+|formats/arrow\w+)\.py|benchmarks/(arrow|decode)\.py",
    "uvicorn": r"stream/web/server\.py",
    "starlette": r"stream/web/\w+\.py",
    "prometheus_client": r"stream/telemetry(_together)?\.py",
    "sqlite3": r"connectors/keeping/(store|shelf)\.py",
    "urllib3": r"connectors/receivers/http_post\.py",
    "tenacity": r"connectors/keeping/outbox\.py",
    "smtplib": r"connectors/receivers/mail\.py",
    "apprise": r"connectors/receivers/apprise_sink\.py",
}
CLOCK = "connectors/clock.py"
CLOCK_READERS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.process_time", "time.process_time_ns", "time.thread_time", "time.sleep", "time.localtime", "time.gmtime",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
    "os.times", "asyncio.sleep",
}  # fmt: skip
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}

FUNCTION_LINES_MEDIAN, FUNCTION_LINES_P90 = 8, 24
FILE_LINES_MEDIAN, FILE_LINES_LARGE, LARGE_FILES, FILE_LINES_MOST = 150, 350, 0.05, 480
CAPTION = 120  # quotes and all


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


TREES = {name_of(path): parsed(path) for path in SOURCES}


def imports(node: ast.AST) -> Iterator[str]:
    """Modules that an import statement names, with what it takes from them (``a.b`` for ``from a import b``)."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports are not used"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def all_imports(tree: ast.AST) -> set[str]:
    return {name for node in ast.walk(tree) for name in imports(node)}


def imports_at_load(tree: ast.Module) -> Iterator[str]:
    """Imports that run when the module is loaded: those in no function."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield from imports(node)
        waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_below_it(room: str) -> None:
    foreign = set(ROOMS) - {room} - MAY_IMPORT[room]
    found = {
        f"{name} imports {imported}"
        for name, tree in TREES.items()
        if name.startswith(f"{room}/")
        for imported in all_imports(tree)
        if imported.split(".")[0] in foreign
    }
    assert not {said for said in found if not said.startswith(LAZY_BENCH)}
    assert not [name for name in imports_at_load(TREES["stream/cli.py"]) if name.startswith("benchmarks")]


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {name for name, tree in TREES.items() if any(each.split(".")[0] == library for each in all_imports(tree))}
    assert {name for name in users if not re.fullmatch(ONLY_IN[library], name)} == set()


def test_every_library_of_the_list_is_used_somewhere() -> None:
    used = {each.split(".")[0] for tree in TREES.values() for each in all_imports(tree)}
    assert set(ONLY_IN) - used <= {"onnxscript"}, "torch's exporter imports it by itself"


def test_only_app_and_the_command_line_put_the_parts_together() -> None:
    """Sources, sinks and stores are chosen in one place; the rest of stream knows what they promise."""
    shared = {"batch", "clock", "source", "sink"}  # columns and promises
    known = {
        "stream/state.py": {"keeping.handover", "keeping.outbox", "keeping.shelf", "keeping.store"},  # for a restart
        "stream/shared.py": {"keeping.store"},  # and what another process goes on with
        "stream/notify/silence.py": {"formats.timestamp"},  # the grammar of times, to read when a silence ends
        "stream/settings/quantities.py": {"formats.fieldpath"},  # the grammar of paths and templates, to check them
    }
    found = {
        f"{name} imports {imported}"
        for name, tree in TREES.items()
        if name.startswith("stream/") and not name.startswith(("stream/app/", "stream/cli"))
        for imported in all_imports(tree)
        if imported.startswith("connectors.") and not imported.endswith("Error")
        if imported.removeprefix("connectors.").rpartition(".")[0] not in shared | known.get(name, set())
    }
    assert not found
    assert {name for name, tree in TREES.items() if any(i.startswith("stream.app") for i in all_imports(tree))} <= {
        *(name for name in TREES if name.startswith(("stream/cli", "stream/app/", "benchmarks/"))),
    }  # fmt: skip


def test_only_the_clock_reads_the_clock() -> None:
    found = [
        f"{name}:{node.lineno} {read}"
        for name, tree in TREES.items()
        if name != CLOCK
        for node, read in named(tree)
        if read in CLOCK_READERS
    ]
    assert not found


def named(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Every use of an imported name or of an attribute of one, by its full name."""
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            full |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in full:
                yield node, full[first] + (f".{rest}" if rest else "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import time\ntime.time_ns()", "time.time_ns"),
        ("from time import monotonic as m\nm()", "time.monotonic"),
        ("from datetime import datetime\ndatetime.now()", "datetime.datetime.now"),
        ("import datetime as dt\ndt.datetime.utcnow()", "datetime.datetime.utcnow"),
    ],
)
def test_a_look_at_the_clock_is_noticed_whatever_it_is_called(text: str, expected: str) -> None:
    assert expected in CLOCK_READERS
    assert expected in {read for _, read in named(ast.parse(text))}


def test_nothing_is_drawn_at_random_without_a_seed() -> None:
    unseeded = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and not node.args and not node.keywords
        if ast.unparse(node.func).endswith("default_rng")
    ]
    assert not unseeded
    assert not [name for name, tree in TREES.items() if {"random", "secrets"} & all_imports(tree)]


def test_nothing_unpickles_or_runs_text() -> None:
    calls = [
        f"{name}:{node.lineno} {node.func.id}()"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS
    ]
    assert not calls
    modules = {name: {i.split(".")[0] for i in all_imports(tree)} & UNSAFE_MODULES for name, tree in TREES.items()}
    assert not {name: found for name, found in modules.items() if found}
    assert not [name for name in TREES if re.search(r"allow_pickle\s*=\s*True", (ROOT / name).read_text())]


def test_imports_go_round_in_no_circle() -> None:
    modules = {module_of(name): name for name in TREES}
    graph = {module: edges(module, TREES[name], modules) for module, name in modules.items()}
    assert circles(graph) == []


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def edges(module: str, tree: ast.Module, modules: dict[str, str]) -> set[str]:
    """The modules of ours that ``module`` needs in order to load."""
    found = set()
    for imported in imports_at_load(tree):
        parent = imported.rpartition(".")[0]
        found.add(imported if imported in modules else parent)
    return (found & set(modules)) - {module}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules left over once all that need nothing left over are taken away."""
    left = {module: set(needs) for module, needs in graph.items()}
    while free := {module for module, needs in left.items() if not needs}:
        left = {module: needs - free for module, needs in left.items() if module not in free}
    needed = {need for needs in left.values() for need in needs}
    return [sorted(left)] if needed else []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == [["a", "b", "c", "d"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_nothing_is_imported_for_types_alone() -> None:
    assert not [name for name in TREES if "TYPE_CHECKING" in (ROOT / name).read_text()]


def test_every_file_opens_with_a_caption() -> None:
    bad = []
    for name, tree in TREES.items():
        line = (ROOT / name).read_text().split("\n")[0]
        caption = (ast.get_docstring(tree) or "").split("\n")[0]
        if not (line.startswith('"""') and 20 < len(line) <= CAPTION and caption.endswith(".")):
            bad.append(f"{name}: {line}")
    assert not bad


def function_lines() -> list[int]:
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_functions_are_short() -> None:
    lines = function_lines()
    assert median(lines) <= FUNCTION_LINES_MEDIAN
    assert quantiles(lines, n=10)[-1] <= FUNCTION_LINES_P90


def test_files_are_short() -> None:
    lines = {name: len((ROOT / name).read_text().splitlines()) for name in TREES}
    assert median(lines.values()) <= FILE_LINES_MEDIAN
    assert [name for name, n in lines.items() if n > FILE_LINES_MOST] == []
    assert sum(n > FILE_LINES_LARGE for n in lines.values()) <= LARGE_FILES * len(lines)


def test_the_top_level_holds_what_it_should() -> None:
    assert {"stream", "models", "connectors", "tests", "deploy"} <= {path.name for path in ROOT.iterdir()}
    for room in ROOMS:
        assert (ROOT / room / "py.typed").is_file()


HEAVY = ("onnxruntime", "kafka", "pyarrow", "torch", "numpy", "starlette", "uvicorn", "yaml", "sqlite3",
         "urllib3", "tenacity", "smtplib")  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after ``code`` has run in an interpreter of its own."""
    script = f"{code}\nimport sys; sys.stderr.write(chr(10).join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines())


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["replay", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["heed", *{arguments!r}]
from stream.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    assert loaded_by(code) & set(HEAVY) == set()


def test_serving_does_not_load_torch() -> None:
    loaded = loaded_by("import stream.app.daemon, stream.app.demo, stream.app.replay, stream.app.replay_command")
    assert "onnxruntime" in loaded
    assert loaded & {"torch", "onnx", "onnxscript", "pandas", "fastapi"} == set()


def test_kafka_is_loaded_only_by_those_who_use_it() -> None:
    assert "kafka" not in loaded_by("import stream.app.daemon, stream.app.sources, stream.app.sinks, stream.app.replay")
