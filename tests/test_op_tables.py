"""Every op has all its aspects: this walks the tables and names what is missing, and where.

An op that was just added to ir.OPS fails here with the list of what is still to be done.
"""
from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ir.ops import OPS, with_trait
from ir.ops.gradients import GRADIENTS, NO_GRADIENT
from nncompile.counterparts import COUNTERPARTS, Missing
from nncompile.cpu.driver.steps import STEPS as CPU_STEPS
from nncompile.cpu.kernels import LANE_OPS
from nncompile.cpu.vector import math
from nncompile.cuda.kernels import FUNCTIONS
from nncompile.cuda.steps import STEPS as CUDA_STEPS
from nncompile.schedule.ops import KINDS, SCHEDULES
from tests.exact import EXACT
from tests.strategies import JUMPS, JUMPS_OF_TWO
from tests.test_bench import CASES

ROOT = Path(__file__).resolve().parent.parent
ELEMENTWISE = with_trait("elementwise")
SIMPLE = OPS.keys() - with_trait("composite")     # a composite op is carried out as its parts
OF_FLOATS = ELEMENTWISE - {"logical_and", "logical_or", "logical_xor", "logical_not", "where",
                           "cast", "bitwise_and", "bitwise_or", "bitwise_xor", "left_shift",
                           "right_shift"}         # those are exact, and have tests of their own


RANDOM = OPS.keys() - {"tree_walk"}               # whose tables are right by their numbers alone


def quoted(*folders: str) -> set[str]:
    """The words that stand in quotes in the Python files here."""
    files = [file for folder in folders for file in (ROOT / folder).parent.rglob(
        Path(folder).name if folder.endswith(".py") else f"{Path(folder).name}/**/*.py")]
    return {word for file in files for word in re.findall(r'"(\w+)"', file.read_text())}


def listed_in_the_readme() -> set[str]:
    text = (ROOT / "ir/README.md").read_text()
    section = text.partition("## The ops")[2].partition("\n## ")[0]
    return set(re.findall(r"\w+", section))


# table: the ops that it is about, and those that it has
TABLES: dict[str, tuple[Collection[str], Collection[str]]] = {
    "ir/README.md, The ops": (OPS, listed_in_the_readme()),
    "ir/ops/gradients.py": (OPS, GRADIENTS.keys() | NO_GRADIENT),
    "nncompile/nn, array, trace.py, importers, training: what records it": (
        OPS, quoted("nncompile/nn", "nncompile/array", "nncompile/functions.py",
                    "nncompile/trace.py", "nncompile/importers", "nncompile/training")),
    "schedule/ops.py SCHEDULES": (SIMPLE, SCHEDULES),
    "cpu/vector/math SHORT or LONG": (ELEMENTWISE, math.SHORT | math.LONG),
    "cuda/kernels/chain.py FUNCTIONS": (ELEMENTWISE, FUNCTIONS),
    "counterparts.py": (SIMPLE, COUNTERPARTS),
    "tests/exact.py EXACT": (OF_FLOATS, EXACT),
    "tests/strategies.py": (RANDOM, quoted("tests/strategies.py") | {*JUMPS, *JUMPS_OF_TWO}),
    "tests/test_bench.py CASES": (RANDOM, {op for op, _, _ in CASES}),
    "tests/cuda/device_*.py": (OPS.keys() - ELEMENTWISE, quoted("tests/cuda/device_*.py")),
}


def test_every_op_is_in_every_table() -> None:
    missing = {op: [table for table, (ops, has) in TABLES.items() if op in ops and op not in has]
               for op in OPS}
    assert {op: tables for op, tables in missing.items() if tables} == {}


def test_no_table_has_more() -> None:
    assert SCHEDULES.keys() == SIMPLE == COUNTERPARTS.keys()
    assert math.SHORT.keys().isdisjoint(math.LONG)
    assert math.SHORT.keys() | math.LONG.keys() == LANE_OPS.keys() - {"copy"} == ELEMENTWISE
    assert FUNCTIONS.keys() - {"copy"} == ELEMENTWISE


def test_each_target_runs_every_kind_of_step() -> None:
    assert CPU_STEPS.keys() == KINDS.keys()
    of_training = {"group", "row_group"}                         # which the CUDA target refuses
    assert CUDA_STEPS.keys() == KINDS.keys() - of_training
    assert KINDS.keys() - {"elementwise", "reduce"} - of_training <= OPS.keys() - ELEMENTWISE


def test_what_is_missing_elsewhere_has_a_reason() -> None:
    gaps = {(op, language): entry.why for op, row in COUNTERPARTS.items()
            for language in ("numpy", "torch", "jax", "onnx")
            if isinstance(entry := getattr(row, language), Missing)}
    assert all(len(why.split()) > 2 for why in gaps.values()), gaps
