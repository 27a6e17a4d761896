"""Two runs beside each other as JSON, with exactly the field names of `schema.json` here."""

from __future__ import annotations

import json
from typing import Any

from gradpm import __version__
from gradpm.diagnose import Severity
from gradpm.report.as_json import finding_object, finite
from gradpm.report.diff.difference import Difference
from gradpm.report.diff.matching import Kept
from gradpm.report.diff.parameters import ParameterChanges
from gradpm.report.diff.side import Side
from gradpm.report.diff.sources import Sources


def to_json(difference: Difference) -> str:
    """The whole comparison; ASCII, so that no terminal acts on it."""
    found = difference.findings
    told = {
        "gradpm": __version__,
        "format": 1,
        "outcome": difference.outcome.value,
        "worse": difference.is_worse(Severity.WARNING),
        "verdict": difference.verdict,
        "before": _side(difference.before),
        "after": _side(difference.after),
        "findings": {
            "gone": [finding_object(finding) for finding in found.gone],
            "kept": [_kept(kept) for kept in found.kept],
            "new": [finding_object(finding) for finding in found.new],
        },
        "parameters": _parameters(difference.parameters),
        "sources": _sources(difference.sources),
    }
    return json.dumps(finite(told), indent=1, allow_nan=False)


def _side(side: Side) -> dict[str, Any]:
    losses = side.losses
    return {
        "traces": [str(path) for path in side.run.paths],
        "run": side.run.run,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
    }


def _kept(kept: Kept) -> dict[str, Any]:
    return {
        "where": kept.where.value,
        "fewer": list(kept.fewer),
        "more": list(kept.more),
        "before": finding_object(kept.before),
        "after": finding_object(kept.after),
    }


def _parameters(changes: ParameterChanges) -> dict[str, Any]:
    return {
        "shared": changes.shared,
        "gradients": [
            {"name": name, "before": was.value, "after": now.value}
            for name, was, now in changes.fates
        ],
        "norms": [
            {"name": one.name, "before": one.before, "after": one.after} for one in changes.norms
        ],
        "shapes": [
            {"name": name, "before": list(was), "after": list(now)}
            for name, was, now in changes.reshaped
        ],
        "renamed": [{"before": was, "after": now} for now, was in changes.renamed.items()],
        "only_before": changes.only_before,
        "only_after": changes.only_after,
    }


def _sources(sources: Sources) -> dict[str, Any]:
    return {
        "changed": [
            {"before": pair.before, "after": pair.after, "diff": pair.hunks}
            for pair in sources.pairs
            if pair.is_changed
        ],
        "only_before": sources.unpaired_before,
        "only_after": sources.unpaired_after,
    }
