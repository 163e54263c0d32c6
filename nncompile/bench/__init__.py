"""The benchmark: a compiled model beside plain NumPy, torch, ONNX Runtime, and compilers.

On a device the peers are torch, torch.compile, CuPy and jax. `nncompile bench` on the command line
and `bench(...)`, `bench_device(...)` here do the same.
"""
from nncompile.bench.clock import Clock
from nncompile.bench.contender import DEFAULT_PEERS, PEERS, lacking
from nncompile.bench.device import DEVICE_PEERS, bench_device
from nncompile.bench.expected import Tolerance
from nncompile.bench.measure import bench, side_by_side
from nncompile.bench.report import Report, Result, Row
from nncompile.bench.scenarios import SCENARIOS, Scenario
from nncompile.bench.table import text

Report.printer = text

__all__ = ["DEFAULT_PEERS", "DEVICE_PEERS", "PEERS", "SCENARIOS", "Clock", "Report", "Result",
           "Row", "Scenario", "Tolerance", "bench", "bench_device", "lacking", "side_by_side"]
