"""Leaky loops: what no optimizer owns, what is never cleared, never stepped, never let go."""

from __future__ import annotations

from pathlib import Path

import pytest
from judged import assert_told, findings_of

TWO = "net.0.weight net.0.bias net.2.weight net.2.bias"
EXPECTED = {
    "new_head": ("GP402", "net.2.weight net.2.bias"),
    "never_zeroed": ("GP403", TWO),
    "stepped_twice": ("GP404", TWO),
    "zeroed_too_soon": ("GP112", TWO),
    "bare_backward": ("GP113", TWO),
    "clipped_to_nothing": ("GP405", TWO),
    "schedule_of_zeros": ("GP405", TWO),
    "refilled": ("GP405", TWO),
    "refilled_in_sight": ("GP405", TWO),
    "rate_of_a_group": ("GP405", "net.0.weight net.0.bias"),
    "handed_back": ("GP404", TWO),
    "delayed_step": ("GP404", "actor.weight actor.bias"),
    "faded": ("GP405", TWO),
    "rounded_away": ("GP405", TWO),
    "steps_another": ("GP405", TWO),
    "cleared_for_another": ("GP403", TWO),
    "carried_state": ("GP407", "state"),
    "replayed": ("GP407", "memory value"),
    "scaler_each_step": ("GP406", TWO),
    "scale_set_back": ("GP406", TWO),
    "scale_that_falls": ("GP406", TWO),
    "running_mean": ("GP407", "mean"),
    "kept_outputs": ("GP407", "outputs out"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_names_code_line_and_parameters(name: str, tmp_path: Path) -> None:
    assert_told(f"loops/{name}", *EXPECTED[name], tmp_path)


TOLD = {
    "scale_set_back": "Its scale is 1e+38 in all of these and does not fall",
    "scale_that_falls": "Its scale fell from 65536 to 2048",
    "delayed_step": "had given its parameters a gradient, in 6 of 12 steps",
}


@pytest.mark.parametrize("name", TOLD)
def test_tells_why_in_particular(name: str, tmp_path: Path) -> None:
    (found,) = findings_of(f"loops/{name}", tmp_path)
    assert TOLD[name] in found.explanation


def test_tells_how_to_keep_values_without_their_graph(tmp_path: Path) -> None:
    (found,) = findings_of("loops/kept_outputs", tmp_path)
    assert ".item()" not in found.fix  # each is more than one number
    assert "out.detach()" in found.fix


def test_tells_of_layers_in_a_plain_list(tmp_path: Path) -> None:
    (found,) = findings_of("loops/plain_list", tmp_path)
    assert found.code == "GP401"
    assert len(found.subjects) == 4
    assert "4 parameters of `net` got" in found.explanation
    assert "ModuleList" in found.fix


def test_is_silent_on_loops_that_only_look_odd(tmp_path: Path) -> None:
    assert findings_of("loops/healthy_loops", tmp_path) == []


def test_is_silent_where_no_optimizer_is_and_failures_are_provoked(tmp_path: Path) -> None:
    assert findings_of("loops/healthy_by_hand", tmp_path) == []
