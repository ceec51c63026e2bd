"""A model for devices: written in several forms by a process of its own, each judged by the engine that devices run."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct, structs

from cloud_hub.models.choose import Form, choose, judged, results
from cloud_hub.workers.process import environment
from messages import models, npz_file, safetensors_file
from messages.host import trial
from messages.host.trial import Trial
from messages.models import Classification, Description, Golden, Input, Report

Array = np.ndarray[Any, Any]
Target = Literal["tflite", "onnx"]

FORMS: Final = ("fp32", "fp16", "int8")
SOURCE: Final = "as it was"

CALIBRATION_ROWS: Final = 200
GOLDEN_ROWS: Final = 16
CONVERT_S: Final = 1800
JUDGE_S: Final = 600
JUDGE_MB: Final = 65_536
"""What torch takes of the address space has little to do with what it uses."""

TOLERANCE: Final = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.1}
"""How far golden results may lie apart on another machine, whose runtime rounds in its own way."""


class ConvertError(Exception):
    """A model cannot be converted. The text names the file and the reason."""


class Wish(Struct, frozen=True, kw_only=True):
    """What is wanted: `file` for `target`, judged on `data` (an .npz file of x, and y where there are labels).

    `module` makes the torch module that the file has the weights of; `python` is where the converters are installed.
    `max_drop` is in points of accuracy, or of agreement where there are no labels. Only forms in `only` are chosen.
    """

    file: Path
    target: Target
    data: Path
    out: Path
    module: str = ""
    folder: str = ""
    python: str = sys.executable
    max_kb: float | None = None
    max_drop: float = 0.5
    only: tuple[str, ...] = FORMS


class Outcome(Struct, frozen=True, kw_only=True):
    """All forms with what became of them, the model as it was first; and which was written, if one was."""

    forms: list[Form]
    chosen: str = ""
    file: str = ""


class _Data(Struct, frozen=True):
    """Rows to calibrate with, and others to judge by, with their labels."""

    calibrate: Array
    judge: Array
    labels: Array | None


def convert(wish: Wish) -> Outcome:
    """Convert, judge and choose; the chosen form, its description and its golden samples go to `wish.out`.

    Raises ConvertError.
    """
    with TemporaryDirectory(prefix="convert-") as name:
        folder = Path(name)
        data = _split(wish.data)
        np.savez(folder / "samples.npz", x=data.judge)
        source, about = _source(wish, folder)
        truth = results(source)
        forms = [judged(Form(form=SOURCE), source, truth, data.labels)]
        target = _described(about, wish)
        written, failed = _converted(wish, about, data, folder)
        reports = {form: _tried(path, target, folder) for form, path in written.items()}
        forms += [
            Form(form=form, reason=failed[form]) if form in failed
            else judged(Form(form=form), reports[form], truth, data.labels, before=forms[0].accuracy)
            for form in FORMS
        ]  # fmt: skip
        best = choose([form for form in forms if form.form in wish.only], max_kb=wish.max_kb, max_drop=wish.max_drop)
        if best is None:
            return Outcome(forms=forms)
        _describe(wish.out, target, reports[best.form], data.judge, tolerance=TOLERANCE[best.form])
        shutil.copyfile(written[best.form], wish.out)
        return Outcome(forms=forms, chosen=best.form, file=str(wish.out))


def _split(file: Path) -> _Data:
    try:
        arrays = npz_file.read(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConvertError(f"{file}: {error}") from error
    x, y = arrays.get("x"), arrays.get("y")
    if x is None or len(x) < 8 or (y is not None and y.shape != x.shape[:1]):
        raise ConvertError(f"{file}: needs an array x of 8 samples or more, and y with a label for each, if any")
    step = max(4, len(x) // CALIBRATION_ROWS)
    first = np.arange(len(x)) % step == 0
    return _Data(x[first][:CALIBRATION_ROWS], x[~first], None if y is None else y[~first])


def _source(wish: Wish, folder: Path) -> tuple[Report, Description]:
    """The model as it is: what the engine says of it, and its description."""
    order = Trial(
        file=str(wish.file), module=wish.module, folder=wish.folder, samples=str(folder / "samples.npz"),
        seconds=JUDGE_S, address_mb=JUDGE_MB,
    )  # fmt: skip
    report = trial.run(order)
    if report.reason:
        raise ConvertError(report.reason.replace(order.samples, str(wish.data)))
    place = models.beside(wish.file)
    try:
        return report, models.read(place.read_bytes(), str(place))
    except FileNotFoundError:
        return report, _plain(wish.file, report)
    except (OSError, models.BadDescription) as error:
        raise ConvertError(str(error)) from error


def _plain(file: Path, report: Report) -> Description:
    """The description of a file that needs none."""
    assert report.input is not None, "a model that ran has an input"
    takes = Input(dtype=report.input.dtype, shape=report.input.shape[1:])  # type: ignore[arg-type]  # it was read
    gives = Classification() if report.outputs[0].shape[1] > 1 else models.Regression()
    return Description(format=models.format_of(file), input=takes, output=gives)


def _described(about: Description, wish: Wish) -> Description:
    """What the converted file takes: pictures lie as a device has them, where the source wants them as torch does."""
    layout = about.input.layout
    if wish.target == "tflite":
        layout = "NHWC" if layout == "NCHW" and wish.module else layout if wish.module else ""
    if not wish.module and about.input.layout == "NCHW" and len(about.input.shape) == 3:
        raise ConvertError(f"{wish.file}: dense layers take a picture as it lies, not in layout NCHW")
    takes = structs.replace(about.input, layout=layout, tensor=None)
    return structs.replace(
        about, format=wish.target, input=takes, output=structs.replace(about.output, tensors=()), golden=None,
        framework=f"converted from {about.framework or about.format}",
    )  # fmt: skip


def _converted(wish: Wish, about: Description, data: _Data, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The files by form, and why there is none of others. Raises ConvertError."""
    takes = about.input
    rows = data.calibrate * np.float32(1.0) * np.asarray(takes.scale, "float32") + np.asarray(takes.offset, "float32")
    if takes.layout == "NCHW" and len(takes.shape) == 3:
        rows = np.moveaxis(rows, -1, 1)
    shape = takes.tensor_shape if wish.module else (int(np.prod(takes.shape)),)
    np.save(folder / "rows.npy", rows.reshape(-1, *shape).astype("float32"))
    order = {
        "target": wish.target, "forms": FORMS, "out": str(folder), "rows": str(folder / "rows.npy"), "shape": shape,
        "module": wish.module, "folder": wish.folder, "layout": takes.layout if wish.module else "",
        "source": str(wish.file if wish.module else _layers(wish.file, folder)),
        "softmax": isinstance(about.output, Classification),
    }  # fmt: skip
    command = [wish.python, "-P", "-m", "cloud_hub.models.converter"]
    try:
        done = subprocess.run(  # noqa: S603  # the Python that the user named
            command, input=json.dumps(order), env=environment(), capture_output=True, text=True,
            timeout=CONVERT_S, check=False,
        )  # fmt: skip
        answer = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConvertError(f"{wish.python}: {error}") from error
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ConvertError(f"{wish.file}: the converter failed: {last[0][:300]}") from None
    return answer["written"], answer["failed"]


