"""The graph language of nncompile: standard library, NumPy and networkx only; usable by itself."""
from ir.builder import Builder
from ir.graph import Graph, Node, Value, Where
from ir.interpret import interpret
from ir.ops import OPS
from ir.parser import ParseError, parse, parse_type
from ir.passes import CSE, DCE, FoldConstants, Pass, run
from ir.printer import print_graph
from ir.rewrite import rewrite
from ir.types import DimExpr, Error, TensorType, type_of
from ir.verify import VerifyError, verify

Graph.printer = print_graph

__all__ = [
    "CSE", "DCE", "OPS", "Builder", "DimExpr", "Error", "FoldConstants", "Graph", "Node",
    "ParseError", "Pass", "TensorType", "Value", "VerifyError", "Where", "interpret", "parse",
    "parse_type", "rewrite", "run", "type_of", "verify",
]
