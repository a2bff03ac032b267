"""Runs models with onnxruntime: heed's own and a user's; the only file that knows onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from models.artifact import CARD, MODEL, WEIGHT, Card, digest, file_problem, read_card
from models.contract import F32, Bools, Look, ModelError, Verdict
from models.gating import INPUTS
from models.probe import SELF_TEST, probe_look, wave
from models.signature import Dim, Signature, read_signature, wanted_output

Array = npt.NDArray[Any]
WINDOW = 128  # T, where neither card nor graph says it

_DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class Graph:
    """One ONNX file in an onnxruntime session that answers the same way each time, on ``threads`` threads."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path = path
        self.digest = digest(path)
        with _failures(path, "can't be loaded"):
            self._session = onnxruntime.InferenceSession(
                str(path), _options(threads), providers=["CPUExecutionProvider"]
            )
        self.inputs: dict[str, list[Dim]] = {i.name: list(i.shape) for i in self._session.get_inputs()}
        self.outputs: dict[str, list[Dim]] = {o.name: list(o.shape) for o in self._session.get_outputs()}
        self._dtypes = {i.name: self._dtype(i.name, i.type) for i in self._session.get_inputs()}

    def run(self, names: Sequence[str], arrays: Mapping[str, Array]) -> dict[str, F32]:
        """The outputs ``names``, as float32, for inputs that are cast to the types the graph wants."""
        feed = {n: np.ascontiguousarray(arrays[n], self._dtypes[n]) for n in self.inputs}
        with _failures(self.path, "failed"):
            answers = self._session.run(list(names), feed)
        return {n: np.asarray(a, np.float32) for n, a in zip(names, answers, strict=True)}

    def _dtype(self, name: str, said: str) -> type[np.generic]:
        if said not in _DTYPES:
            raise ModelError(f"{self.path}: input {name!r} is {said}, which heed has no arrays for")
        return _DTYPES[said]


class OnnxScorer:
    """Scores looks with an ONNX model: an artifact's folder with a card, or a user's own ``.onnx`` file.

    A user's own file takes any subset of Look's arrays (``values`` of shape [N, T] alone is enough: it then gets the
    admitted rows) and gives any subset of Verdict's, ``score`` at least. It is tried once on a made-up look. Without
    a card ``normalised`` is False: ``values`` are wanted in the stream's own units.

    Rows for which the model says NaN or infinite are 0 in all of the verdict, counted in ``bad_rows``, and marked in
    ``bad`` [G, A] until the next call, so that the caller can let the sentinel's verdict stand for them.
    """

    def __init__(self, path: Path | str, threads: int = 1, file: str = MODEL) -> None:
        folder, self._file, self.card = _located(Path(path), file)
        self._graph = Graph(folder / self._file, threads)
        self._signature = read_signature(str(self._graph.path), self._graph.inputs, self._graph.outputs)
        self.name = f"{self.card.name} {self.card.version}" if self.card else Path(self._file).stem
        self.digest = self._graph.digest
        self.normalised = self.card.normalised if self.card else False
        self.window = self._signature.window or (self.card.window if self.card else WINDOW)
        self.bad_rows = 0
        self.bad: Bools = np.zeros((0, 0), np.bool_)
        self._try_out()

    @property
    def cost(self) -> tuple[float, float]:
        """Seconds a call costs, and seconds each admitted stream adds, by the card; zeros without one."""
        return self.card.seconds if self.card and self._file == MODEL else (0.0, 0.0)

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self._signature

    def score(self, look: Look) -> Verdict:
        """The verdict; raises ModelError where the look doesn't fit the model or the model fails."""
        self._check(look)
        real = look.member >= 0
        if not real.any():
            self.bad = np.zeros(real.shape, np.bool_)
            return Verdict(np.zeros(real.shape, np.float32))
        answers = self._by_rows(look, real) if self._signature.by_rows else self._by_groups(look)
        return Verdict(**self._cleaned(answers, real))

    def _by_groups(self, look: Look) -> dict[str, F32]:
        answers = self._graph.run(self._signature.outputs, _arrays(look))
        groups, admitted = look.member.shape
        return self._shaped(answers, {"G": groups, "A": admitted, "S": look.present.shape[1]})

    def _by_rows(self, look: Look, real: Bools) -> dict[str, F32]:
        rows = {"values": look.values[real], "mask": look.mask[real]}
        answers = self._shaped(self._graph.run(self._signature.outputs, rows), {"N": len(rows["values"])})
        return {name: _scattered(answer, real) for name, answer in answers.items()}

    def _shaped(self, answers: dict[str, F32], sizes: Mapping[str, int]) -> dict[str, F32]:
        """Answers in the shapes of Verdict; a score may come with a last dimension of 1."""
        shaped = {}
        for name, answer in answers.items():
            wanted = wanted_output(name, sizes, self._signature.by_rows)
            if name == "score" and answer.shape == (*wanted, 1):
                answer = answer[..., 0]
            if len(answer.shape) != len(wanted) or any(
                w not in (None, a) for a, w in zip(answer.shape, wanted, strict=True)
            ):
                said = f"output {name!r} came as {list(answer.shape)}, wanted {_dims(wanted)}"
                raise ModelError(f"{self._graph.path}: {said}")
            shaped[name] = answer
        return shaped

    def _cleaned(self, answers: dict[str, F32], real: Bools) -> dict[str, F32]:
        """The answers with 0 in rows of padding and in rows that hold a number that isn't finite."""
        fine = real.copy()
        for answer in answers.values():
            if not np.isfinite(answer).all():
                fine &= np.isfinite(answer).reshape(*real.shape, -1).all(2)
        self.bad = real & ~fine
        self.bad_rows += int(self.bad.sum())
        if fine.all():
            return answers
        return {name: _kept(answer, fine) for name, answer in answers.items()}

    def _check(self, look: Look) -> None:
        steps = look.values.shape[-1]
        if "values" in self._signature.inputs and steps != self.window:
            raise ModelError(f"{self._graph.path}: wants windows of {self.window} steps, got {steps}")
        if look.member.size and look.member.max() >= look.present.shape[1]:
            raise ModelError(f"{self._graph.path}: member {look.member.max()} of {look.present.shape[1]} members")

    def _try_out(self) -> None:
        try:
            self.score(probe_look(*SELF_TEST, window=self.window))
        except ModelError as error:
            raise ModelError(f"{error} (tried on a made-up look)") from error
        self.bad_rows = 0


