"""The promises of issue 7 that are counted in keys."""

from __future__ import annotations

import re

import pytest
from conftest import Open

from gradpm.tui.app import GradpmApp
from gradpm.tui.config import Config


async def test_the_culprit_line_takes_no_key(open_app: Open) -> None:
    async with open_app() as driven:
        assert "▶ 15          h = h.detach()  ← the gradient stops here" in driven.screen
        assert "Fix: use h instead of h.detach()" in driven.screen


@pytest.mark.parametrize("size", [(80, 24), (50, 20), (40, 16)])
async def test_nor_on_a_small_screen(size: tuple[int, int], open_app: Open) -> None:
    async with open_app(size) as driven:
        assert re.search(r"▶ 15 +h = h\.detach\(\) +←", driven.screen)
        assert "Fix: use h instead of" in driven.screen, "what to change, unscrolled"


async def test_the_very_expression_is_marked(open_app: Open) -> None:
    async with open_app() as driven:
        source = driven.app.desk.source  # type: ignore[union-attr]
        cells = source.row(14, 80)
        assert "".join(text for text, role in cells if role == "mark") == "h.detach()"


async def test_the_editor_takes_one_key(
    open_app: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(GradpmApp, "action_edit", lambda self: asked.append(self.desk.source.here))
    async with open_app() as driven:
        await driven.press("e")
        assert asked[0].short() == "model.py:15"  # type: ignore[attr-defined]


async def test_the_way_of_a_parameter_takes_three_keys(open_app: Open) -> None:
    async with open_app() as driven:
        desk = driven.app.desk
        assert desk is not None
        await driven.press("2")
        desk.browser.parameters.go_to_serial(-1)
        await driven.press("enter")
        assert desk.focused is desk.path
        assert any(step.kind == "cut" for step in desk.path.steps)


async def test_a_live_parameters_way_to_the_loss_takes_one_key_its_node_another(
    open_app: Open,
) -> None:
    async with open_app() as driven:
        desk = driven.app.desk
        assert desk is not None
        await driven.press("2")
        desk.browser.parameters.go_to_serial(-10)
        name = driven.app.several[0].trace.name(-10)
        await driven.press("w")
        assert desk.focused is desk.path
        assert desk.path.steps[0].kind == "loss"
        assert desk.path.steps[-1].label == name
        await driven.press("2", "v")
        assert desk.focused is desk.browser.graph
        assert desk.browser.graph.location[1] == name


async def test_findings_are_followed_by_every_pane(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.press("right_square_bracket")
        assert "GP403 not-zeroed" in driven.screen
        assert "← gradients pile up here" in driven.screen
        assert "backward 2 of 8" in driven.screen
        await driven.press("left_square_bracket")
        assert "GP101 detached" in driven.screen


async def test_n_and_p_go_along_the_backwards(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.press("4", "n", "n", "p")
        assert "backward 2 of 8" in driven.screen
        await driven.press("x")
        assert "backward 6 of 8" in driven.screen
        assert "2 NaN/Inf" in driven.screen


async def test_a_backward_kept_in_brief_shows_the_nearest_graph(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.press("3", "n", "n", "n")
        assert "backward 2, the nearest kept in full" in driven.screen


async def test_copy_takes_path_and_line(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.press("y")
        assert driven.app.clipboard == "/home/me/proj/model.py:15"


async def test_themes_change_with_t(open_app: Open) -> None:
    async with open_app() as driven:
        before = driven.app.theme
        await driven.press("t")
        assert driven.app.theme != before
        await driven.press("t", "t")
        assert driven.app.theme == before


async def test_a_click_folds_and_chooses(open_app: Open) -> None:
    async with open_app() as driven:
        desk = driven.app.desk
        assert desk is not None
        shown = desk.browser.parameters.row_count()
        await driven.pilot.click("#parameters", offset=(1, 2))
        await driven.rest()
        assert desk.browser.parameters.row_count() == 1 < shown
        await driven.pilot.click("#findings", offset=(10, 2))
        await driven.rest()
        assert "GP403 not-zeroed" in driven.screen


async def test_search_goes_there(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.press("slash", *"gelu", "enter")
        assert "F.gelu(self.fc1(self.ln2(x)))" in driven.screen
        assert driven.app.desk is not None
        assert driven.app.desk.source.here is not None
        assert driven.app.desk.source.here.short() == "model.py:30"


async def test_the_palette_has_the_actions(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.press("colon", *"theme: light", "enter")
        assert driven.app.theme == "gradpm-light"


async def test_the_palette_reaches_the_panes_that_are_not_in_focus(open_app: Open) -> None:
    config = Config(keys={"graph.grouping": "f9"})
    async with open_app(config=config) as driven:
        await driven.press("colon", *"graph: group", "enter")
        desk = driven.app.desk
        assert desk is not None
        assert desk.focused is desk.browser.graph
        assert desk.browser.mode == "line"


async def test_on_a_wide_screen_a_change_of_focus_restyles_nothing(open_app: Open) -> None:
    async with open_app() as driven:
        desk = driven.app.desk
        assert desk is not None
        before = desk.classes
        await driven.press("3", "6", "1")
        assert desk.classes == before
    async with open_app((80, 24)) as driven:
        await driven.press("3")
        assert driven.app.desk.has_class("-at-graph", "-browsing")  # type: ignore[union-attr]


async def test_d_opens_the_page_of_the_findings_code(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.pilot.press("d")
        await driven.rest()
        assert "What it means" in driven.screen
