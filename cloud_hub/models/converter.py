"""The process that writes a model's forms: `python -m cloud_hub.models.converter`, started by `convert.py`.

It may be another Python, where the large converters are: so it needs only NumPy, torch and what the order asks for. The
order comes as JSON on stdin, the answer goes as JSON to stdout; what libraries print goes to stderr.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]
Order = dict[str, Any]

PIECES: Final = {"tflite": ("ai_edge_litert", "ai_edge_quantizer"), "onnx": ("onnx", "onnxscript", "onnxruntime")}
"""What a conversion needs besides torch, by the target."""


def main() -> int:
    """Write all forms that can be written."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order: Order = json.loads(sys.stdin.read())
    sys.path.append(order["folder"])
    folder, target = Path(order["out"]), order["target"]
    written: dict[str, str] = {}
    failed: dict[str, str] = {}
    for form in order["forms"]:
        path = folder / f"{form}.{target}"
        try:
            _write(order, form, path, folder / f"fp32.{target}")
            written[form] = str(path)
        except (ImportError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, OSError) as error:
            failed[form] = f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else 'no reason'}"
    json.dump({"written": written, "failed": failed}, answer)
    answer.flush()
    return 0


def _write(order: Order, form: str, path: Path, full: Path) -> None:
    """Write one form; all but fp32 are made of the file of that."""
    if form == "fp32":
        write = _first_tflite if order["target"] == "tflite" else _first_onnx
        write(order, path)
    elif order["target"] == "tflite":
        _smaller_tflite(order, form, full, path)
    else:
        _smaller_onnx(order, form, full, path)


def _first_tflite(order: Order, path: Path) -> None:
    if order["module"]:
        import litert_torch

        module, sample = _module(order), np.zeros((1, *_last(order, order["shape"])), "float32")
        litert_torch.convert(_channels_last(module, order), (_torch(sample),)).export(str(path))
        return
    from cloud_hub.models import dense

    path.write_bytes(dense.tflite(_layers(order), softmax=order["softmax"]))


def _first_onnx(order: Order, path: Path) -> None:
    import torch

    module = _module(order) if order["module"] else _perceptron(order)
    sample = _torch(np.zeros((2, *order["shape"]), "float32"))  # of one, the exporter takes the size for a constant
    torch.onnx.export(
        module, (sample,), str(path), input_names=["x"], output_names=["y"], dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False,
    )  # fmt: skip
    _forget_origin(path)


def _forget_origin(path: Path) -> None:
    """Leave out what the exporter writes down of the machine: for each step the lines of code, with their paths."""
    import onnx

    model = onnx.load(str(path))
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.ClearField("metadata_props")
    onnx.save(model, str(path))


def _module(order: Order) -> Any:
    """The user's module with the file's weights."""
    from safetensors.torch import load_file

    module = resolve_name(order["module"])()
    module.load_state_dict(load_file(order["source"]))
    return module.eval()


def _layers(order: Order) -> list[tuple[Array, Array]]:
    with np.load(order["source"], allow_pickle=False) as arrays:
        return [(arrays[f"w{n}"], arrays[f"b{n}"]) for n in range(sum(name[0] == "w" for name in arrays.files))]


def _perceptron(order: Order) -> Any:
    """A stack of dense layers as a torch module."""
    from torch import nn

    steps: list[Any] = []
    for weights, bias in _layers(order):
        layer = nn.Linear(*weights.shape)
        layer.load_state_dict({"weight": _torch(weights.T), "bias": _torch(bias)})
        steps += [layer, nn.ReLU()]
    return nn.Sequential(*steps[:-1], *([nn.Softmax(-1)] if order["softmax"] else [])).eval()


def _channels_last(module: Any, order: Order) -> Any:
    """The module for pictures as a device has them, where it takes them as torch wants them."""
    if order["layout"] != "NCHW":
        return module
    import torch

    class ChannelsLast(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: torch.Tensor) -> Any:
            return self.inner(x.permute(0, 3, 1, 2))

    return ChannelsLast().eval()


def _last(order: Order, shape: list[int]) -> list[int]:
    return [*shape[1:], shape[0]] if order["layout"] == "NCHW" else shape


def _rows(order: Order, *, last: bool) -> Iterator[Array]:
    """The rows to calibrate with, each as the file takes it."""
    x = np.load(order["rows"], allow_pickle=False)
    for row in x:
        yield np.moveaxis(row, 0, -1)[None] if last and order["layout"] == "NCHW" else row[None]


def _smaller_tflite(order: Order, form: str, full: Path, path: Path) -> None:
    from ai_edge_quantizer import qtyping, quantizer, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    work = quantizer.Quantizer(str(full))
    if form == "int8":
        work.load_quantization_recipe(recipe.static_wi8_ai8())
    else:
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        work.update_quantization_recipe(
            regex=".*", operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
            ),
            algorithm_key=AlgorithmName.FLOAT_CASTING,
        )  # fmt: skip
    name = "args_0" if order["module"] else "x"
    rows = [{name: row} for row in _rows(order, last=True)] if work.need_calibration else []
    found = work.calibrate({"serving_default": rows}) if rows else None
    path.unlink(missing_ok=True)  # it overwrites nothing
    work.quantize(found).export_model(str(path))


def _smaller_onnx(order: Order, form: str, full: Path, path: Path) -> None:
    import onnx

    if form == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(str(full)), keep_io_types=True), str(path))
        return
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Rows(CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self._rows = _rows(order, last=False)

        def get_next(self) -> dict[str, Array] | None:
            row = next(self._rows, None)
            return None if row is None else {"x": row}

    ready = path.with_suffix(".ready.onnx")
    quant_pre_process(str(full), str(ready))
    quantize_static(str(ready), str(path), Rows())
    ready.unlink()


def _torch(array: Array) -> Any:
    import torch

    return torch.from_numpy(np.array(array, "float32"))


if __name__ == "__main__":
    sys.exit(main())
