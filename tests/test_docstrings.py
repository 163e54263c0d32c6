"""Every public name has a docstring. Ruff's D rules hold their form, and ask for those of modules,
classes and functions; of methods it cannot say which ones override a documented one.
"""
from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import nncompile
from nncompile import nn

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(p for package in ("ir", "nncompile") for p in (ROOT / package).rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
CLASSES = {node.name: node for tree in TREES.values() for node in ast.walk(tree)
           if isinstance(node, ast.ClassDef)}


def documented_above(base: ast.expr, method: str) -> bool:
    """Whether a class of this package, or one that it is made of, documents the method."""
    name = ast.unparse(base).partition("[")[0].rpartition(".")[2]
    above = CLASSES.get(name)
    return above is not None and (
        any(isinstance(n, ast.FunctionDef) and n.name == method and ast.get_docstring(n)
            for n in above.body)
        or any(documented_above(b, method) for b in above.bases))


def undocumented(owner: ast.ClassDef) -> Iterator[str]:
    for node in owner.body:
        if (isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
                and ast.get_docstring(node) is None
                and not any(word in ast.unparse(d) for d in node.decorator_list
                            for word in ("setter", "deleter", "overload"))
                and not any(documented_above(base, node.name) for base in owner.bases)):
            yield f"{owner.name}.{node.name}"


@pytest.mark.parametrize("path", TREES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_method_has_a_docstring_or_overrides_one_that_has(path: Path) -> None:
    owners = [n for n in TREES[path].body
              if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    assert [name for owner in owners for name in undocumented(owner)] == []


@pytest.mark.parametrize("path", TREES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_raises_is_said_in_a_sentence(path: Path) -> None:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    assert not [node for node in ast.walk(TREES[path]) if isinstance(node, kinds)
                and "Errors:" in (ast.get_docstring(node) or "")]


@pytest.mark.parametrize("space", [nncompile, nn, nn.functional, nn.init, nncompile.Array],
                         ids=lambda space: space.__name__)
def test_every_name_that_a_user_can_call_explains_itself(space: object) -> None:
    """Those too that a factory makes, which have no text of their own."""
    ours = {name: value for name in dir(space) if not name.startswith("_")
            and callable(value := getattr(space, name))
            and str(getattr(value, "__module__", "")).startswith("nncompile")}
    assert len(ours) > 20
    assert [name for name, value in ours.items() if not inspect.getdoc(value)] == []
