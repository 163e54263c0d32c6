"""ONNX's own tests of its operators, through nncompile.onnx_backend."""
from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="onnx, whose tests these are, is not installed")

import ir
from nncompile import onnx_backend, options
from nncompile.errors import ModelImportError
from nncompile.importers.onnx import import_onnx
from tests.importers.node_cases import (
    COUNT,
    FAMILIES,
    as_array,
    cases,
    check,
    compiled_in_the_suite,
)

COMPILED = compiled_in_the_suite()


def test_all_tests_in_scope_are_met() -> None:
    import onnx
    if onnx.__version__ != "1.23.2":
        pytest.skip("another onnx has other tests")
    assert len(cases()) == COUNT
    assert {case.operator for case in cases()} == set(FAMILIES)
    assert {case.operator for case in cases() if case.name in COMPILED} == set(FAMILIES)


@pytest.mark.parametrize("case", [c for c in cases() if c.name in COMPILED], ids=lambda c: c.name)
def test_compiled(case) -> None:
    prepared = onnx_backend.prepare(case.model)
    for inputs, outputs in case.data:
        results = prepared.run(inputs)
        assert len(results) == len(outputs)
        for expected, result in zip(outputs, results, strict=True):
            check(as_array(expected), result, case)


@pytest.mark.parametrize("case", [c for c in cases() if c.name not in COMPILED],
                         ids=lambda c: c.name)
def test_interpreted(case) -> None:
    names = [info.name for info in case.model.graph.input]
    for inputs, outputs in case.data:
        arrays = dict(zip(names, map(as_array, inputs), strict=True))
        known: dict[str, object] = {}
        while True:
            try:
                graph = import_onnx(case.model, constants=known).graph
                break
            except ModelImportError as error:
                more = {name: arrays[name] for name in error.inputs if name not in known}
                if not more:
                    raise
                known |= more
        results = ir.interpret(graph, [arrays[v.name] for v in graph.inputs])
        for expected, result in zip(outputs, results, strict=True):
            check(as_array(expected), result, case)


def test_the_page_has_every_operator_and_every_test() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    spec = importlib.util.spec_from_file_location("onnx_nodes", root / "tools" / "onnx_nodes.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = (root / "docs" / "onnx.md").read_text()
    assert tool.operators() in page, "python tools/onnx_nodes.py writes it anew"
    rows = re.findall(r"^\| \w+ \| (\w+) \| ([\d.e+-]+|inf) \|$", page, re.MULTILINE)
    assert {f"test_{name}" for name, _ in rows} == {case.name for case in cases()}


def test_without_a_compiler_the_results_are_the_same() -> None:
    with options.override(jit=False):
        for case in cases():
            if case.is_sampled(60):
                for inputs, outputs in case.data:
                    for expected, result in zip(
                            outputs, onnx_backend.prepare(case.model).run(inputs), strict=True):
                        check(as_array(expected), result, case)
