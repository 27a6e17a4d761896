"""GP202 to GP216: what autograd raised, each code by a rule of its own file."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.rules import (
    bad_gradient,
    checkpoint,
    conversions,
    ddp,
    graph_freed,
    inference,
    inplace_leaf,
    inplace_saved,
    leaf_dtype,
    loss_shape,
    mismatch,
    no_derivative,
    raised_inside,
    unused_input,
    views,
)

RULES = (
    inplace_saved.find,
    graph_freed.find,
    inplace_leaf.find,
    views.find,
    loss_shape.find,
    checkpoint.find,
    inference.find,
    unused_input.find,
    no_derivative.find,
    bad_gradient.find,
    leaf_dtype.find,
    conversions.find,
    ddp.find,
    mismatch.find,
    raised_inside.find,
)


def find(case: Case) -> None:
    """Ask each rule; one takes an exception, the next see what is left."""
    for rule in RULES:
        rule(case)
    for raised in case.raised:
        if raised.taken and raised.fatal and raised.call is not None:
            # what the failed call would have reached is not starved: it never came to it
            case.explained.update(node.leaf for node in case.graphs.of(raised.call) if node.leaf)
