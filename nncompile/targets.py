"""The targets a model can be compiled for: names, and the modules whose `Engine` runs programs.

A module is imported only when a model is compiled for its target.
"""
from __future__ import annotations

TARGETS = {"cpu": "nncompile.cpu.backend",
           "cuda": "nncompile.cuda.engine"}
