"""Finds the engine for a job: by the model file's suffix, or the user's own factory."""

import re
from pathlib import Path
from typing import Any, cast

from edge_agent import plugins
from edge_agent.engines.protocol import Engine, ModelError, TensorSpec

_DIGEST = re.compile(r"[0-9a-f]{64}")


def for_file(path: Path) -> Engine:
    """The engine for a model file. Raises ModelError."""
    if path.suffix not in (".npz", ".safetensors"):
        raise ModelError(
            f'model {path}: no engine for {path.suffix!r}; use .npz, .safetensors or engine = "module:name"'
        )
    from edge_agent.engines import numpy_engine

    return numpy_engine.load(path)


def from_plugin(spec: plugins.Spec, model: Path | None, field: str) -> Engine:
    """The user's own engine: its factory gets the options of its table, and `model` (a path) when the job names one.

    Raises PluginError, or ModelError when what it makes is no engine.
    """
    name, options = plugins.split(spec, field)
    if model is not None:
        options["model"] = model
    made = plugins.make(name, options, field)
    _check(made, f"{field}: {name}")
    return cast(Engine, made)


def _check(made: Any, who: str) -> None:
    if not callable(getattr(made, "predict", None)):
        raise ModelError(f"{who}: an engine has a method predict, this {type(made).__name__} has none")
    if not isinstance(getattr(made, "input", None), TensorSpec):
        raise ModelError(f"{who}: an engine's `input` is a TensorSpec(dtype, shape)")
    digest = getattr(made, "digest", None)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ModelError(f"{who}: an engine's `digest` is the SHA-256 of its model file in hex")
