"""Bad numbers: the first op that made one, the op that lets nothing through, the depth."""

from __future__ import annotations

from pathlib import Path

import pytest
from judged import assert_told, findings_of, marked

from gradpm.diagnose.facts import Facts
from gradpm.diagnose.rules import depth
from gradpm.trace.model import Trace
from gradpm.trace.schema import GradState, Table

NET = "net.weight net.bias"
TWO = "net.0.weight net.0.bias net.2.weight net.2.bias"
EXPECTED = {
    "log_in_the_data": ("GP301", NET, 1, "zero"),
    "by_nothing": ("GP301", "model.weight model.bias", 3, "divisor is the number 0"),
    "mask_of_nothing": ("GP301", TWO, 10, "0 / 0"),
    "softmax_of_nothing": ("GP301", NET, 2, "-inf throughout"),
    "hidden_overflow": ("GP301", NET, 6, "overflows"),
    "root_of_zero": ("GP302", TWO, 31, "0 at 1 of 8 places"),
    "root_behind_where": ("GP302", "gain", 1, "0 times infinity is NaN"),
    "rounded": ("GP303", "codec.encode.weight codec.encode.bias", 1, "6 of 6"),
    "dead_relu": ("GP303", "net.hidden.weight net.hidden.bias net.out.weight", 1, "negative"),
    "infinite_record": ("GP301", NET, 2, "brought into torch"),
    "half_overflow": (
        "GP301",
        "net.up.weight net.up.bias net.down.weight net.down.bias",
        1,
        "float16 can hold",
    ),
    "own_backward": ("GP302", "net.0.weight", 3, "divides by 0"),
    "one_class": ("GP303", NET, 1, "single class"),
    "softmax_over_the_batch": ("GP303", NET, 1, "dimension 0, of size 1"),
    "softmax_module": ("GP303", NET, 1, "dimension 0, of size 1"),
    "squared_in_half": ("GP301", NET, 5, "Likely, the product"),
    "stiff_steps": ("GP305", "stiffness", 1, "the 10 passes"),
    "descent_by_hand": ("GP305", "weight", 1, "overshoots"),
    "overshooting": ("GP305", NET, 1, "learning rate"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_names_the_first_bad_step_and_why(name: str, tmp_path: Path) -> None:
    code, subjects, call, why = EXPECTED[name]
    found = assert_told(f"numbers/{name}", code, subjects, tmp_path)
    assert found.backward == call
    assert why in found.explanation


def test_plots_how_the_gradient_vanishes(tmp_path: Path) -> None:
    names = {f"layers.{at}.{what}" for at in range(8) for what in ("weight", "bias")}
    (found,) = findings_of("numbers/deep_tanh", tmp_path)
    assert found.code == "GP304"
    assert names <= {subject.name for subject in found.subjects}
    assert found.culprit is not None and "torch.tanh(layer(h))" in found.culprit.source
    assert {step.label for step in found.path} >= {"layers.1", "layers.7"}
    bars = [step.detail.count("▇") for step in found.path]
    assert bars == sorted(bars, reverse=True)
    assert bars[0] > bars[-1]


def test_a_gradient_rounded_to_zero_over_depth_has_vanished(tmp_path: Path) -> None:
    (found,) = findings_of("numbers/deep_sigmoid", tmp_path)
    assert found.code == "GP304"
    assert found.culprit is not None
    assert found.culprit.line == marked("numbers/deep_sigmoid", "culprit")
    assert "layers.0.weight" in {subject.name for subject in found.subjects}


def test_small_branches_are_no_depth() -> None:
    def chain(*norms: float) -> depth.Chain:
        return depth.Chain(1, [], len(norms), 0.0, 0.0, list(norms), weighted=True, again=False)

    assert chain(0.4, 2e-3, 3e-7, 2e-3, 3e-7).recovers  # keys of an attention beside its values
    assert not chain(0.4, 1e-3, 4e-3, 1e-6, 1e-9, 0.0, 0.0).recovers


def test_is_silent_where_odd_numbers_are_meant(tmp_path: Path) -> None:
    assert findings_of("numbers/healthy_numbers", tmp_path) == []


def test_measures_gradients_whose_squares_overflow_or_vanish(tmp_path: Path) -> None:
    assert findings_of("numbers/beyond_squares", tmp_path) == []
    trace = Trace(tmp_path / "t.gpm")
    facts = Facts(trace)
    size = {trace.name(serial): 3**0.5 * scale for serial, scale in ((-1, 1e25), (-2, 1e-30))}
    assert size.keys() == {"large", "small"}
    for call in facts.accumulating:
        for grad in call.grads.values():
            if grad.fresh:
                assert grad.state is GradState.FINITE
                assert grad.norm == pytest.approx(size[trace.name(grad.leaf)], rel=1e-3)
    nodes = trace.table(Table.NODE)
    rows = [row for row, looked in enumerate(nodes["looked"]) if looked]
    assert all(nodes["norm"][row] > 0 and not nodes["inf"][row] for row in rows)