ROWS = 2048  # that the weight net gets at a time: what it needs for itself stays small


class WeightScorer:
    """The gate's weight: a raw logit for every stream, from its gate features."""

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        folder, file, self.card = _located(Path(path), WEIGHT)
        self._graph = Graph(folder / file, threads)
        self.digest = self._graph.digest
        self.bad_rows = 0
        if len(self._graph.inputs) != 1 or len(self._graph.outputs) != 1:
            raise ModelError(
                f"{self._graph.path}: wanted one input, features [n, {INPUTS}], and one output, weight [n]"
            )
        self._input, self._output = next(iter(self._graph.inputs)), next(iter(self._graph.outputs))
        self.weights(wave((3, INPUTS), 0))

    def weights(self, features: F32) -> F32:
        """Gate features f32 [n, 16] to weights f32 [n]; what isn't finite is 0 and counted in ``bad_rows``."""
        if not len(features):
            return np.zeros(0, np.float32)
        parts = [features[at : at + ROWS] for at in range(0, len(features), ROWS)]
        answer = np.concatenate([self._run(part) for part in parts])
        fine = np.isfinite(answer)
        self.bad_rows += int(len(fine) - fine.sum())
        return np.where(fine, answer, np.float32(0))

    def _run(self, features: F32) -> F32:
        answer = self._graph.run([self._output], {self._input: features})[self._output]
        if answer.size != len(features):
            raise ModelError(f"{self._graph.path}: weight came as {list(answer.shape)}, wanted [{len(features)}]")
        return answer.reshape(-1)


def _located(path: Path, file: str) -> tuple[Path, str, Card | None]:
    """Folder and file of a model, and its card if there is one: of a folder always, of a file if the card lists it."""
    if path.is_dir():
        card = read_card(path)
        problem = file_problem(path, file, card)
        if problem:
            raise ModelError(problem)
        return path, file, card
    if not path.is_file():
        raise ModelError(f"{path}: there is no such model")
    if (path.parent / CARD).is_file():
        card = read_card(path.parent)
        if file_problem(path.parent, path.name, card) is None:
            return path.parent, path.name, card
    return path.parent, path.name, None


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what goes wrong is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class _failures:
    """Turns whatever onnxruntime raises into a ModelError that names the file."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            raise ModelError(f"{self._path}: {self._what}: {error}") from error


def _arrays(look: Look) -> dict[str, Array]:
    return {
        "values": look.values,
        "mask": look.mask,
        "member": look.member,
        "evidence": look.evidence,
        "present": look.present,
    }


def _scattered(rows: F32, real: Bools) -> F32:
    """[N, ..] to [G, A, ..], 0 where not real."""
    out = np.zeros((*real.shape, *rows.shape[1:]), np.float32)
    out[real] = rows
    return out


def _kept(answer: F32, fine: Bools) -> F32:
    """The answer [G, A, ..] with 0 where not fine."""
    keep = fine.reshape(*fine.shape, *([1] * (answer.ndim - 2)))
    return np.where(keep, answer, np.float32(0))


def _dims(wanted: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if d is None else str(d) for d in wanted) + "]"
