"""Deep graphs that were walked must still be freed without running out of stack.

Plain torch frees a chain of nodes in a loop. A node that python has seen owns a wrapper, and
in torch 2.13 the wrapper owns the node: freeing the first then frees the next within it,
five C frames each, and at some 50,000 nodes the process dies of a stack overflow. Reading the
graph makes a wrapper for each of its nodes. So along every way one node in a thousand is held
here, which stops the chain, and is let go once nothing else holds it.
"""

from __future__ import annotations

import sys
from typing import Any

LEAST_NODES = 2000
_SPAN = 1000  # sequence numbers between two anchors; a way meets each number once
_OURS = 2  # references to a node that nobody else holds: the variable's and the call's

_held: list[Any] = []


def hold(nodes: list[Any], edges: list[list[tuple[int, int]]], leaves: dict[int, int]) -> None:
    """Hold the nodes by which a way enters the next span of sequence numbers."""
    if len(nodes) < LEAST_NODES:
        return
    span = [-1 if at in leaves else node._sequence_nr() // _SPAN for at, node in enumerate(nodes)]
    entered = {
        child
        for at, inputs in enumerate(edges)
        for child, _ in inputs
        if child >= 0 and span[child] >= 0 and span[child] != span[at]
    }
    _live_on()
    known = {id(node) for node in _held}
    _held.extend(
        nodes[at] for at in sorted(entered, key=span.__getitem__) if id(nodes[at]) not in known
    )


def let_go() -> None:
    """Free what only we still hold, from the losses down: each frees the way to the next."""
    if not _held:
        return
    kept = []
    while _held:
        node = _held.pop()
        if sys.getrefcount(node) > _OURS:
            kept.append(node)
    kept.reverse()
    _held.extend(kept)


def _live_on() -> None:
    """The list survives the interpreter's end, which would free it from its wrong end."""
    if not _held:
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_held))