def _layers(file: Path, folder: Path) -> Path:
    """The dense layers of a file, read by our own strict reader, where the converter finds them."""
    raw = file.read_bytes()
    arrays = safetensors_file.read(raw)[0] if file.suffix == ".safetensors" else npz_file.read(raw)
    np.savez(folder / "layers.npz", **{name: array for name, array in arrays.items() if name[:1] in "wb"})  # type: ignore[arg-type]
    return folder / "layers.npz"


def _tried(path: str, about: Description, folder: Path) -> Report:
    samples = str(folder / "samples.npz")
    return trial.run(Trial(file=path, description=about, samples=samples, seconds=JUDGE_S, address_mb=JUDGE_MB))


def _describe(out: Path, about: Description, report: Report, x: Array, *, tolerance: float) -> None:
    """Write a file takes and gives, and what it says of some samples."""
    golden = out.with_name(f"{out.name}.golden.npz")
    np.savez(golden, x=x[:GOLDEN_ROWS], y=results(report)[:GOLDEN_ROWS])
    digest = sha256(golden.read_bytes()).hexdigest()
    about = structs.replace(
        about,
        input=structs.replace(about.input, tensor=report.input),
        output=structs.replace(about.output, tensors=report.outputs),
        golden=Golden(sha256=digest, tolerance=tolerance, agreement=0.9),
    )
    models.beside(out).write_bytes(models.write(about))
