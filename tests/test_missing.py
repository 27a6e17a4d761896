"""Why a gradient is None: the right code, line and parameters; silence on healthy programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from judged import SCRIPTS, findings_of, marked

EXPECTED = {
    "no_grad_block": ("GP102", "encoder.weight encoder.bias"),
    "list_round_trip": ("GP104", "model.scale"),
    "dropped_result": ("GP107", "model.gate.weight model.gate.bias"),
    "function_returns_none": ("GP110", "w"),
    "inputs_left_out": ("GP109", "model.0.weight model.0.bias"),
    "reentrant_checkpoint": ("GP111", "stem.weight stem.bias"),
    "actor_sample": ("GP102", "actor.weight actor.bias"),
    "inner_loop": ("GP114", "net.weight net.bias"),
    "stacked_leaves": (
        "GP114",
        "members.0.weight members.0.bias members.1.weight members.1.bias",
    ),
    "closure_detach": ("GP101", "a"),
    "table_of_numbers": ("GP201", "scorer.weight scorer.bias"),
    "non_leaf": ("GP108", "w"),
    "leaf_read": ("GP101", "picture"),
    "never_drawn": ("GP106", "drawn.experts.2.weight drawn.experts.2.bias"),
    "in_a_closure": ("GP102", "encoder.weight encoder.bias"),
    "unused_moved": ("GP106", "model.spare.weight model.spare.bias"),
    "wrong_output": ("GP107", "attention.out_proj.weight attention.out_proj.bias"),
    "hook_clears": ("GP112", "model.weight model.bias"),
    "cleared_between": ("GP112", "age.weight age.bias"),
    "detached_in_place": ("GP101", "cell.weight_ih cell.weight_hh cell.bias_ih cell.bias_hh"),
    "forgotten_loss": ("GP107", "critic.weight critic.bias"),
    "unused_block": (
        "GP106",
        "model.last.down.weight model.last.down.bias model.last.up.weight model.last.up.bias",
    ),
    "frozen_by_default": ("GP105", "model.words.weight"),
    "no_leaf_asked": ("GP105", "w"),
    "loss_of_inputs": ("GP201", "loss model.weight model.bias"),
    "never_backward": ("GP113", "x"),
}
HEALTHY = sorted(path.stem for path in (SCRIPTS / "missing").glob("healthy_*.py"))


@pytest.mark.parametrize("name", EXPECTED)
def test_names_code_line_and_parameters(name: str, tmp_path: Path) -> None:
    code, subjects = EXPECTED[name]
    found = findings_of(f"missing/{name}", tmp_path)
    assert [finding.code for finding in found] == [code]
    assert found[0].culprit is not None
    assert found[0].culprit.line == marked(f"missing/{name}", "culprit")
    assert [subject.name for subject in found[0].subjects] == subjects.split()
    second = marked(f"missing/{name}", "second")
    assert not second or second in {location.line for location in found[0].locations}


@pytest.mark.parametrize("name", HEALTHY)
def test_is_silent_on_healthy_programs(name: str, tmp_path: Path) -> None:
    assert findings_of(f"missing/{name}", tmp_path) == []


CAUSES = {
    "wrapped": ("GP102", "model.wrapped.weight model.wrapped.bias"),
    "managed": ("GP102", "model.managed.weight model.managed.bias"),
    "written": ("GP101", "model.written.weight model.written.bias"),
    "smoothed": ("GP104", "model.smoothed.weight model.smoothed.bias"),
    "length": ("GP104", "model.length"),
    "threshold": ("GP103", "model.threshold"),
    "rounded": ("GP103", "model.rounded"),
    "choice": ("GP101", "model.choice"),
    "crop": ("GP104", "model.crop"),
}


def test_tells_many_causes_apart_each_with_its_own_parameters(tmp_path: Path) -> None:
    told = {
        (finding.culprit.line if finding.culprit else 0): (
            finding.code, {subject.name for subject in finding.subjects},
        )
        for finding in findings_of("missing/many_causes", tmp_path)
    }  # fmt: skip
    assert told == {
        marked("missing/many_causes", f"culprit:{cause}"): (code, set(subjects.split()))
        for cause, (code, subjects) in CAUSES.items()
    }
