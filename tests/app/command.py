"""heed in a process of its own, and small recordings for it to read."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ENV = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}
HEED = [sys.executable, "-m", "stream.cli"]
SHIFT = 200  # row from which the second column is off
ROWS = 300


def heed(*arguments: str | Path, code: int | None = 0, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end; ``code`` is the exit status wanted."""
    done = subprocess.run(
        [*HEED, *map(str, arguments)], capture_output=True, text=True, env=ENV, timeout=120, check=False, **how
    )
    assert code is None or done.returncode == code, f"{done.returncode}: {done.stderr[-2000:]}"
    return done


def start(*arguments: str | Path, **how: Any) -> subprocess.Popen[str]:
    """Start it; its output goes where ``how`` says."""
    return subprocess.Popen([*HEED, *map(str, arguments)], text=True, env=ENV, **how)


def numbers(columns: int = 3, seed: int = 0) -> Any:
    """Rows [ROWS, columns] of quiet values about 100; the second is off from SHIFT on."""
    values = np.round(100 + np.random.default_rng(seed).normal(size=(ROWS, columns)), 3)
    values[SHIFT:, 1] += 50
    return values


def stamp(row: int) -> str:
    return f"2026-01-01T00:{row // 60:02d}:{row % 60:02d}Z"


def wide_csv(path: Path, values: Any | None = None) -> Path:
    rows = numbers() if values is None else values
    head = ",".join(["ts", *"abcdefghijklmnop"[: rows.shape[1]]])
    lines = [",".join([stamp(i), *map(str, row)]) for i, row in enumerate(rows.tolist())]
    text = "\n".join([head, *lines]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def long_rows() -> list[dict[str, Any]]:
    return [
        {"ts": stamp(i), "stream": f"plant/{name}", "value": row[j]}
        for i, row in enumerate(numbers().tolist())
        for j, name in enumerate("abc")
    ]


def long_csv(path: Path) -> Path:
    path.write_text("ts,stream,value\n" + "".join(f"{r['ts']},{r['stream']},{r['value']}\n" for r in long_rows()))
    return path


def json_lines(path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in long_rows()))
    return path


def parquet(path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = numbers()
    ts = pa.array(1_767_225_600_000_000_000 + np.arange(ROWS) * 1_000_000_000).cast(pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"ts": ts, **{name: values[:, i] for i, name in enumerate("abc")}}), path)
    return path


def lines_of(text: str) -> list[dict[str, Any]]:
    """JSON lines; fails where one is something else."""
    return [json.loads(line) for line in text.splitlines()]
