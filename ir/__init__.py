"""The graph language of nncompile: standard library, NumPy and networkx only; usable by itself."""
from typing import TYPE_CHECKING, Any

from ir.builder import Builder
from ir.graph import Graph, Node, Operand, Reading, Requirement, Value, Where
from ir.interpret import interpret
from ir.ops import OPS
from ir.parser import ParseError, parse, parse_type
from ir.passes import CSE, DCE, FoldConstants, Pass, run
from ir.printer import print_graph
from ir.rewrite import Context, Reason, rewrite
from ir.types import (
    DTYPES,
    FLOATS,
    Dim,
    DimExpr,
    Error,
    NDArray,
    TensorType,
    product,
    same,
    type_of,
)
from ir.verify import VerifyError, verify

if TYPE_CHECKING:
    from ir.differentiate import gradient

Graph.printer = print_graph

__all__ = ["CSE", "DCE", "DTYPES", "FLOATS", "OPS", "Builder", "Context", "Dim", "DimExpr", "Error",
           "FoldConstants", "Graph", "NDArray", "Node", "Operand", "ParseError", "Pass",
           "Reading", "Reason", "Requirement", "TensorType", "Value", "VerifyError", "Where",
           "gradient", "interpret", "parse", "parse_type", "product", "rewrite", "run", "same",
           "type_of", "verify"]


def __getattr__(name: str) -> Any:
    if name != "gradient":                       # which only training asks for
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ir import differentiate

    value = globals()[name] = differentiate.gradient
    return value
