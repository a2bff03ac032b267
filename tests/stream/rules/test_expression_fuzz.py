"""Fuzzing of rule expressions: broken, spliced and nested ones are refused cleanly, the others evaluated.

Two seconds by default; for a minute: ``HEED_FUZZ_SECONDS=60 pytest tests/stream/rules/test_expression_fuzz.py -s``.
"""

from __future__ import annotations

import os
import random
import re
import time

import numpy as np
import pytest

from connectors.batch import StreamTable
from stream.rules.columns import NUMBERS, Observed
from stream.rules.compiler import KNOWN
from stream.rules.expression import Expression, ExpressionError, compile_expression

SECOND = 1_000_000_000
SECONDS = float(os.environ.get("HEED_FUZZ_SECONDS", "2"))
SEEDS = (
    "score >= 1 and p < 1e-3",
    'endswith(stream, "/vibration") and value > high',
    'matches(stream, r"press[0-9]+/(temp|load)") or labels["site"] in ["a", "b"]',
    "0.5 < score <= 1 if fidelity == 'full' else not flat >= 5",
    'abs(value - avg_over("value", "5m")) > 3 * stddev_over("value", "5m")',
    'count_over(score > 1 and value != expected, "10m") >= 3',
    'delta(value, "5 steps") > 1 or absent_for(value, "1m")',
    'value / offset(value, "1w") > 2 and group_share(score > 1) > 0.5',
    "group_rank(abs(value - expected)) == 1 and group_max(score) ** 2 > -1 // 2 % 3",
    "max(min(score, 1), value, 2) > 1  # a comment\n and True",
)
TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)
NOISE = [
    *KNOWN, *NUMBERS, "stream", "group", "labels", "and", "or", "not", "in", "if", "else", "is", "lambda", "for", "(",
    ")", "[", "]", "{", "}", ",", ".", ":=", "==", "=", "<", "!", "~", "**", "*", "-", "@", "#", "\\", "\n", "'", '"',
    '"""', "f'{score}'", "b''", "0x", "1e999", "1j", "1_0", "None", "...", "é", "\u2028", "\ud800", "\0", "\t",
    '"9999999999999999999d"', '"5m"', '"1w"', '"(a+)+"', "9" * 400, "(" * 60, "not " * 60, "-" * 60,
]  # fmt: skip


def broken(rng: random.Random) -> str:
    tokens = TOKEN.findall(rng.choice(SEEDS))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(tokens) + 1)
        match rng.randrange(5):
            case 0:
                tokens.insert(at, rng.choice(NOISE))
            case 1:
                del tokens[at : at + rng.choice((1, 1, 4))]
            case 2:
                tokens[at:at] = tokens[rng.randrange(len(tokens) + 1) :]
            case 3:
                tokens[at:] = TOKEN.findall(rng.choice(SEEDS))[at:]
            case 4:
                tokens[at : at + 1] = [rng.choice(NOISE)]
    return "".join(tokens)


def evaluated(expression: Expression) -> None:
    table = StreamTable()
    table.slot("press1/temp", "press1")
    table.slot("press1/load", "press1", {"site": "a"})
    for k in range(2):
        columns = {name: np.array([k, np.nan], np.float32) for name in NUMBERS[k:]}
        observed = Observed(
            k * SECOND, (k + 1) * SECOND, np.arange(2, dtype=np.int32), columns, np.array([3, 0], np.int8)
        )
        truth = expression.evaluate(observed, table)
        assert truth.true.shape == truth.false.shape == (2,)
        assert not (truth.true & truth.false).any()


@pytest.mark.timeout(SECONDS + 60)
def test_whatever_is_written_is_evaluated_or_refused_with_a_place() -> None:
    rng, taken, refused, slowest = random.Random(7), 0, 0, (0.0, "")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        text = broken(rng)
        began = time.process_time()
        try:
            expression = compile_expression(text)
        except ExpressionError as error:
            refused += 1
            assert 1 <= error.line <= text.count("\n") + 1, text
            assert error.column >= 1
            assert error.message
        else:
            taken += 1
            evaluated(expression)
        slowest = max(slowest, (time.process_time() - began, text))
    print(f"{taken:,} expressions taken, {refused:,} refused, the slowest in {slowest[0]:.3f} s")
    assert taken > 20
    assert refused > 100
    assert slowest[0] < 2, slowest
