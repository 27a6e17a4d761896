"""What a trace holds: its tables, their columns, their flags.

Facts only, never opinions. A table's number and a column's name and meaning
never change once released; new meaning gets a new name. Ids:

* a *string*, *file*, *frame*, *spec*, *module* or *scope* id is its row in that
  table; row 0 of string, file, frame and spec is "none".
* a *serial* names one tensor object. Positive serials are given in the order
  in which tensors were first seen; parameters get negative ones, so that a
  steady loop repeats byte for byte.
* an *op id* counts every op the tap saw, whether or not its row was kept.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Table(IntEnum):
    """The tables of a trace, by the number that stands in each frame."""

    META = 1
    STRING = 2
    FILE = 3
    FRAME = 4
    MODULE = 5
    SCOPE = 6
    SPEC = 7
    OP = 8
    LEAF = 9
    NAME = 10
    BACKWARD = 11
    NODE = 12
    GRAD = 13
    EVENT = 14
    ERROR = 15
    LINK = 16
    CHANGE = 17
    LOOK = 18
    STOPPED = 19


class Op(IntFlag):
    """Flags of an op row."""

    GRAD_ENABLED = 1
    INFERENCE = 2
    IN_REQUIRES = 4  # some tensor that went in required grad
    OUT_REQUIRES = 8  # some tensor that came out requires grad
    RAISED = 16
    IN_BACKWARD = 32  # ran inside the engine: a hook, a recomputation, a custom backward
    IN_FUNCTION = 64  # ran inside a custom Function's forward: grad mode is off, rightly
    IN_STEP = 128  # ran inside an optimizer's step()
    UNSEEN = 256  # no op: the outputs were first seen here, made where no tap looks
    LEFT = 512  # returned something that is no tensor: the value left torch
    IN_OPTIM = 1024  # called from torch.optim's own code
    SETTER = 2048  # an attribute was set: `p.grad = None`, `p.requires_grad = False`
    NONE_SET = 4096  # ... to None (for requires_grad: to False)
    FUNCTION = 8192  # a custom autograd.Function's apply
    CHECKPOINT = 16384  # ran inside a checkpointed forward, grads off by checkpoint itself
    OTHER_THREAD = 32768


THREAD_SHIFT = 16
"""The bits of an op's and a backward's flags from here up number its thread; 0: the main one."""


class Out(IntFlag):
    """Flags of one output of an op."""

    REQUIRES = 1
    LEAF = 2


class FileKind(IntEnum):
    """Whose code a file is."""

    USER = 0
    TORCH = 1
    LIBRARY = 2  # site-packages or the standard library
    GRADPM = 3


class LeafKind(IntEnum):
    """What a leaf row describes."""

    PARAMETER = 0
    BUFFER = 1
    TENSOR = 2


class Call(IntFlag):
    """Flags of a backward row."""

    GRAD_CALL = 1  # autograd.grad; else backward
    RETAIN = 2
    CREATE = 4
    INPUTS = 8  # inputs= was given
    RAISED = 16
    NESTED = 32  # ran inside another engine call
    FULL = 64  # its graph is in NODE
    WATCHED = 128  # gradients were looked at node by node
    NO_GRAPH = 256  # no root has a grad_fn
    LOSS = 512  # the loss column holds the root's value


class GradState(IntEnum):
    """What a leaf's `.grad` was right after a backward."""

    NONE = 0
    FINITE = 1
    ZERO = 2
    NAN = 3
    INF = 4
    SPARSE = 5  # sparse and finite
    UNREAD = 6  # there, but not looked at


class Leaf(IntFlag):
    """Flags of a leaf row and of a grad row."""

    REQUIRES = 1
    IS_LEAF = 2
    PARAMETER = 4
    REACHED = 8  # this backward's graph has an AccumulateGrad node for it
    FRESH = 16  # this backward changed its .grad
    OPTIMIZED = 64  # an optimizer owns it
    ALIVE = 128
    HELD = 256  # .grad was there, untouched and not zero, as the engine started
    UNSURE = 512  # .grad was there as the engine started, changed since, and was not looked at


class When(IntEnum):
    """On what occasion a tensor was looked at."""

    OP = 0  # at an op whose result carries no gradient and is not finite
    SAVED = 1  # saved for the backward of a loss that is not finite
    ALIVE = 2  # still living as the engine was given a loss that is not finite
    HOOK = 3  # saved by a node that turned finite gradients into others


class LinkHow(IntEnum):
    """How a value that left torch was recognised when it came back."""

    MEMORY = 0
    VALUE = 1
    WRAP = 2  # nn.Parameter(t), Variable(t)
    COPY = 3  # deepcopy


