"""The benchmark: a compiled model beside plain NumPy, torch, ONNX Runtime, and others that compile.

`nncompile bench` on the command line; `bench(...)` here.
"""
from nncompile.bench.contender import DEFAULT_PEERS, PEERS
from nncompile.bench.measure import Clock, bench
from nncompile.bench.report import Report, Result, Row

__all__ = ["DEFAULT_PEERS", "PEERS", "Clock", "Report", "Result", "Row", "bench"]
