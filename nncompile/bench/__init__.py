"""The benchmark: a compiled model beside plain NumPy, torch, ONNX Runtime, and others that compile;
on a device beside torch, torch.compile, CuPy and jax.

`nncompile bench` on the command line; `bench(...)`, `bench_device(...)` here.
"""
from nncompile.bench.contender import DEFAULT_PEERS, PEERS
from nncompile.bench.device import DEVICE_PEERS, bench_device
from nncompile.bench.measure import Clock, bench, side_by_side
from nncompile.bench.report import Report, Result, Row

__all__ = ["DEFAULT_PEERS", "DEVICE_PEERS", "PEERS", "Clock", "Report", "Result", "Row", "bench",
           "bench_device", "side_by_side"]
