"""The machine: its caches and CPUs, and its limits."""
from nncompile.cpu.machine.caches import L2, L3, MEMORY, cache_bytes, cache_of, l2_bytes
from nncompile.cpu.machine.cpus import cores, granted_cpus, usable_cpus

__all__ = ["L2", "L3", "MEMORY", "cache_bytes", "cache_of", "cores", "granted_cpus", "l2_bytes",
           "usable_cpus"]
