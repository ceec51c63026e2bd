"""Finds the engine for a job: by the model file's suffix and its description, or the user's own factory.

Where a file's bytes are read by native code (TensorFlow Lite, ONNX), it is first loaded and run in a limited process of
its own: what is wrong with it takes down that process and not the agent.
"""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

from edge_agent import plugins
from edge_agent.engines.protocol import Engine, ModelError, Runtime, TensorSpec
from messages import models
from messages.host import trial
from messages.models import Description, Format

MAX_BYTES: Final = 1 << 30
"""A model file may be this large: as much as a device gives to a process that tries one."""

NATIVE: Final[tuple[Format, ...]] = ("tflite", "onnx")

TORCH: Final = "torch"
"""`engine = {use = "torch", module = "mine:network"}`: the weights of a .safetensors file in a module of the user's."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def for_file(path: Path, description: Description | None = None, *, module: str = "") -> Engine:
    """The engine for a model file that nobody has tried yet. `description` is read beside the file where none is given.

    `module` ("module:name") makes the torch module that the weights are for. Raises ModelError, PluginError.
    """
    if _form(path) in NATIVE:
        found = trial.run(trial.Trial(file=str(path), description=description))
        if found.reason:
            raise ModelError(found.reason)
    return tried(path, description, module=module)


def tried(path: Path, description: Description | None = None, *, module: str = "") -> Engine:
    """The engine for a model file that was tried before, or is tried now. Raises ModelError, PluginError."""
    try:
        form, raw = _form(path), read(path)
        about = description or described(path)
        if about is None:
            return _undescribed(form, raw, path, module)
        if about.format != form:
            raise ModelError(f"its description is for {about.format}")
        from edge_agent.engines.described import DescribedEngine

        return DescribedEngine(runtime(raw, about, module=module), about, sha256(raw).hexdigest())
    except ModelError as error:
        raise error if str(error).startswith("model ") else ModelError(f"model {path}: {error}") from error


def runtime(raw: bytes, about: Description, *, module: str = "", look: bool = False) -> Runtime:
    """A file's bytes in their runtime; `look` for constants that are not finite, too. Raises ModelError."""
    if about.format == "tflite":
        from edge_agent.engines import tflite

        return tflite.load(raw, about.threads, look=look)
    if about.format == "onnx":
        from edge_agent.engines import onnx

        return onnx.load(raw, about.threads)
    if module:
        from edge_agent.engines import pytorch

        return pytorch.load(raw, module, about.input, about.threads)
    from edge_agent.engines import numpy_engine

    return numpy_engine.load(raw, about.format)[1]


def described(path: Path) -> Description | None:
    """The description beside a model file, if there is one. Raises ModelError."""
    place = models.beside(path)
    try:
        return models.read(place.read_bytes(), str(place))
    except FileNotFoundError:
        return None
    except (OSError, models.BadDescription) as error:
        raise ModelError(f"model {path}: {error}") from error


def plain(path: Path, found: Runtime) -> Description:
    """The description of a file that says it all by itself. Raises ModelError for another one."""
    from edge_agent.engines.numpy_engine import NumpyRuntime

    if not isinstance(found, NumpyRuntime):
        raise _Unsaid(path)
    takes = models.Input(dtype=cast(models.Dtype, found.input.dtype), shape=found.input.shape[1:])
    gives = models.Classification() if found.outputs[0].shape[1] > 1 else models.Regression()
    return Description(format=models.format_of(path), input=takes, output=gives)


def read(path: Path) -> bytes:
    """A model file's bytes. Raises ModelError."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{size} bytes, at most {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(error.strerror or str(error)) from error


def from_plugin(spec: plugins.Spec, model: Path | None, field: str) -> Engine:
    """The user's own engine: its factory gets the options of its table, and `model` (a path) when the job names one.

    Raises PluginError, or ModelError when what it makes is no engine.
    """
    name, options = plugins.split(spec, field)
    if name == TORCH:
        return _torch(options, model, field)
    if model is not None:
        options["model"] = model
    made = plugins.make(name, options, field)
    _check(made, f"{field}: {name}")
    return cast(Engine, made)


def _form(path: Path) -> Format:
    try:
        return models.format_of(path)
    except models.BadDescription as error:
        raise ModelError(f'{error} or engine = "module:name"') from error


def _undescribed(form: Format, raw: bytes, path: Path, module: str) -> Engine:
    """A model that needs no description, for its file says it all."""
    if form in NATIVE or module:
        raise _Unsaid(path)
    from edge_agent.engines import numpy_engine

    return numpy_engine.load(raw, form)[0]


class _Unsaid(ModelError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"nothing says what it takes and gives: write {models.beside(path).name} beside it")


def _torch(options: dict[str, Any], model: Path | None, field: str) -> Engine:
    module = options.pop("module", None)
    if not isinstance(module, str) or options or model is None or model.suffix != ".safetensors":
        raise plugins.PluginError(
            f'{field}: write it as {{use = "torch", module = "module:name"}}, beside model = "weights.safetensors"'
        )
    return for_file(model, module=module)


def _check(made: Any, who: str) -> None:
    if not callable(getattr(made, "predict", None)):
        raise ModelError(f"{who}: an engine has a method predict, this {type(made).__name__} has none")
    if not isinstance(getattr(made, "input", None), TensorSpec):
        raise ModelError(f"{who}: an engine's `input` is a TensorSpec(dtype, shape)")
    digest = getattr(made, "digest", None)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ModelError(f"{who}: an engine's `digest` is the SHA-256 of its model file in hex")
