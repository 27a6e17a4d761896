"""Trace in, findings out: pure, no torch, no screen."""

from __future__ import annotations

from gradpm.diagnose.finding import Diagnosis, Finding, Location, Severity, Step, Subject
from gradpm.trace.model import Trace

__all__ = ["Diagnosis", "Finding", "Location", "Severity", "Step", "Subject", "diagnose"]


def diagnose(trace: Trace) -> Diagnosis:
    """Everything that can be said of a trace, most severe first."""
    from gradpm.diagnose.engine import run_rules

    return run_rules(trace)
