"""`edge-agent predict`: a job's own engine on a file of samples, for `cloud-hub calibrate --labelled`."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from edge_agent import config, jobs, plugins
from edge_agent.engines.protocol import Engine
from edge_agent.values import as_value
from messages.codec import BadPayload
from messages.offload import features
from messages.settings.read import ConfigError
from messages.tensors import cast

Array = np.ndarray[Any, Any]


def predict(config_file: Path, job: str, samples: Path, out: Path) -> str:
    """Copy the arrays of an .npz file, and add what the edge model says of each sample of its `x`.

    `edge` are class probabilities (n, classes), or for other results their confidence (n, 1), NaN where there is none;
    `model` is the model's digest. Returns a line that says so. Raises ConfigError, ValueError that names the file.
    """
    settings = config.load(config_file)
    if job not in settings.jobs:
        raise ConfigError(f"{config_file}: has no job {job!r}; its jobs are {', '.join(settings.jobs) or 'none'}")
    arrays = _arrays(samples)
    plugins.search_beside(config_file)
    task = jobs.build(job, settings.jobs[job], config_file)
    try:
        edge = _edge(task.engine, _checked(arrays, task.engine, samples))
    except plugins.PluginFailed as error:
        raise ValueError(f"{samples}: {error}") from error
    finally:
        task.close()
    _write(out, arrays | {"edge": edge, "model": np.array(task.engine.digest)})
    return f"{out}: {len(edge)} samples of job {job}, model {task.engine.digest[:12]}"


def _arrays(file: Path) -> dict[str, Array]:
    try:
        with np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, EOFError, ValueError, BadZipFile, AttributeError) as error:
        raise ValueError(f"{file}: is no .npz file of arrays: {error}") from error


def _checked(arrays: dict[str, Array], engine: Engine, file: Path) -> Array:
    x = arrays.get("x")
    if x is None:
        raise ValueError(f"{file}: has no array x, only {', '.join(arrays) or 'none'}")
    if x.shape[1:] != engine.input.shape or not len(x):
        raise ValueError(
            f"{file}: x has shape {x.shape}: the model takes (n, {', '.join(map(str, engine.input.shape))})"
        )
    try:
        return cast(x, engine.input.dtype)
    except BadPayload as error:
        raise ValueError(f"{file}: {error}") from error


def _edge(engine: Engine, x: Array) -> Array:
    rows = [features.read(as_value(plugins.call("engine", engine.predict, sample))) for sample in x]
    numbers = [np.atleast_1d(row) for row in rows if not isinstance(row, str)]
    widths = {row.size for row in numbers}
    if len(widths) != 1:
        raise ValueError(f"the engine gives {sorted(widths) or 'no'} probabilities for a sample: not always as many")
    out = np.full((len(rows), widths.pop()), np.nan, dtype=np.float32)
    out[[not isinstance(row, str) for row in rows]] = numbers
    return out


def _write(file: Path, arrays: dict[str, Array]) -> None:
    try:
        with file.open("wb") as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]  # none of them is called allow_pickle
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
