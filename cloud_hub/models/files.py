"""Model files in the registry's own folder, each under its digest: tried before they are believed, never changed."""

import os
import shutil
from hashlib import file_digest
from pathlib import Path
from typing import Final, Literal

from msgspec import structs

from messages import models
from messages.host import trial
from messages.host.trial import Trial
from messages.models import (
    BadDescription,
    Classification,
    Description,
    Detection,
    Embedding,
    FileTensor,
    Input,
    Output,
    Regression,
    Report,
)

FOLDER: Final = "models"
TRY_S: Final = 60
"""So long a file may take to load and to run once."""

Kind = Literal["classification", "detection", "regression", "embedding"]

_OUTPUTS: Final[dict[str, type[Output]]] = {
    "classification": Classification, "detection": Detection, "regression": Regression, "embedding": Embedding,
}  # fmt: skip


class BadModel(ValueError):
    """A model file that cannot be used. The text names it."""


def examine(file: Path, description: Path | None = None, kind: Kind | None = None) -> tuple[Description, Report]:
    """Load a file and run it once in a process of its own; what it takes and gives, and what came of it.

    Without a `description`, and none beside the file, its own shapes and dtypes are taken and `kind` says what it
    gives. Raises BadModel, BadDescription.
    """
    models.format_of(file)
    if not file.is_file():
        raise BadModel(f"model {file}: is no file")
    about = _described(file, description)
    report = trial.run(Trial(file=str(file.resolve()), description=about, seconds=TRY_S))
    if about is None and report.input is not None and kind is not None:
        about = drafted(file, report.input, kind)
        report = trial.run(Trial(file=str(file.resolve()), description=about, seconds=TRY_S))
    if report.reason or about is None:
        hint = "; or say --kind, if it takes samples as they are" if about is None and report.input else ""
        raise BadModel(report.reason + hint)
    known = structs.replace(about.input, tensor=report.input)
    return structs.replace(about, input=known, output=structs.replace(about.output, tensors=report.outputs)), report


def drafted(file: Path, tensor: FileTensor, kind: Kind) -> Description:
    """A description from nothing but what the file says of its input. Raises BadModel."""
    shape = tensor.shape[1:]
    if not shape or min(shape) < 1:
        raise BadModel(
            f"model {file}: its input {list(tensor.shape)} leaves sizes open: write {models.beside(file).name}"
        )
    given = Input(dtype=tensor.dtype, shape=shape)  # type: ignore[arg-type]  # decoding looks at it
    return models.read(
        models.write(Description(format=models.format_of(file), input=given, output=_OUTPUTS[kind]())), str(file)
    )


def keep(data_dir: Path, file: Path, digest: str) -> Path:
    """Copy a file to where the registry keeps it, whole or not at all; it is there already when its digest is.

    Raises BadModel when the file is another one by now, OSError.
    """
    kept = path_of(data_dir, digest, file.suffix)
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    try:
        with file.open("rb") as source, part.open("w+b") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.seek(0)
            if file_digest(copy, "sha256").hexdigest() != digest:
                raise BadModel(f"model {file}: was changed while it was looked at")
            copy.flush()
            os.fsync(copy.fileno())
        part.rename(kept)
    finally:
        part.unlink(missing_ok=True)
    _sync(kept.parent)
    return kept


def path_of(data_dir: Path, digest: str, suffix: str) -> Path:
    """Where the registry keeps a file; its suffix says its format."""
    return data_dir / FOLDER / f"{digest}{suffix}"


def export(data_dir: Path, description: Description, digest: str, out: Path) -> Path:
    """Copy a model out, with its description beside it; returns where that is. Raises BadModel, OSError."""
    suffix = next(end for end, form in models.FORMATS.items() if form == description.format)
    if out.suffix != suffix:
        raise BadModel(f"{out}: a {description.format} model ends with {suffix}")
    kept = path_of(data_dir, digest, suffix)
    if not kept.exists():
        raise BadModel(f"{kept}: is gone")
    shutil.copyfile(kept, out)
    beside = models.beside(out)
    beside.write_bytes(models.write(description))
    return beside


def _described(file: Path, description: Path | None) -> Description | None:
    place = description or models.beside(file)
    if description is None and not place.exists():
        return None
    try:
        about = models.read(place.read_bytes(), str(place))
    except OSError as error:
        raise BadDescription(f"{place}: {error.strerror}") from error
    if about.format != models.format_of(file):
        raise BadDescription(f"{place}: is of a {about.format} model, and {file.name} is none")
    return about


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
