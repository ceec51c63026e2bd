"""What a policy is fitted from: samples with what edge and cloud say of them, and labels where there are some."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from msgspec import json, msgpack

from cloud_hub.calibration.rows import UNKNOWN
from cloud_hub.labels.table import COUNTS, top
from messages.codec import BadPayload
from messages.offload import features
from messages.shapes import Classes, NodeStatus, Scalar, Tensor, Value
from messages.tensors import unpack

Array = np.ndarray[Any, Any]

MOST: Final = 20_000
MOST_BYTES: Final = 256 << 20
"""So many audits are used, and so many bytes of them, the last ones: with more it does not get much clearer."""

_AUDITS: Final = (
    "SELECT dtype, shape, data, encoding, edge, value, " + COUNTS + " FROM samples"
    " WHERE job = ? AND audit AND edge_model = ? AND value IS NOT NULL AND ? IN ('', node) ORDER BY id DESC LIMIT ?"
)
_MODELS: Final = (
    "SELECT edge_model, count(*) FROM samples WHERE job = ? AND audit AND ? IN ('', node) GROUP BY edge_model"
)
_decode_value = msgpack.Decoder(Value).decode
_decode_status = json.Decoder(NodeStatus).decode


class NoExamples(Exception):
    """There is nothing to fit a policy from. The text says what is missing."""


@dataclass(frozen=True)
class Examples:
    """Samples x (n, *shape), the edge model's probabilities (n, classes), classes from the cloud and labels (n,).

    Where results are no classes, `edge` (n,) is the model's confidence. UNKNOWN stands for a class that nobody gave.
    `model` is the edge model's digest; `left_out` says what is not here, and why.
    """

    model: str
    x: Array
    edge: Array
    cloud: Array
    labels: Array
    left_out: Counter[str] = field(default_factory=Counter)


def models(reader: sqlite3.Connection, job: str, node: str) -> dict[str, list[str]]:
    """The digests of the edge models that nodes run for a job, by what they last said, with the nodes' names."""
    found: dict[str, list[str]] = {}
    for name, status in reader.execute("SELECT name, status FROM nodes WHERE ? IN ('', name)", (node,)):
        digest = _decode_status(status).releases.get(job)
        if digest:
            found.setdefault(digest, []).append(name)
    return found


def of_audits(reader: sqlite3.Connection, job: str, *, node: str = "") -> Examples:
    """The answered audits of one edge model: of the one that most nodes run now, or else that most audits are of.

    Hard samples are none of them: they are a biased choice. Raises NoExamples.
    """
    numbers = Counter(dict(reader.execute(_MODELS, (job, node))))
    if not numbers:
        raise NoExamples(f"job {job}: there are no audits yet (a share of all samples that agents send by chance)")
    running = Counter({digest: len(names) for digest, names in models(reader, job, node).items()})
    model = (running or numbers).most_common(1)[0][0]
    rows = list(_recent(reader.execute(_AUDITS, (job, model, node, MOST))))
    usable, left_out = _usable(rows)
    if not usable:
        raise NoExamples(f"job {job}: none of {numbers[model]} audits is answered and can be used")
    left_out["another edge model"] = numbers.total() - numbers[model]
    left_out["too old or not answered"] = numbers[model] - len(rows)
    edge, x, cloud, labels = (np.stack(column) for column in zip(*usable, strict=True))
    return Examples(model, x, edge, cloud, labels, +left_out)


def of_file(file: Path) -> Examples:
    """The samples of an .npz file: arrays x, y (labels), edge and model (of `edge-agent predict`), and maybe cloud.

    Without a cloud the classes from there are UNKNOWN. Raises NoExamples that names the file and the array.
    """
    try:
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, EOFError, ValueError, BadZipFile, AttributeError) as error:
        raise NoExamples(f"{file}: is no .npz file of arrays: {error}") from error
    if missing := [name for name in ("x", "y", "edge", "model") if name not in arrays]:
        hint = " (edge-agent predict JOB FILE.npz -o OUT.npz adds edge and model)" if missing[-1] == "model" else ""
        raise NoExamples(f"{file}: has no array {', '.join(missing)}{hint}")
    x, edge = arrays["x"], arrays["edge"]
    labels, cloud = _classes(arrays, "y", file), _classes(arrays, "cloud", file)
    if edge.ndim != 2 or not len(x) == len(labels) == len(edge) == len(cloud):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items() if name != "model")
        raise NoExamples(f"{file}: {shapes}: not (n, ...) samples, (n,) labels and (n, classes) probabilities")
    only = edge.shape[1] == 1
    why = [features.read(_value(row, only=only)) for row in edge.tolist()]
    good = np.array([not isinstance(found, str) for found in why])
    left_out = Counter(found for found in why if isinstance(found, str))
    said = edge[good, 0] if only else edge[good]
    return Examples(str(arrays["model"]), x[good], said, cloud[good], labels[good], left_out)


def _value(row: list[float], *, only: bool) -> Value:
    """A row of an array as the edge model said it: class probabilities, or only one confidence."""
    return Scalar(scalar=0.0, confidence=row[0]) if only else Classes(probs=tuple(row))


def _classes(arrays: Mapping[str, Array], name: str, file: Path) -> Array:
    """Classes (n,), also from probabilities (n, classes); UNKNOWN where there is no such array."""
    found = arrays.get(name)
    if found is None:
        return np.full(len(arrays["x"]), UNKNOWN)
    if found.ndim == 2 and found.dtype.kind == "f" and np.isfinite(found).all():
        return np.asarray(found.argmax(axis=1))
    if found.ndim != 1 or found.dtype.kind not in "iu" or (len(found) and found.min() < 0):
        raise NoExamples(f"{file}: {name} is {found.dtype.name}{list(found.shape)}: use classes (n,), whole numbers")
    return found.astype(np.int64)


def _read(dtype: str, shape: str, data: bytes, encoding: str, *said: Any) -> tuple[Any, ...] | str:
    """One audit as arrays (edge, x, cloud, label), or why it cannot be used."""
    edge, value, label = said
    probs, cloud = features.read(_decode_value(edge)), top(value)
    if isinstance(probs, str):
        return probs
    sizes = tuple(map(int, shape.split(","))) if shape else ()
    try:
        x = unpack(Tensor(dtype=dtype, shape=sizes, data=data, encoding=encoding))
    except BadPayload:
        return "unreadable"
    classes = (UNKNOWN if found is None else found for found in (cloud, label))
    return (np.asarray(probs), x, *map(np.int64, classes))


def _recent(found: sqlite3.Cursor) -> Iterator[tuple[Any, ...] | str]:
    size = 0
    for row in found:
        audit = _read(*row)
        size += 0 if isinstance(audit, str) else audit[1].nbytes
        if size > MOST_BYTES:
            return
        yield audit


def _usable(rows: Sequence[Any]) -> tuple[list[Any], Counter[str]]:
    """Those that are alike in shape and number of classes; and why the others are not."""
    why = Counter(row for row in rows if isinstance(row, str))
    good = [row for row in rows if not isinstance(row, str)]
    kinds = Counter((row[0].shape, row[1].shape) for row in good)
    kind = kinds.most_common(1)[0][0] if kinds else None
    alike = [row for row in good if (row[0].shape, row[1].shape) == kind]
    why["another shape"] = len(good) - len(alike)
    return alike, why
