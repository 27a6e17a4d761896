"""What the tests of the app share: traces, and an app that rests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from make_trace import Net, diagnosis, make_net
from textual.pilot import Pilot

from gradpm.diagnose.finding import Diagnosis
from gradpm.tui.app import GradpmApp
from gradpm.tui.config import Config


@pytest.fixture(autouse=True)
def calm_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colour, theme or editor from whoever runs the tests."""
    for name in ("NO_COLOR", "TEXTUAL_THEME", "COLORFGBG", "VISUAL", "EDITOR", "GRADPM_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def net() -> Net:
    """Four blocks, eight steps."""
    return make_net(4, 8)


@pytest.fixture(scope="session")
def trace_path(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    return net.write(tmp_path_factory.mktemp("traces") / "train.gpm")


@dataclass
class Driven:
    """An app under a pilot."""

    app: GradpmApp
    pilot: Pilot[int]

    async def rest(self) -> None:
        """Until no job runs and nothing is left to paint."""
        for _ in range(400):
            await self.pilot.pause()
            if not self.app.is_running:  # it crashed: leaving the pilot raises why
                return
            desk = self.app.desk
            done = self.app.problem is not None or (desk is not None and desk.focused is not None)
            if self.app.jobs.idle and done:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.06)  # the cursor's rest
        await self.pilot.pause()
        if not self.app.jobs.idle:
            await self.rest()

    async def press(self, *keys: str) -> None:
        """Press keys, resting after each."""
        for key in keys:
            await self.pilot.press(key)
            await self.rest()

    @property
    def screen(self) -> str:
        """What stands on the screen, as text."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(s.text for s in strip).rstrip() for strip in strips)


Open = Callable[..., AbstractAsyncContextManager[Driven]]


@pytest.fixture
def open_app(net: Net, trace_path: Path) -> Open:
    """Opens the app on traces with a given diagnosis."""

    @asynccontextmanager
    async def opened(
        size: tuple[int, int] = (120, 36),
        paths: Sequence[Path] = (),
        told: Diagnosis | None = None,
        config: Config | None = None,
    ) -> AsyncIterator[Driven]:
        found = told if told is not None else diagnosis(net)
        app = GradpmApp(list(paths) or [trace_path], lambda _: found, config or Config())
        async with app.run_test(size=size) as pilot:
            driven = Driven(app, pilot)
            await driven.rest()
            yield driven

    return opened
