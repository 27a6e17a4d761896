"""All rules, in the order in which one's findings spare another's."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Diagnosis, Finding
from gradpm.diagnose.rules import (
    cleared,
    depth,
    frozen,
    given_none,
    growth,
    missing,
    no_backward,
    no_graph,
    non_leaf,
    nonfinite,
    overwritten,
    ownership,
    partly_used,
    raised,
    stepping,
    thrown_away,
    unseen,
    updating,
    zero,
    zeroing,
)
from gradpm.diagnose.summary import backward_rows, run_summary
from gradpm.trace.model import Trace

RULES = (
    no_graph.find, raised.find, ownership.find, non_leaf.find, cleared.in_backward, missing.find,
    partly_used.find, given_none.find, frozen.find, nonfinite.find, unseen.find, no_backward.find,
    thrown_away.find, stepping.find, cleared.between_backwards, updating.find, overwritten.find,
    zeroing.find, zero.find, depth.find, growth.find,
)  # fmt: skip


def run_rules(trace: Trace) -> Diagnosis:
    """Apply every rule."""
    case = Case(trace)
    for rule in RULES:
        rule(case)
    ordered = sorted(case.findings, key=_rank)
    return Diagnosis(tuple(ordered), run_summary(case), tuple(backward_rows(case)))


def _rank(finding: Finding) -> tuple[int, int, int, str]:
    """Most severe first; what raised before what is silent; then the widest."""
    raised = 0 if finding.code.startswith("GP2") else 1
    return -finding.severity, raised, -len(finding.subjects), finding.code
