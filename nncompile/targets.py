"""The targets that a model can be compiled for: names, and modules whose `BACKEND` runs programs.

A module is imported only when its target is asked for, see `compiler.backend_of`.
"""
from __future__ import annotations

TARGETS = {"cpu": "nncompile.cpu.backend", "cuda": "nncompile.cuda.backend"}
