"""The words of the first line."""

from __future__ import annotations

from gradpm.tui.cells import plain
from gradpm.tui.evidence import Evidence
from gradpm.tui.marks import count


def header_parts(
    evidence: Evidence, several: list[Evidence], backward: int, findings: int
) -> tuple[list[str], list[str]]:
    """(left, right): what run this is; where it ran and how it ended."""
    left = [plain(evidence.script)]
    if len(several) > 1:
        left.append(f"{plain(evidence.label)}, one of {len(several)}")
    backwards = evidence.backward_count
    if backwards:
        left.append(f"backward {backward + 1:,} of {backwards:,}")
    left.append(count(findings, "finding") if findings else "no findings")
    return left, _surroundings(evidence)


def _surroundings(evidence: Evidence) -> list[str]:
    run = {**evidence.trace.meta, **evidence.diagnosis.run}
    found = []
    torch = run.get("torch")
    if isinstance(torch, str) and torch:
        found.append(f"torch {plain(torch.partition('+')[0])}")
    device = run.get("device")
    if isinstance(device, str) and device:
        found.append(plain(device))
    ended = run.get("exit_code", run.get("exit"))
    if isinstance(ended, int):
        found.append(f"exit {ended}")
    elif evidence.trace.reader.cut_off:
        found.append("cut off")
    return found
