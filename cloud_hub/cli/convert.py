"""`cloud-hub model convert`: forms of a model for devices, each judged."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cloud_hub.cli.output import FAILED, AsJson, fail, print_json, print_table

Target = Literal["tflite", "onnx"]

if TYPE_CHECKING:
    from cloud_hub.models import convert


def convert_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="dense layers (.npz), or weights (.safetensors)")],
    target: Annotated[Target, typer.Option("--for", metavar="FORMAT", help="tflite or onnx")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE.npz", help="x: samples, y: their labels, if known")],
    max_kb: Annotated[float | None, typer.Option("--max-kb", help="no larger than this")] = None,
    max_drop: Annotated[float, typer.Option("--max-drop", help="points of accuracy that may be lost")] = 0.5,
    module: Annotated[str, typer.Option("--module", metavar="MODULE:NAME", help="makes the torch module")] = "",
    python: Annotated[str, typer.Option("--python", metavar="PATH", help="where the converters are")] = sys.executable,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="where the best is written")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model as fp32, fp16 and int8, judge each with the engine that devices run, and keep the best."""
    from cloud_hub.models import convert

    wish = convert.Wish(
        file=file, target=target, data=data, out=out or file.with_suffix(f".{target}"), module=module,
        folder=str(Path.cwd()), python=python, max_kb=max_kb, max_drop=max_drop,
    )  # fmt: skip
    try:
        found = convert.convert(wish)
    except convert.ConvertError as error:
        fail(FAILED, str(error))
    if as_json:
        print_json(found)
    else:
        print_table(("form", "kB", "accuracy", "agreement", "us a call", ""), _rows(found))
        typer.echo(f"{found.file}: {found.chosen}" if found.chosen else "none is small and good enough")
    raise typer.Exit(0 if found.chosen else FAILED)


def _rows(found: "convert.Outcome") -> Iterator[tuple[object, ...]]:
    for form in found.forms:
        if form.reason:
            yield form.form, "", "", "", "", form.reason
            continue
        accuracy = "" if form.accuracy is None else f"{form.accuracy:.2%}"
        mark = "chosen" if form.form == found.chosen else ""
        yield form.form, f"{form.bytes / 1024:.1f}", accuracy, f"{form.agreement:.2%}", f"{form.call_us:.0f}", mark
