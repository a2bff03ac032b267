"""State on disk: whole or not at all, whatever becomes of the process, the disk or the file."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.keeping.store import Commit, Store, StoreError, read_arrays, write_arrays

# Each commit n says n in every table; what is found must say one n everywhere.
WRITES = """
import sys
from pathlib import Path
import numpy as np
from connectors.keeping.store import Commit, Store
store = Store(Path(sys.argv[1]))
n = store.part("n") or 0
while True:
    n += 1
    columns = {"c": np.full(20_000, n)}
    ids = store.commit(Commit({"t/0": n, "t/1": n}, {"t/0": n}, {"n": n}, columns, [("sink", {"n": n})], range(n - 3)))
    if n % 5 == 0:
        store.checkpoint({"c": np.full(50_000, n)}, {"n": n})
    print(n, flush=True)
"""

FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from connectors.keeping.store import Commit, Store, StoreError
store = Store(Path(sys.argv[1]))
store.commit(Commit({"t/0": 1}, parts={"n": 1}))
store.checkpoint({"c": np.ones(10)}, {"n": 1})
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
for what in (
    lambda: store.commit(Commit({"t/0": 2}, columns={"big": np.zeros(1_000_000)}, send=[("sink", {})])),
    lambda: store.checkpoint({"c": np.zeros(1_000_000)}, {"n": 2}),
):
    try:
        what()
    except StoreError as error:
        print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert store.positions() == {"t/0": 1} and store.outbox() == []
store.commit(Commit({"t/0": 3}))
print("goes on:", store.positions()["t/0"], store.read_checkpoint()[1]["n"])
print("left behind:", [path.name for path in Path(sys.argv[1]).glob("*.tmp")])
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "state")
    yield found
    found.close()


def reopened(store: Store, tmp_path: Path) -> Store:
    store.close()
    return Store(tmp_path / "state")


def test_what_was_committed_is_there_after_a_restart(store: Store, tmp_path: Path) -> None:
    columns = {
        "gate.last": np.array([0.5, np.nan, -np.inf], np.float32),
        "gate.table": np.arange(6, dtype=np.int64).reshape(2, 3),
        "ledger.none": np.zeros((6, 0), np.int64),
        "ledger.one": np.array(7, np.uint32),
    }
    store.commit(Commit({"t/0": 2**62, "a/b": 0}, {"t/0": 5}, {"alerts": {"a": [1, None, "ü"]}}, columns))
    again = reopened(store, tmp_path)
    assert again.positions() == {"t/0": 2**62, "a/b": 0}
    assert again.start_positions() == {"t/0": 5}
    assert again.part("alerts") == {"a": [1, None, "ü"]}
    assert again.part("unknown") is None
    for prefix in ("gate.", "ledger."):
        found = again.columns(prefix)
        assert {prefix + name for name in found} == {name for name in columns if name.startswith(prefix)}
        for name, column in found.items():
            assert column.dtype == columns[prefix + name].dtype
            np.testing.assert_array_equal(column, columns[prefix + name])
            column[...] = 0  # it may be written to
    assert len(again.columns("")) == 4
    again.close()


def test_a_prefix_is_taken_as_it_is(store: Store) -> None:
    store.commit(Commit(columns={"a*.x": np.ones(1), "ab.x": np.ones(1), "[a].x": np.ones(1)}))
    assert set(store.columns("a*.")) == {"x"}
    assert set(store.columns("[a].")) == {"x"}


def test_a_later_commit_replaces_and_a_start_stays(store: Store) -> None:
    store.commit(Commit({"t/0": 1}, {"t/0": 1}, {"n": 1}, {"c": np.zeros(3)}))
    store.commit(Commit({"t/0": 2}, {"t/0": 2, "t/1": 0}, {"n": 2}, {"c": np.ones(5, np.float32)}))
    assert store.positions() == {"t/0": 2}
    assert store.start_positions() == {"t/0": 1, "t/1": 0}
    assert store.part("n") == 2
    np.testing.assert_array_equal(store.columns("")["c"], np.ones(5, np.float32))


def test_outbox_ids_grow_and_are_never_given_twice(store: Store, tmp_path: Path) -> None:
    first = store.commit(Commit(send=[("a", {"n": 0}), ("b", {"n": 1}), ("a", {"n": 2})]))
    assert first == sorted(set(first))
    assert [(each.id, each.sink, each.message["n"]) for each in store.outbox()] == list(
        zip(first, "aba", range(3), strict=True)
    )
    store.commit(Commit(sent=first))
    again = reopened(store, tmp_path)
    assert again.outbox() == []
    later = again.commit(Commit(send=[("a", {})]))
    assert later[0] > max(first)
    again.commit(Commit(sent=[*first, 999_999]))  # told once more, and one nobody knows
    assert [each.id for each in again.outbox()] == later
    again.close()


@pytest.mark.parametrize("what", [{"odd": object()}, {"n": np.int64(3)}])
def test_what_cannot_be_said_in_json_leaves_nothing_behind_and_the_next_commit_works(store: Store, what: dict) -> None:
    with pytest.raises(TypeError):
        store.commit(Commit({"t/0": 7}, parts=what))
    assert store.positions() == {}
    store.commit(Commit({"t/0": 8}))
    assert store.positions() == {"t/0": 8}


def test_an_offset_too_large_to_store_leaves_nothing_behind(store: Store) -> None:
    with pytest.raises(OverflowError):
        store.commit(Commit({"t/0": 1, "t/1": 2**70}))
    store.commit(Commit({"t/2": 8}))
    assert store.positions() == {"t/2": 8}


def test_a_kill_at_any_moment_leaves_one_commit_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    said = 0
    for _ in range(5):
        arguments = [sys.executable, "-c", WRITES, str(tmp_path / "state")]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(float(rng.uniform(0.01, 0.2)))
            os.kill(child.pid, signal.SIGKILL)
            said = max([said, *(int(line) for line in child.stdout.read().split())])
        store = Store(tmp_path / "state")
        n = store.part("n")
        assert n >= said  # what was told as written is written
        assert store.positions() == {"t/0": n, "t/1": n}
        assert (store.columns("")["c"] == n).all()
        assert [each.message["n"] for each in store.outbox()] == list(range(max(1, n - 3), n + 1))
        found = store.read_checkpoint()
        if n > 5:
            assert found is not None
            assert (found[0]["c"] == found[1]["n"]).all()
            assert found[1]["n"] <= n
        store.close()


def test_a_full_disk_is_a_clear_error_and_nothing_is_half_written(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("refused:") and "state.db" in lines[0]
    assert lines[1].startswith("refused:") and "checkpoint.npz" in lines[1]
    assert lines[2] == "goes on: 3 1"
    assert lines[3] == "left behind: []"


def test_a_second_process_is_refused_until_the_first_is_gone(store: Store, tmp_path: Path) -> None:
    script = "import sys; import pathlib, connectors.keeping.store as kept; kept.Store(pathlib.Path(sys.argv[1]))"
    arguments = [sys.executable, "-c", script, str(tmp_path / "state")]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert "another heed is using this state folder" in run.stderr
    store.commit(Commit({"t/0": 1}))
    store.close()
    assert subprocess.run(arguments, capture_output=True, timeout=60).returncode == 0


def test_a_folder_that_was_refused_can_be_opened_later_in_the_same_process(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="another heed"):
        Store(tmp_path / "state")
    reopened(store, tmp_path).close()


def test_closing_twice_is_harmless(store: Store) -> None:
    store.close()
    store.close()


def test_a_path_that_is_no_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file")


def test_a_database_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, and long enough to be read as one" * 100)
    for _ in range(2):  # the lock is given back
        with pytest.raises(StoreError, match=r"state\.db"):
            Store(tmp_path)


def test_a_state_of_another_version_is_refused_by_its_number(store: Store, tmp_path: Path) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "state" / "state.db") as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    db.close()
    with pytest.raises(StoreError, match="99"):
        Store(tmp_path / "state")


def test_reading_what_is_closed_is_a_store_error(store: Store) -> None:
    store.close()
    for read in (
        store.positions,
        store.start_positions,
        store.outbox,
        lambda: store.part("n"),
        lambda: store.columns(""),
    ):
        with pytest.raises(StoreError):
            read()


def test_there_is_no_checkpoint_at_first_and_the_last_one_counts(store: Store) -> None:
    assert store.read_checkpoint() is None
    for n in (1, 2):
        store.checkpoint(
            {"lane0.head": np.array([n]), "empty": np.zeros((0, 3))}, {"positions": {"t/0": n}, "name": "ü"}
        )
    found = store.read_checkpoint()
    assert found is not None
    columns, about = found
    assert about == {"positions": {"t/0": 2}, "name": "ü"}
    assert columns["lane0.head"].tolist() == [2]
    assert columns["empty"].shape == (0, 3)
    assert set(columns) == {"lane0.head", "empty"}


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1), change=st.sampled_from(["cut", "flip", "zero", "empty"]))
def test_a_damaged_checkpoint_is_a_store_error_or_unchanged(
    at: float, change: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "checkpoint.npz"
    columns = {"a": np.arange(500), "b": np.ones(3, np.float32)}
    write_arrays(path, columns, {"n": 1})
    data = bytearray(path.read_bytes())
    i = min(int(at * len(data)), len(data) - 1)
    if change == "cut":
        data = data[:i]
    elif change == "empty":
        data = bytearray()
    else:
        data[i] = data[i] ^ 0xFF if change == "flip" else 0
    path.write_bytes(bytes(data))
    try:
        found, about = read_arrays(path)
    except StoreError as error:
        assert "checkpoint.npz" in str(error)
        return
    assert about == {"n": 1}
    assert {name: column.tolist() for name, column in found.items()} == {k: v.tolist() for k, v in columns.items()}


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    np.savez(path, __about__=np.frombuffer(json.dumps({}).encode(), np.uint8), odd=np.array([{}], object))
    with pytest.raises(StoreError, match="damaged"):
        read_arrays(path)
    with pytest.raises(ValueError, match="Object arrays"):
        write_arrays(path, {"odd": np.array([{}], object)}, {})
