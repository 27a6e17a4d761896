"""What stands on the screen, at three sizes, as plain text.

`GRADPM_UPDATE_SCREENS=1 pytest tests/tui/test_tui_screens.py` writes the screens anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Open

from gradpm.tui.config import Config

FOLDER = Path(__file__).parent / "screens"
SIZES = ((120, 36), (80, 24), (50, 20))
VIEWS: dict[str, tuple[str, ...]] = {
    "first": (),
    "path": ("5", "j"),
    "parameters": ("2",),
    "graph": ("3", "x"),
    "steps": ("4", "j"),
    "search": ("slash", "f", "c", "2"),
    "help": ("3", "question_mark"),
    "compare": ("2", "c", "n"),
    "filter": ("3", "f", "f", "c", "2"),
    "zoom": ("3", "z", "E"),
    "ops": ("6", "o"),
}


OVER_ALL = {"search", "help"}
"""Dialogs: where there is no mixing of colours, nothing shows through around them."""


def check(name: str, text: str) -> None:
    path = FOLDER / f"{name}.txt"
    if os.environ.get("GRADPM_UPDATE_SCREENS"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8"), f"{name} looks different"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("view", VIEWS)
async def test_screen_is_as_it_was(view: str, size: tuple[int, int], open_app: Open) -> None:
    async with open_app(size) as driven:
        await driven.press(*VIEWS[view])
        check(f"{view}-{size[0]}x{size[1]}", driven.screen)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("theme", ["light", "ansi", "NO_COLOR"])
async def test_every_theme_says_the_same(
    theme: str, view: str, size: tuple[int, int], open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    if theme == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    async with open_app(size, config=Config(theme=theme)) as driven:
        await driven.press(*VIEWS[view])
        alone = "-alone" if view in OVER_ALL and theme != "light" else ""
        check(f"{view}{alone}-{size[0]}x{size[1]}", driven.screen)
