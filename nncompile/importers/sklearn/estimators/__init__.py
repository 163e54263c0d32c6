"""The table of scikit-learn's estimators, by their public names: what each method computes."""
from __future__ import annotations

from collections.abc import Mapping

from nncompile.importers.sklearn.estimators import (
    combined,
    composed,
    distances,
    encodings,
    kernels,
    linear,
    preparation,
    trees,
)
from nncompile.importers.sklearn.fitted import Row

ESTIMATORS: Mapping[str, Row] = {
    **composed.ROWS, **preparation.ROWS, **encodings.ROWS, **linear.ROWS, **trees.ROWS,
    **distances.ROWS, **kernels.ROWS, **combined.ROWS}
