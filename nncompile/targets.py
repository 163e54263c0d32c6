"""The targets a model can be compiled for: names, and the modules whose `BACKEND` runs programs.

A module is imported only when its target is asked for: `compiler.backend_of`.
"""
from __future__ import annotations

TARGETS = {"cpu": "nncompile.cpu.backend",
           "cuda": "nncompile.cuda.backend"}
