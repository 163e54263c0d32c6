"""The benchmark: a compiled model beside plain NumPy, torch and ONNX Runtime.

`nncompile bench` on the command line; `bench(...)` here.
"""
from nncompile.bench.measure import Clock, bench
from nncompile.bench.peers import PEERS
from nncompile.bench.report import Report, Result, Row

__all__ = ["PEERS", "Clock", "Report", "Result", "Row", "bench"]
