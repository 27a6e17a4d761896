"""What a sentence of a finding looks like, whatever names it is made of."""

from __future__ import annotations

import sys
from pathlib import Path

from launching import execute

from gradpm.diagnose.words import sentence
from gradpm.report.view import read_all


def test_a_sentence_begins_with_a_capital_but_code_stays_code() -> None:
    assert sentence("the loss has no graph") == "The loss has no graph"
    assert sentence("backward() at t.py:3 raised") == "backward() at t.py:3 raised"
    assert sentence("`x` is no leaf") == "`x` is no leaf"


UNNAMED = """
import torch
def prepare(w):
    w = w.clone().requires_grad_(True)
    return (w - 1) / 3
a = torch.zeros(3, requires_grad=True)
b = torch.ones(3, requires_grad=True)
optimizer = torch.optim.SGD([a, b], lr=0.1)
x = prepare(torch.randn(3))
(x.sum() + b.sum() + (a > 0).float().sum()).backward()
optimizer.step()
print(x.grad)
"""


def test_backticks_come_in_pairs(tmp_path: Path) -> None:
    script, trace = tmp_path / "s.py", tmp_path / "s.gpm"
    script.write_text(UNNAMED)
    execute([sys.executable, "-m", "gradpm", "run", "--output", str(trace), str(script)], tmp_path)
    findings = read_all([trace]).findings
    assert {"GP108", "GP103"} <= {finding.code for finding in findings}
    for finding in findings:
        for text in (finding.title, finding.explanation, finding.fix):
            assert "``" not in text
            assert text.count("`") % 2 == 0
            assert all(part == part.strip() for part in text.split("`")[1::2]), text
        assert all("`" not in step.label for step in finding.path)
