"""Writes the hostile .onnx files of this folder: `python -m tests.support.models.hostile`, where onnx is installed.

Both are valid, a few hundred bytes, and pass every checker: only what they do is bad.
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

SIZE = 1_600_000_000
HERE = Path(__file__).parent


def greedy() -> onnx.GraphProto:
    """Fills 6 GB with zeros, then gives their sum."""
    nodes = [
        helper.make_node("Constant", [], ["size"], value=helper.make_tensor("v", TensorProto.INT64, [1], [SIZE])),
        helper.make_node("ConstantOfShape", ["size"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return graph("greedy", nodes)


def endless() -> onnx.GraphProto:
    """Adds nothing, for ever."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["go_on_out"]), helper.make_node("Identity", ["a"], ["a_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a_out", TensorProto.FLOAT, [1, 4]),
        ],
    )
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", TensorProto.BOOL, [], [True])),
        helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body),
    ]
    return graph("endless", nodes)


def graph(name: str, nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    """A graph from x (1, 4) to y."""
    x, y = (helper.make_tensor_value_info(each, TensorProto.FLOAT, [1, 4]) for each in "xy")
    return helper.make_graph(nodes, name, [x], [y])


def main() -> None:
    """Write both."""
    for made in (greedy(), endless()):
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, HERE / f"{made.name}.onnx")


if __name__ == "__main__":
    main()
