"""ONNX graphs, edited in place: names of outputs, and outputs that no protocol can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from modelport.errors import UnsupportedModel


def without_zipmap(graph: Any) -> None:
    """Let outputs that a ZipMap made into lists of dicts be the tensors it took, by their names."""
    from onnx import helper

    maps = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    for index, value in enumerate(graph.output):
        node = maps.get(value.name)
        if node is None:
            continue
        labels = max(
            (helper.get_attribute_value(given) for given in node.attribute), key=len, default=()
        )
        tensor = helper.make_tensor_value_info(
            value.name, _FLOAT, [_rows(graph), len(labels) or None]
        )
        graph.node.remove(node)
        rename(graph, {node.input[0]: value.name})
        graph.output[index].CopyFrom(tensor)


def name_outputs(graph: Any, names: Sequence[str]) -> None:
    """Give the first outputs these names, and drop the others.

    Raises:
        UnsupportedModel: There are fewer outputs, or an input has such a name.
    """
    if len(graph.output) < len(names):
        raise UnsupportedModel(f"the converter made no output for {names[-1]}")
    taken = {value.name for value in graph.input} & set(names)
    if taken:
        raise UnsupportedModel(f"the column {min(taken)!r} has the name of an output")
    del graph.output[len(names) :]
    _name(graph, graph.output, names)


def name_inputs(graph: Any, names: Sequence[str]) -> None:
    """Give the inputs these names, in their order: converters replace spaces and the like."""
    _name(graph, graph.input, names)


def _name(graph: Any, values: Sequence[Any], names: Sequence[str]) -> None:
    known = tensors(graph)
    wanted = {value.name: name for value, name in zip(values, names, strict=True)}
    free = (name for number in count() if (name := f"inner_{number}") not in known)
    clashing = [name for name in names if name in known and name not in wanted]
    rename(graph, {**dict(zip(clashing, free, strict=False)), **wanted})


def cast_input(graph: Any, name: str, datatype: int) -> None:
    """Let an input be of this type (of `onnx.TensorProto`), and cast it to what it was."""
    from onnx import helper

    value = next(value for value in graph.input if value.name == name)
    inner = f"{name}_cast"
    own = value.type.tensor_type.elem_type
    rename(graph, {name: inner})
    value.name = name
    value.type.tensor_type.elem_type = datatype
    graph.node.insert(0, helper.make_node("Cast", [name], [inner], to=own))


def cast_output(graph: Any, name: str, datatype: int) -> None:
    """Cast an output to this type (of `onnx.TensorProto`)."""
    apply(graph, name, "Cast", to=datatype)
    value = next(value for value in graph.output if value.name == name)
    value.type.tensor_type.elem_type = datatype


def apply(graph: Any, name: str, operator: str, **attributes: Any) -> None:
    """Let an output be what the operator makes of it."""
    inner = f"{name}_before_{operator.lower()}"
    value = next(value for value in graph.output if value.name == name)
    rename(graph, {name: inner})
    value.name = name
    add(graph, operator, [inner], name, **attributes)


def add(graph: Any, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
    """Add a node after all others; return the name of what it makes."""
    from onnx import helper

    graph.node.append(helper.make_node(operator, inputs, [output], **attributes))
    return output


def constant(graph: Any, name: str, values: Any) -> str:
    """Add whole numbers; return their name."""
    import numpy as np
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
    return name


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename tensors wherever they are mentioned, in subgraphs too."""
    for node in graph.node:
        for mentioned in (node.input, node.output):
            mentioned[:] = [names.get(name, name) for name in mentioned]
        for inner in _subgraphs(node):
            rename(inner, names)
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.name = names.get(value.name, value.name)


def set_shape(value: Any, shape: Sequence[int | None]) -> None:
    """Declare the shape of an input or output; None is a variable dimension."""
    from onnx import helper

    own = value.type.tensor_type
    value.CopyFrom(helper.make_tensor_value_info(value.name, own.elem_type, shape))


def prune(graph: Any) -> None:
    """Drop nodes that no output needs."""
    needed = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
            continue
        needed.update(node.input)
        for inner in _subgraphs(node):
            needed |= tensors(inner)


_FLOAT = 1  # onnx.TensorProto.FLOAT


def _rows(graph: Any) -> str | int | None:
    """Return the graph's own name or number of rows."""
    dimensions = graph.input[0].type.tensor_type.shape.dim if graph.input else []
    if not dimensions:
        return None
    return dimensions[0].dim_param or dimensions[0].dim_value or None


def _subgraphs(node: Any) -> list[Any]:
    own = [given.g for given in node.attribute if given.HasField("g")]
    return [*own, *(graph for given in node.attribute for graph in given.graphs)]


def tensors(graph: Any) -> set[str]:
    """Return the names of all tensors that nodes take or make, those of subgraphs too."""
    found: set[str] = set()
    for node in graph.node:
        found.update(node.input, node.output, *map(tensors, _subgraphs(node)))
    return found
