"""Which nodes a library made of one call in the user's code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradpm.trace.model import Trace
from gradpm.trace.schema import Table
from gradpm.tui.graph import Array, Graph, column, user_frames

_LEAST = 4  # `linear` makes three


def calls_made(graph: Graph, trace: Trace) -> Iterator[tuple[Array, str]]:
    """(nodes, the function's name) for each call that made several nodes, and is not alone.

    A call is an op, or a library's function that called several ops. Within a library's
    module there is nothing to tell apart: all of it is one call of the user's already.
    """
    known = np.flatnonzero((graph.op >= 0) & (graph.seq >= 0))
    if not len(known):
        return
    frames = column(trace, Table.OP, "frame")[graph.op[known]]
    entry = _entries(trace, frames)
    sites = user_frames(trace)[column(trace, Table.SCOPE, "frame")]
    scope = graph.scope[known]
    site = sites[scope] if len(sites) else np.zeros(len(scope), np.int32)
    entry[site == graph.frame[known]] = 0
    key = np.where(entry > 0, 2 * entry.astype(np.int64) + 1, 2 * graph.op[known].astype(np.int64))
    key = key * (int(scope.max()) + 1) + scope
    order = np.argsort(key, kind="stable")
    keys, first, sizes = np.unique(key[order], return_index=True, return_counts=True)
    shares = np.bincount(keys % (int(scope.max()) + 1))
    functions = trace.table(Table.OP)["name"]
    for at in np.flatnonzero((sizes >= _LEAST) & (shares[keys % len(shares)] > 1)).tolist():
        mine = order[first[at] : first[at] + sizes[at]]
        frame = trace.frame(int(entry[mine[0]]))
        if frame is not None:
            name = frame.function.rpartition(".")[2]
        else:
            name = trace.string(functions[int(graph.op[known[mine[0]]])])
        yield known[np.sort(mine)], name


def _entries(trace: Trace, frames: Array) -> Array:
    """For each frame the library's outermost frame below the user's innermost; 0 for none."""
    users, parents = user_frames(trace), trace.table(Table.FRAME)["parent"]
    distinct, place = np.unique(frames, return_inverse=True)
    found = np.zeros(len(distinct), np.int32)
    for at, row in enumerate(distinct.tolist()):
        user = int(users[row]) if row else 0
        while user and row != user:
            found[at], row = row, parents[row]
    return found[place]
