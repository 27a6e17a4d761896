"""The stations of a finding's path, from the loss down."""

from __future__ import annotations

from gradpm.diagnose.finding import Step


def from_loss(path: tuple[Step, ...]) -> tuple[Step, ...]:
    """The stations with the loss first, however the diagnosis ordered them."""
    ends = ("loss", "backward")
    upwards = path and path[0].kind not in ends
    if upwards and (path[-1].kind in ends or path[0].kind == "parameter"):
        return path[::-1]
    return path
