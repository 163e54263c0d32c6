"""The compiler's middle, in the order it runs: clean, recognise, clean, fuse."""
from ir import CSE, DCE, FoldConstants, Pass
from nncompile.passes.fuse_elementwise import FuseElementwise
from nncompile.passes.fuse_linear import FuseLinear
from nncompile.passes.fuse_softmax import FuseSoftmax
from nncompile.passes.parameters import load_time_values
from nncompile.passes.remove_identity import RemoveIdentity
from nncompile.passes.use_linear import UseLinear

DEFAULT_PIPELINE: tuple[Pass, ...] = (
    DCE(),               # first: a dead user would keep its operand from fusing
    RemoveIdentity(),    # before the patterns: an identity hides its two neighbours from each other
    CSE(),               # before the patterns: a thing written twice has all its users on one node
    UseLinear(),         # before FuseLinear: a matmul packs no weights and takes no bias
    FuseSoftmax(),       # before the chains: they would take the scale, and parts of the softmax
    FoldConstants(),     # after UseLinear: it turns weights, and some are constants
    CSE(),               # again: what was written in two ways, the last three have made equal
    FuseLinear(),        # before the other chains: a step costs least in a product's registers
    FuseElementwise(),   # last: what is left
)

__all__ = [
    "DEFAULT_PIPELINE", "FuseElementwise", "FuseLinear", "FuseSoftmax", "RemoveIdentity",
    "UseLinear", "load_time_values",
]
