"""What every importer returns."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ir
from ir import NDArray
from ir.records import dataclass, field
from nncompile.structure import Nesting


@dataclass(frozen=True)
class Imported:
    """A graph with its data, and what it does not say of the model.

    nesting: how calls nest arrays, or None if they do not. names: each name of a state dict -> the
    name of the graph's parameter that it is, "" where the model does not use it. notes: where the
    result differs from the model's own, in words. outputs: the names of the outputs, or none where
    the nesting says it. check: compares a compiled model with the
    format's own reference, and raises CompileError where they differ.
    """

    graph: ir.Graph
    check: Callable[[Callable[..., Any]], None]
    nesting: Nesting | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    outputs: Sequence[str] = ()


@dataclass(frozen=True)
class EstimatorFacts:
    """What a caller of an estimator's methods sees of it.

    dtype: f64 or f32, of X and of results. features, columns: how many columns X has, and the names
    it was fitted with, or None. classes: its classes_, or None. labels: for each method the classes
    whose positions its graph computes, or None where that is the result itself.
    """

    title: str
    dtype: str
    features: int
    columns: tuple[str, ...] | None
    classes: NDArray | None
    labels: Mapping[str, NDArray | None]


@dataclass(frozen=True)
class ImportedEstimator:
    """The methods of an estimator as graphs, of X to the result and to whether X was legal.

    check: compares a compiled estimator with the estimator itself, and raises CompileError where
    they differ. peers: what the benchmark times beside the graph, by name.
    """

    facts: EstimatorFacts
    graphs: Mapping[str, ir.Graph]
    check: Callable[[Any], None]
    peers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The name of the method that says most: probabilities rather than labels."""
        order = ("predict_proba", "decision_function", "predict", "transform", "score_samples")
        return next(name for name in (*order, *self.graphs) if name in self.graphs)

    @property
    def graph(self) -> ir.Graph:
        """The graph of that method."""
        return self.graphs[self.method]
