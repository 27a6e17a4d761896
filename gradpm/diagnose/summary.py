"""What the report says of the run as a whole and of each engine call."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from typing import Any

from gradpm.diagnose.case import Case
from gradpm.diagnose.gradients import REQUIRES
from gradpm.trace.schema import Call, GradState


def run_summary(case: Case) -> dict[str, Any]:
    """The `run` object of the JSON report."""
    trace, meta = case.trace, case.trace.meta
    error = case.uncaught
    reader = trace.reader
    return {
        "script": meta.get("script", ""),
        "argv": meta.get("argv", []),
        "exit_code": meta.get("exit_code"),
        "exception": {"type": error.type, "message": error.message} if error else None,
        "torch": meta.get("torch", ""),
        "python": meta.get("python", ""),
        "device": _device(case),
        "rank": meta.get("rank"),
        "seconds": meta.get("seconds"),
        "backwards": len(case.facts.backwards),
        "steps": meta.get("steps"),
        "ops": meta.get("ops", case.facts.op_count),
        "cut_off": reader.cut_off,
        "dropped": {
            "ops": max(int(meta.get("ops", 0) or 0) - case.facts.op_count, 0),
            "damaged": len(reader.damage),
            "stopped": meta.get("stopped"),
            "unmeasured": _unmeasured(case),
        },
    }


def _unmeasured(case: Case) -> int:
    """In how many calls gradients were looked at by parameter only, or not at all."""
    calls = case.facts.accumulating
    watched = {flags: bool(flags & Call.WATCHED) for flags in {call.flags for call in calls}}
    return sum(not watched[call.flags] for call in calls)


def _device(case: Case) -> str:
    devices = {leaf.spec.device for leaf in case.trace.leaves.values() if leaf.spec.device}
    return ", ".join(sorted(devices)) or "cpu"


def backward_rows(case: Case) -> Iterator[dict[str, Any]]:
    """The `backwards` list of the JSON report."""
    calls, gradients = case.facts.backwards, case.facts.gradients
    full = {flags: bool(flags & Call.FULL) for flags in {call.flags for call in calls}}
    places = {frame: case.places.of(frame, "backward") for frame in {call.frame for call in calls}}
    for call in calls:
        place, rows = places[call.frame], call.grads.rows
        required = map(REQUIRES.__and__, gradients.flags[rows])
        states = list(compress(gradients.states[rows], required))
        yield {
            "number": call.number + 1,
            "kind": "grad" if call.is_grad_call else "backward",
            "file": place.file if place else "",
            "line": place.line if place else 0,
            "loss": call.loss if call.loss is None or call.loss == call.loss else None,
            "raised": call.raised,
            "nodes": call.nodes,
            "milliseconds": round(call.ns / 1e6, 3),
            "kept": "full" if full[call.flags] else "brief",
            "parameters": len(states),
            "none": states.count(GradState.NONE),
            "zero": states.count(GradState.ZERO),
            "nonfinite": states.count(GradState.NAN) + states.count(GradState.INF),
        }
