from __future__ import annotations

from typing import NamedTuple

from ir import Context, Graph, Node, Value, rewrite, same
from ir.records import dataclass
from nncompile.passes.support.building import NewNodes
from nncompile.passes.support.matching import both_ways


class _CrossEntropy(NamedTuple):
    """A cross entropy and its gradient, which is `gradient`, with respect to `scores`."""

    scores: Value                # [B, C], the result of a linear that nothing else reads
    logs: Value                  # their log_softmax
    ids: Value                   # i64[B, 1], the classes
    share: Value                 # [B, 1], the gradient of the logarithm of the class of a row


@dataclass(frozen=True)
class TransposeHead:
    """Compute a cross entropy of few classes, and its gradient, with a row for each class.

        %0 = linear(%h, &w, &b)                          # [B, 6]
        %1 = log_softmax(%0) {axis = 1}
        %2 = take_along(%1, %ids) {axis = 1}
        ...
        %5 = scatter_add(%ids, %4) {axis = 1, size = 6}
        %6 = sum(%5) {axes = [1], keepdims = true}
        %7 = sub(%5, mul(exp(%1), %6))
    -->
        %0 = matmul(&w, transpose(%h)) then add(&b)      # [6, B]
        %1 = log_softmax(%0) {axis = 0}
        %2 = take_along(transpose(%1), %ids) {axis = 1}
        ...
        %5 = where(eq(iota, %ids), %4, 0.0)
        %7 = transpose(sub(%5, mul(exp(%1), %4)))

    A row of six elements fills a third of a vector, and each sum over it takes as long as one over
    a whole vector. So the batch is put along the vectors, and the gradient of the weight reads what
    it needs without a transpose. The indices that a scatter_add would check are checked by the
    take_along of the same ones.

    Bounded: a score is the rounded product plus the bias, a softmax over a column rounds its sum in
    another order, and the gradient is not the sum of one number and zeros but the number.
    """

    classes: int = 32                            # at most so many: two vectors of float32
    name = "transpose_head"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        losses = _losses(graph, self.classes)
        if not losses:
            return graph
        logs = {loss.logs for loss in losses.values()}

        def rule(node: Node, context: Context) -> list[Node] | None:
            if node.result in logs and node.op == "log_softmax":
                return _logs(node, context)
            return _gradient(node, losses[node.result]) if node.result in losses else None

        return rewrite(graph, rule, ("log_softmax", "sub"), once=True)


def _losses(graph: Graph, most: int) -> dict[Value, _CrossEntropy]:
    """The losses of the graph, by the values that are their gradients."""
    makers = {node.result: node for node in graph.nodes}
    taken = {node.inputs for node in graph.nodes if node.op == "take_along"}
    found = {}
    for node in graph.nodes:
        loss = _loss_of(node, makers)
        if loss is None or (loss.logs, loss.ids) not in taken:
            continue
        head, classes = makers.get(loss.scores), loss.scores.type.shape[-1]
        if (head is not None and head.op == "linear" and graph.uses[loss.scores] == 1
                and len(loss.scores.type.shape) == 2 and isinstance(classes, int)
                and classes <= most):
            found[node.result] = loss
    return found


def _loss_of(node: Node, makers: dict[Value, Node]) -> _CrossEntropy | None:
    """The loss of which the node is the gradient."""
    def made(operand: object, op: str) -> Node | None:
        maker = makers.get(operand) if isinstance(operand, Value) else None
        return maker if maker and maker.op == op and "then" not in maker.attrs else None

    if node.op != "sub" or not (one_hot := made(node.inputs[0], "scatter_add")):
        return None
    if not (product := made(node.inputs[1], "mul")):
        return None
    for exponential, whole in both_ways(product.inputs):
        power, total = made(exponential, "exp"), made(whole, "sum")
        if power is None or total is None or total.inputs[0] is not one_hot.result:
            continue
        logs = made(power.inputs[0], "log_softmax")
        ids, share = one_hot.inputs
        if (logs and logs.attrs["axis"] == 1 and one_hot.attrs["axis"] == 1
                and total.attrs["axes"] == (1,) and isinstance(ids, Value)
                and isinstance(share, Value) and same(share.type.shape[1], 1)
                and same(share.type.shape[0], node.result.type.shape[0])):
            return _CrossEntropy(logs.inputs[0], logs.result, ids, share)        # type: ignore[arg-type]
    return None


def _logs(node: Node, context: Context) -> list[Node] | None:
    """The logarithms of the softmax, of which each class is a row."""
    head = context.producer(node.inputs[0])
    if head is None:
        return None
    new = NewNodes(node.where)
    x, weight, *bias = head.inputs
    scores = new.add("matmul", weight, new.add("transpose", x, axes=(1, 0)))
    if bias:
        size = bias[0].type.shape[0]                                     # type: ignore[union-attr]
        scores = new.add("add", scores, new.add("reshape", bias[0], shape=(size, 1)))
    logs = new.add("log_softmax", scores, axis=0)
    return [*new, Node(node.result, "transpose", (logs,), {"axes": (1, 0)}, node.where)]


def _gradient(node: Node, loss: _CrossEntropy) -> list[Node]:
    """The gradient with respect to the scores, computed with a row for each class."""
    new = NewNodes(node.where)
    rows, classes = loss.logs.type.shape
    ids = new.add("cast", new.add("reshape", loss.ids, shape=(1, rows)), dtype="i32")
    share = new.add("reshape", loss.share, shape=(1, rows))
    number = new.add("iota", shape=(classes, 1), axis=0, dtype="i32")
    one_hot = new.add("where", new.add("eq", ids, number), share, 0.0)
    power = new.add("exp", new.add("transpose", loss.logs, axes=(1, 0)))
    made = new.add("sub", one_hot, new.add("mul", power, share))
    return [*new, Node(node.result, "transpose", (made,), {"axes": (1, 0)}, node.where)]
