"""The benchmark: a compiled model beside plain NumPy, torch and ONNX Runtime; on a device beside
torch, torch.compile, CuPy and jax.

`nncompile bench` on the command line; `bench(...)`, `bench_device(...)` here.
"""
from nncompile.bench.device import DEVICE_PEERS, bench_device
from nncompile.bench.measure import Clock, bench
from nncompile.bench.peers import PEERS
from nncompile.bench.report import Report, Result, Row

__all__ = ["DEVICE_PEERS", "PEERS", "Clock", "Report", "Result", "Row", "bench", "bench_device"]
