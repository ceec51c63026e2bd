"""Each engine beside its bare runtime, call by call in the same loop; and what was lost of a model in each form."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from msgspec import structs

from cloud_hub.models.convert import Outcome, Wish, convert
from edge_agent.engines import load
from edge_agent.engines.described import DescribedEngine
from edge_agent.engines.protocol import Engine, Runtime
from messages import models
from scripts.benches import Plan, Row
from scripts.benches.engine import bare, prepare
from scripts.benches.engine.bare import Array, Call
from scripts.benches.engine.prepare import Case

BUDGET_US = 10.0
BLOCKS = 5
CALLS_S = 0.6
"""For so long each of the two is called in a block."""

ROOT = Path(__file__).parents[3]
CONVERTERS = ROOT / ".venv-convert/bin/python"


NOISY_US = 30.0
"""Of a call that takes longer, a few microseconds cannot be told from its noise."""


class _Pair(NamedTuple):
    """Our engine and the bare runtime on the same numbers; and our engine without its runtime."""

    ours: Call
    bare: Call
    x: Array
    around: Call | None = None


class _Recorded:
    """A runtime that ran once, and says so again at once."""

    def __init__(self, runtime: Runtime, x: Array) -> None:
        self.name, self.input, self.outputs = runtime.name, runtime.input, runtime.outputs
        self._said = runtime.run(x[None])

    def run(self, _x: Array) -> Sequence[Array]:
        return self._said


def digits(plan: Plan) -> Iterator[Row]:
    """A perceptron."""
    yield from _case(prepare.mlp, plan)


def mnist(plan: Plan) -> Iterator[Row]:
    """A small network of convolutions."""
    yield from _case(prepare.cnn, plan)


def photos(plan: Plan) -> Iterator[Row]:
    """A real classifier of images."""
    yield from _case(prepare.efficientnet, plan)


def _case(make: Callable[[Path, int], Case], plan: Plan) -> Iterator[Row]:
    with TemporaryDirectory(prefix="engines-") as name:
        folder = Path(name)
        case = make(folder, plan.seed)
        outcomes = {target: _converted(case, target, folder) for target in ("tflite", "onnx")}
        for target, outcome in outcomes.items():
            yield from _worth(case, target, outcome, plan)
        for engine in ("tflite", "onnx", "torch", *(["numpy"] if case.name == "mlp" else [])):
            yield _cost(case, engine, _pair(case, engine, folder), plan)


def _converted(case: Case, target: Any, folder: Path) -> Outcome:
    """All forms; fp32 is written, for that is what each runtime has."""
    subprocess.run(["bash", "-c", ". scripts/_env.sh && env_convert"], cwd=ROOT, check=True)
    wish = Wish(
        file=case.weights, module=case.module, target=target, data=case.data, python=str(CONVERTERS), only=("fp32",),
        out=folder / f"{case.name}.{target}", max_drop=100.0,
    )  # fmt: skip
    outcome = convert(wish)
    if not outcome.chosen:
        raise RuntimeError(f"{case.name} for {target}: {outcome.forms[1].reason}")
    return outcome


def _worth(case: Case, target: str, outcome: Outcome, plan: Plan) -> Iterator[Row]:
    before = outcome.forms[0]
    for form in outcome.forms[1:]:
        if form.reason:
            print(f"   {case.name} for {target} as {form.form}: {form.reason}", file=sys.stderr)
            continue
        kind, value = ("agreement", form.agreement) if form.accuracy is None else ("accuracy", form.accuracy)
        said = f"{case.said}; {form.bytes} bytes, {form.call_us:.0f} us a call"
        yield Row(
            area="engine", name=f"{target}/{case.name}/{form.form}/{kind}", value=value, unit="share", better="higher",
            data=said, seed=plan.seed, runs=1, baseline="the module in torch",
            baseline_value=1.0 if form.accuracy is None else before.accuracy,
        )  # fmt: skip


def _cost(case: Case, engine: str, pair: _Pair, plan: Plan) -> Row:
    pair.bare(pair.x), pair.ours(pair.x)
    beyond, alone_us = zip(*(_block(pair) for _ in range(BLOCKS)), strict=True)
    how = "single calls in turn"
    if median(alone_us) > NOISY_US and pair.around is not None:
        alone = _Pair(pair.around, lambda _: None, pair.x)
        beyond, how = tuple(_block(alone)[0] for _ in range(BLOCKS)), "all but the runtime's call, alone"
    return Row(
        area="engine", name=f"{engine}/{case.name}/overhead_us", value=median(beyond), unit="us", better="lower",
        data=f"{case.said}; {how}, {BLOCKS} medians", seed=plan.seed, runs=BLOCKS,
        baseline="the bare runtime's call", baseline_value=median(alone_us), budget=BUDGET_US, budget_of="value",
    )  # fmt: skip


def _block(pair: _Pair) -> tuple[float, float]:
    """The median of what ours takes longer than the call of the bare runtime next to it, and that of the bare one."""
    beyond, alone = [], []
    calls = [pair.bare, pair.ours]
    until = perf_counter() + 2 * CALLS_S
    while perf_counter() < until:
        calls.reverse()  # so that neither always finds what the other left in the caches
        spent = {call: _seconds(call, pair.x) for call in calls}
        beyond.append(spent[pair.ours] - spent[pair.bare])
        alone.append(spent[pair.bare])
    return median(beyond) * 1e6, median(alone) * 1e6


def _seconds(call: Call, x: Array) -> float:
    begin = perf_counter()
    call(x)
    return perf_counter() - begin


def _pair(case: Case, engine: str, folder: Path) -> _Pair:
    """The engine takes samples as its runtime does, so that only what we add is measured."""
    with np.load(case.data) as arrays:
        x: Array = arrays["x"][0]
    if engine == "numpy":
        return _numpy(case, x, folder)
    path = case.weights if engine == "torch" else folder / f"{case.name}.{engine}"
    about = models.read(models.beside(path).read_bytes(), str(path))
    if about.input.layout == "NCHW":
        x = np.ascontiguousarray(np.moveaxis(x, -1, 0))
        about = structs.replace(about, input=structs.replace(about.input, shape=x.shape, layout=""))
    runtime = load.runtime(load.read(path), about, module=case.module if engine == "torch" else "")
    ours = DescribedEngine(runtime, about, "")
    around = DescribedEngine(_Recorded(runtime, x), structs.replace(about, warm_up=0), "")
    call = {"tflite": bare.tflite, "onnx": bare.onnx, "torch": bare.pytorch}[engine](path, case.name)
    return _Pair(ours.predict, call, x, around.predict)


def _numpy(case: Case, x: Array, folder: Path) -> _Pair:
    from safetensors.numpy import load_file

    weights = load_file(case.weights)
    first, then = (np.ascontiguousarray(weights[f"{n}.weight"].T) for n in (0, 2))
    one, two = weights["0.bias"], weights["2.bias"]
    np.savez(folder / "dense.npz", w0=first, b0=one, w1=then, b1=two)
    engine: Engine = load.for_file(folder / "dense.npz")
    return _Pair(engine.predict, lambda x: np.maximum(x @ first + one, 0.0) @ then + two, x)