# Columns: name -> typecode of array.array. A name ending in `*` is ragged: its
# length per row is the column named after it with `n` before it.
COLUMNS: dict[Table, dict[str, str]] = {
    Table.META: {"key": "I", "value": "I"},
    # why recording ended early, in words that need no other table: those may be what failed
    Table.STOPPED: {"length": "I", "utf8*": "B"},
    Table.STRING: {"length": "I", "utf8*": "B"},
    Table.FILE: {"path": "I", "kind": "B", "source": "I", "truncated": "B"},
    # one frame of a Python stack; parent is the caller's row, always smaller
    Table.FRAME: {
        "parent": "I",
        "file": "I",
        "function": "I",
        "line": "I",
        "end_line": "I",
        "column": "I",  # 1-based, in characters' utf-8 bytes + 1; 0: not known
        "end_column": "I",
        "first_line": "I",  # of the function's definition
    },
    Table.MODULE: {"class": "I", "training": "B"},
    Table.SCOPE: {"parent": "I", "module": "I", "frame": "I"},
    Table.SPEC: {"dtype": "I", "device": "I", "layout": "I", "ndim": "B", "dims*": "q"},
    Table.OP: {
        "id": "Q",
        "name": "I",
        "frame": "I",
        "scope": "I",
        "flags": "I",
        "seq": "q",  # graph sequence number of this thread after the op
        "detail": "I",  # string: JSON about the call (function, scalar arguments' kinds)
        "nin": "H",
        "in*": "q",  # serials
        "nout": "H",
        "out*": "q",
        "spec*": "I",  # as many as outs
        "oflags*": "B",  # as many as outs
    },
    Table.LEAF: {"serial": "q", "kind": "B", "spec": "I", "frame": "I", "flags": "I", "op": "Q"},
    Table.NAME: {"kind": "B", "object": "q", "name": "I", "root": "I", "backward": "I"},
    Table.BACKWARD: {
        "number": "I",  # engine calls in the order in which they began, from 0
        "flags": "I",
        "frame": "I",
        "op": "Q",  # op id at entry: rows before it had run
        "op_end": "Q",
        "parent": "I",  # enclosing backward + 1
        "error": "I",  # row of ERROR + 1
        "nodes": "I",
        "shape": "Q",  # hash of the graph's shape
        "step": "I",  # how many optimizer steps had ended
        "ns": "Q",
        "loss": "d",  # the root's value, when Call.LOSS says that it was read
        "nroot": "H",
        "root*": "q",
        "ninput": "H",
        "input*": "q",
    },
    Table.NODE: {
        "backward": "I",
        "name": "I",
        "seq": "q",
        "op": "q",  # op id that made it, -1 when not known
        "leaf": "q",  # serial of the variable of an AccumulateGrad, else 0
        "looked": "B",  # 1: its gradient was measured
        "norm": "f",  # of the gradient that reached the node's outputs
        "absmax": "f",
        "nan": "I",
        "inf": "I",
        "zero": "f",  # fraction
        "nedge": "H",
        "edge*": "i",  # node row within this backward, -1 for none
        "edge_input*": "B",
        "nsaved": "B",
        "saved*": "I",  # string ids
    },
    Table.GRAD: {
        "backward": "I",
        "leaf": "q",
        "state": "B",
        "flags": "I",
        "version": "I",
        "norm": "d",
        "absmax": "d",
        "nan": "I",
        "inf": "I",
        "zero": "d",
    },
    Table.EVENT: {
        "kind": "I",
        "frame": "I",
        "op": "Q",
        "backward": "I",  # how many engine calls had begun
        "object": "q",
        "detail": "I",
    },
    Table.ERROR: {
        "type": "I",
        "message": "I",
        "frame": "I",
        "op": "Q",
        "backward": "I",
        "uncaught": "B",
        "detail": "I",
    },
    Table.LINK: {"op": "Q", "source": "q", "target": "q", "how": "B"},
    # a version counter was seen to have moved on
    Table.CHANGE: {"op": "Q", "serial": "q", "version": "I", "during": "B"},
    # what one look at a tensor showed: counts and range, never its values
    Table.LOOK: {
        "backward": "I",
        "when": "B",
        "op": "Q",  # the op that made it or whose node saved it; 0 when not known
        "seq": "q",  # the node's graph sequence number, -1 for none
        "node": "I",  # string: the node's name
        "slot": "I",  # string: what the node calls it (`result`, `other`, ...), "in" or "out"
        "serial": "q",  # 0 when it has none
        "numbers": "Q",
        "nan": "Q",
        "inf": "Q",
        "zero": "Q",
        "low": "d",  # of the finite ones
        "high": "d",
    },
}
