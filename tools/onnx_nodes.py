"""Writes docs/onnx.md: the operators of ONNX that are imported, and ONNX's own tests of them.

    python tools/onnx_nodes.py

Every test in scope is compiled, which takes a minute or two.
"""
from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nncompile import onnx_backend  # noqa: E402
from nncompile.importers.onnx.operators import OPERATORS  # noqa: E402
from tests.importers.node_cases import Case, as_array, cases, check  # noqa: E402

TARGET = ROOT / "docs" / "onnx.md"
HEAD = """\
# ONNX operators

<!-- Written by tools/onnx_nodes.py. -->

[Importing a model](import.md) says how an ONNX model is compiled. Here is what is understood of
each operator: the opsets in which it got a meaning that is known, its attributes, and the inputs
whose numbers have to be known when the model is imported, because shapes depend on them. A node
with an attribute, an input, an output or a version that is not listed is refused.

"""
TESTS = """
## ONNX's own tests

These are the backend tests of the package onnx {version} for the operators in scope whose inputs
and outputs have element types that nncompile has: {passed} of {count} pass, each compiled for the
{level} level and compared with the tolerance that ONNX gives. *Units* is the largest distance from
the expected result, in units of the last place of its float type; 0 for integers and bools.

| operator | test | units |
|---|---|---|
"""


def operators() -> str:
    """The table of operators, one part a domain."""
    rows = defaultdict(list)
    for (domain, name), row in sorted(OPERATORS.items()):
        versions = ", ".join(map(str, row.versions))
        attributes = " ".join(sorted(row.known_attributes))
        static = ", ".join(row.static.split())
        rows[domain].append(f"| {name} | {versions} | {attributes} | {static} |")
    parts = []
    for domain, lines in rows.items():
        parts.append(f"## {domain or 'ai.onnx'}\n\n| operator | opsets | attributes | "
                     "inputs known before |\n|---|---|---|---|\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def distance(case: Case) -> float:
    """Runs a test, compiled, and returns the largest distance. Raises where it fails."""
    prepared, worst = onnx_backend.prepare(case.model), 0.0
    for inputs, outputs in case.data:
        results = prepared.run(inputs)
        assert len(results) == len(outputs)
        for expected, result in zip(outputs, results, strict=True):
            worst = max(worst, check(as_array(expected), result, case))
    return worst


def results() -> tuple[list[str], int]:
    """The rows of the tests, and how many pass."""
    rows, passed = [], 0
    for case in sorted(cases(), key=lambda case: (case.operator, case.name)):
        try:
            units = f"{distance(case):.3g}"
            passed += 1
        except Exception as error:
            units = f"fails: {' '.join(str(error).split())[:100]}"
            print(f"{case.name}: {units}", file=sys.stderr)
        rows.append(f"| {case.operator} | {case.name.removeprefix('test_')} | {units} |")
    return rows, passed


def main() -> int:
    import onnx

    from nncompile.cpu.vector.target import host
    rows, passed = results()
    text = TESTS.format(version=onnx.__version__, passed=passed, count=len(rows),
                        level=host().level)
    TARGET.write_text(HEAD + operators() + text + "\n".join(rows) + "\n")
    print(f"{TARGET.relative_to(ROOT)}: {passed} of {len(rows)} tests pass")
    return 0 if passed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
