"""Views in networkx, against definitions spelled out."""
from collections.abc import Callable

import networkx as nx
import pytest
from hypothesis import given, settings

import ir
from ir import Node, Value, parse
from ir.analysis import convex_groups, dataflow, dominators, to_dot, users
from tests.strategies import graphs

DIAMOND = parse("""graph g(%x: f32[B], %y: f32[B]) -> f32[B] {
  @w: f32[1]
  %0: f32[B] = exp(%x)
  %1: f32[B] = tanh(%0)
  %2: f32[B] = neg(%0)
  %3: f32[B] = add(%1, %2) then mul(%0)
  %4: f32[B] = add(%3, @w)
  %5: f32[B] = mul(%4, 2.0)
  return %5
}""")
X, Y = DIAMOND.inputs
W, = DIAMOND.params
R = [node.result for node in DIAMOND.nodes]


def test_dataflow() -> None:
    flow = dataflow(DIAMOND)
    assert [*flow] == [X, Y, W, *R]
    assert [*flow.successors(R[0])] == [R[1], R[2], R[3]] and flow.degree(Y) == 0
    assert flow.nodes[R[3]]["node"] is DIAMOND.nodes[3] and flow.nodes[X]["node"] is None
    assert {*flow.predecessors(R[4])} == {R[3], W}


def test_users() -> None:
    assert users(DIAMOND, R[0]) == list(DIAMOND.nodes[1:4])
    assert users(DIAMOND, Y) == [] and users(DIAMOND, W) == [DIAMOND.nodes[4]]


def test_dominators() -> None:
    assert dominators(DIAMOND) == {R[0]: X, R[1]: R[0], R[2]: R[0], R[3]: R[0], R[4]: None,
                                   R[5]: R[4]}


@settings(max_examples=40, deadline=None)
@given(graphs(max_steps=8))
def test_dominators_are_on_every_way(graph: ir.Graph) -> None:
    flow = dataflow(graph)
    sources = [v for v in flow if flow.in_degree(v) == 0]
    for value, nearest in dominators(graph).items():
        without = {v: flow.subgraph([u for u in flow if u is not v])
                   for v in nx.ancestors(flow, value)}
        on_every_way = {v for v, rest in without.items()
                        if not any(s in rest and nx.has_path(rest, s, value) for s in sources)}
        assert (nearest is None) == (not on_every_way)
        assert nearest is None or nearest in on_every_way
        if nearest is not None:                  # the nearest: all the others are before it
            assert on_every_way - {nearest} <= nx.ancestors(flow, nearest)


def test_an_empty_graph() -> None:
    empty = parse("graph g() {\nreturn\n}")
    assert dominators(empty) == {} and convex_groups(empty, elementwise) == []
    assert to_dot(empty).startswith('digraph "g" {')


def names(groups: list[list[Node]]) -> list[list[str]]:
    return [[node.op for node in group] for group in groups]


def elementwise(node: Node) -> bool:
    return ir.OPS[node.op].elementwise


def test_convex_groups_of_a_diamond() -> None:
    assert names(convex_groups(DIAMOND, elementwise)) == [["exp", "tanh", "neg", "add", "add",
                                                           "mul"]]
    assert names(convex_groups(DIAMOND, lambda n: n.op != "neg")) == [
        ["exp", "tanh"], ["add", "add", "mul"]]
    assert names(convex_groups(DIAMOND, lambda n: n.op == "mul")) == [["mul"]]
    assert convex_groups(DIAMOND, lambda n: False) == []


def test_two_groups_do_not_wait_for_each_other() -> None:
    """Each is convex by itself, but neither could be computed at once before the other."""
    graph = parse("""graph g(%x: f32[B, B]) -> f32[B, B] {
        %0: f32[B, B] = exp(%x)
        %1: f32[B, B] = tanh(%x)
        %2: f32[B, B] = matmul(%0, %0)
        %3: f32[B, B] = matmul(%1, %1)
        %4: f32[B, B] = add(%2, %1)
        %5: f32[B, B] = add(%3, %0)
        %6: f32[B, B] = matmul(%4, %5)
        return %6
    }""")
    check_groups(graph, elementwise)
    assert names(convex_groups(graph, elementwise)) == [["exp"], ["tanh", "add"], ["add"]]


def check_groups(graph: ir.Graph, belongs: Callable[[Node], bool]) -> None:
    groups = convex_groups(graph, belongs)
    grouped = [node for group in groups for node in group]
    assert len(grouped) == len(set(grouped)) and set(grouped) == set(filter(belongs, graph.nodes))
    order = {node: i for i, node in enumerate(graph.nodes)}
    assert all(group == sorted(group, key=order.__getitem__) for group in groups)
    flow = dataflow(graph)
    for group in groups:
        assert nx.is_weakly_connected(flow.subgraph([n.result for n in group]))
    of_value = {n.result: i for i, group in enumerate(groups) for n in group}
    quotient = nx.DiGraph((of_value.get(a, a), of_value.get(b, b)) for a, b in flow.edges)
    quotient.remove_edges_from(list(nx.selfloop_edges(quotient)))
    assert nx.is_directed_acyclic_graph(quotient)
    for a, b in list(quotient.edges):            # no two could have been one
        if isinstance(a, int) and isinstance(b, int):
            rest = quotient.copy()
            rest.remove_edge(a, b)
            assert nx.has_path(rest, a, b)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_groups_can_be_computed_at_once(graph: ir.Graph) -> None:
    check_groups(graph, elementwise)
    check_groups(graph, lambda node: node.op != "add")


def test_dot() -> None:
    graph = parse('''graph "a \\"graph\\""(%x: f32[B]) -> f32[1] {
        @"w\\n\\\\N\\"]": f32[1]
        %0: f32[B] = add(%x, @"w\\n\\\\N\\"]")
        return @"w\\n\\\\N\\"]"
    }''')
    assert to_dot(graph) == r'''digraph "a \"graph\"" {
  node [shape=box, fontname=monospace]
  v0 [label="%x: f32[B]"]
  v1 [label="@\"w\\n\\\\N\\\"]\": f32[1]", style=bold]
  v2 [label="%0: f32[B]\nadd(%x, @\"w\\n\\\\N\\\"]\")"]
  v0 -> v2
  v1 -> v2
}
'''


@pytest.mark.parametrize("name", ['"', "\\", "\\\\\"", "a\nb", "{|}<>", "\u2028", "ü"])
def test_dot_quotes_any_name(name: str) -> None:
    builder = ir.Builder()
    x = builder.declare("input", name, ir.parse_type("f32[B]"))
    text = to_dot(builder.build(name, [builder.add("exp", x)]))
    inside = False                               # every quote is closed on its line
    for line in text.split("\n"):
        escaped = False
        for character in line:
            if character == '"' and not escaped:
                inside = not inside
            escaped = character == "\\" and not escaped
        assert not inside


def test_values_are_nodes_of_the_view() -> None:
    assert all(isinstance(v, Value) for v in dataflow(DIAMOND))
