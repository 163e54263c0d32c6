"""Views that change nothing."""
from __future__ import annotations

from ir import Node, Value

NO_MOVES = ("identity", "detach", "dropout", "concat", "reshape", "expand", "pad", "cast", "slice",
            "transpose")
"""The ops of the nodes that `viewed_alike` may find to move nothing."""


def viewed_alike(node: Node) -> Value | None:
    """Returns x where the node moves no element of x and its result has the type of x."""
    match node:
        case Node(op="identity" | "detach" | "dropout" | "concat" | "reshape" | "expand" | "pad"
                  | "cast", inputs=(Value() as x,)):
            return x                             # with the type of x they can do nothing else
        case Node(op="slice", inputs=(Value() as x,), attrs={"step": step}) if step > 0:
            return x                             # a part as long as the whole is the whole
        case Node(op="transpose", inputs=(Value() as x,), attrs={"axes": axes}) \
                if tuple(axes) == tuple(range(x.type.ndim)):
            return x
    return None
