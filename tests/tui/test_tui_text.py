"""Words on a screen that is too narrow for them: what gives way, and what never does."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Open
from make_trace import Builder, Net, detached, diagnosis, make_net

from gradpm.diagnose.finding import Diagnosis, Subject
from gradpm.tui.cells import Row, fit_end, pad, prose, width_of, wrap
from gradpm.tui.findings_pane import subjects_in_brief
from gradpm.tui.help import page_rows
from gradpm.tui.marked_line import marked_line
from gradpm.tui.roles import role_style
from gradpm.tui.search import highlighted
from gradpm.tui.themes import all_themes

NOTHING = Diagnosis(())


ROLES = (
    "text", "dim", "faint", "strong", "title", "accent", "error", "warning", "note", "ok", "none",
    "mark", "match", "bar", "cursor", "cursor-blur", "keyword", "string", "number", "function",
    "comment",
)  # fmt: skip


def words(row: Row) -> str:
    return "".join(text for text, _ in row)


def test_a_comma_stays_with_the_code_before_it() -> None:
    lines = [words(line) for line in wrap(prose("it lost: `detach()`, `detach_()` or so"), 18)]
    assert lines == ["it lost: detach(),", "detach_() or so"]


def test_code_keeps_its_indent() -> None:
    rows = page_rows("```python\nfor x in y:\n    print(x)\n```")
    assert words(wrap(*rows[1][:1], 40, 2)[0]).startswith("      print")


def test_wrapping_loses_nothing_and_never_runs_over() -> None:
    chance = random.Random(0)
    for _ in range(500):
        row = [
            ("".join(chance.choice("ab  日—\u00a0") for _ in range(chance.randrange(12))), "text")
            for _ in range(chance.randrange(6))
        ]
        width = chance.randrange(8, 20)
        lines = wrap(row, width, chance.choice([0, 2, 5]))
        assert all(width_of(line) <= width for line in lines), (row, width)
        assert "".join(map(words, lines)).replace(" ", "") == words(row).replace(" ", "")


def test_names_and_paths_are_cut_at_their_start() -> None:
    assert fit_end("model.encoder.fc1.weight", 11) == "…fc1.weight"
    assert fit_end("/home/日本語/train.py", 10) == "…/train.py"
    assert pad("日本", 6) == "日本  "


CODE = "        loss = F.mse_loss(model(x).squeeze(1).detach(), target)  # for now"


@pytest.mark.parametrize("width", [200, 90, 60, 44, 34])
def test_the_marked_expression_is_seen_with_its_reason(width: int) -> None:
    first = CODE.index("model(x)")
    end = CODE.index(", target")
    row = marked_line([(CODE, "text")], (first, end), "the gradient stops here", "error", width)
    assert width_of(row) <= width
    assert "← the grad" in words(row)
    assert words(row).partition("  ←")[0].strip("… ")[-30:] in CODE
    if width >= 60:
        assert "model(x).squeeze(1).detach()" in words(row)
        assert "the gradient stops here" in words(row)


def test_a_findings_subjects_in_a_word() -> None:
    one = detached(make_net(2, 1))

    def brief(*names: str) -> str:
        subjects = tuple(Subject("parameter", name) for name in names)
        return subjects_in_brief(replace(one, subjects=subjects))

    assert brief("model.a.weight", "model.a.bias") == "model.a"
    assert brief("w", "b") == "w and 1 more"
    assert brief("w") == "w"
    assert brief() == ""


def test_what_was_searched_for_is_marked() -> None:
    row = highlighted("x = Attend(self.ln(x))", ["attend", "ln"])
    assert [text for text, role in row if role == "match"] == ["Attend", "ln"]
    assert words(row) == "x = Attend(self.ln(x))"


def test_every_role_has_a_look_in_every_theme() -> None:
    for theme in all_themes():
        looks = {role: role_style(role, theme.variables, theme.ansi) for role in ROLES}
        assert looks["error"].bold
        assert looks["mark"].reverse if theme.ansi else looks["mark"].bgcolor
        assert str(looks["cursor"]) != str(looks["cursor-blur"])


async def test_a_list_of_findings_tells_their_lines(open_app: Open) -> None:
    async with open_app((80, 24)) as driven:
        rows = [line for line in driven.screen.splitlines() if "GP403 not-zeroed" in line]
        assert rows
        assert "train.py:10" in rows[0]


async def test_the_fix_stands_before_the_mechanism(open_app: Open) -> None:
    async with open_app() as driven:
        assert driven.screen.index("Fix: use h") < driven.screen.index("calls h.detach() on")


async def test_the_cursors_are_at_the_finding(open_app: Open) -> None:
    async with open_app() as driven:
        desk = driven.app.desk
        assert desk is not None
        assert desk.browser.parameters.chosen is not None
        assert desk.browser.parameters.chosen.name == "model.encoder.fc1.weight"
        await driven.press("3")
        assert desk.browser.graph.location[1] == "gradient stops", "as the finding's path says it"


async def test_a_small_screen_shows_whole_columns(open_app: Open) -> None:
    async with open_app((40, 16)) as driven:
        await driven.press("2")
        head = next(line for line in driven.screen.splitlines() if "status" in line)
        assert "norm" in head


async def test_the_other_hits_of_a_search_are_a_key_away(open_app: Open) -> None:
    async with open_app() as driven:
        desk = driven.app.desk
        assert desk is not None
        await driven.press("slash", *"fc2.bias", "enter")
        assert desk.browser.parameters.chosen.name == "model.blocks.0.fc2.bias"  # type: ignore[union-attr]
        await driven.press("full_stop")
        assert desk.browser.parameters.chosen.name == "model.blocks.1.fc2.bias"  # type: ignore[union-attr]
        assert any("hit 2 of 4" in one.message for one in driven.app._notifications)
        await driven.press("comma", "comma")
        assert desk.browser.parameters.chosen.name == "model.blocks.3.fc2.bias"  # type: ignore[union-attr]


async def test_a_search_without_a_hit_says_so(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.press("slash", *"zzz")
        assert "Nothing matches." in driven.screen
        await driven.press("enter")
        assert "Findings" in driven.screen


async def test_nothing_is_called_fine_that_was_not_seen(
    open_app: Open, net: Net, tmp_path: Path
) -> None:
    path = net.write(tmp_path / "killed.gpm", seal=False)
    async with open_app((80, 24), paths=[path], told=NOTHING) as driven:
        assert "the part that could be read." in " ".join(driven.screen.split())
        assert "✔ no findings" not in driven.screen
    path = Builder().write(tmp_path / "early.gpm", seal=False)
    async with open_app((80, 24), paths=[path], told=NOTHING) as driven:
        assert "holds neither a call nor a backward()" in driven.screen
        assert "never called" not in driven.screen


async def test_a_healthy_run_shows_where_backward_is_called(open_app: Open) -> None:
    async with open_app(told=NOTHING) as driven:
        assert "← backward is called here" in driven.screen


async def test_a_finding_tells_which_ranks_have_it(open_app: Open, tmp_path: Path) -> None:
    paths = []
    for rank in range(2):
        net = make_net(2, 2)
        net.meta(rank=rank)
        paths.append(net.write(tmp_path / f"train.rank{rank}.gpm"))
    async with open_app(paths=paths, told=diagnosis(make_net(2, 2))) as driven:
        assert "In all 2 traces alike." in driven.screen


async def test_ctrl_c_leaves_from_a_text_field(open_app: Open) -> None:
    async with open_app() as driven:
        await driven.press("slash", "a")
        await driven.pilot.press("ctrl+c")
        assert driven.app._exit
