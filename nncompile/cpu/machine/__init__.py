"""The machine: its caches and cores, and its limits."""
from nncompile.cpu.machine.topology import L2, L3, MEMORY, cache_bytes, cache_of, cores, l2_bytes

__all__ = ["L2", "L3", "MEMORY", "cache_bytes", "cache_of", "cores", "l2_bytes"]
