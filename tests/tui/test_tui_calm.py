"""Traces with nothing, half, or far too much in them: a calm screen with a sentence."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Open
from make_trace import Builder, Net, detached, diagnosis, make_net

from gradpm.cli.traces import chosen
from gradpm.diagnose.finding import Diagnosis
from gradpm.trace.schema import Table
from gradpm.tui.config import Config, read_config
from gradpm.tui.evidence import Evidence, merge

NOTHING = Diagnosis(())


async def test_not_a_trace(open_app: Open, tmp_path: Path) -> None:
    path = tmp_path / "notes.gpm"
    path.write_text("dear diary")
    async with open_app(paths=[path]) as driven:
        assert "This is not a gradpm trace." in driven.screen
        await driven.press("q")
    assert driven.app.return_code == 76


async def test_a_missing_file(open_app: Open, tmp_path: Path) -> None:
    async with open_app(paths=[tmp_path / "none.gpm"]) as driven:
        assert "This trace cannot be read." in driven.screen


async def test_a_newer_version(open_app: Open, trace_path: Path, tmp_path: Path) -> None:
    data = bytearray(trace_path.read_bytes())
    from gradpm.trace import layout

    data[len(layout.MAGIC)] += 1
    path = tmp_path / "new.gpm"
    path.write_bytes(data)
    async with open_app(paths=[path]) as driven:
        assert "newer gradpm" in driven.screen


async def test_an_empty_trace(open_app: Open, tmp_path: Path) -> None:
    path = Builder().write(tmp_path / "empty.gpm")
    async with open_app(paths=[path], told=NOTHING) as driven:
        assert "This trace is empty" in driven.screen
        for key in "2345671wxunpcsbEfz":
            await driven.press(key)


async def test_no_findings(open_app: Open) -> None:
    async with open_app(told=NOTHING) as driven:
        assert "Nothing is wrong with the gradients of this run." in driven.screen
        await driven.press("3")
        assert "4 × Block" in driven.screen


async def test_a_killed_run(open_app: Open, net: Net, tmp_path: Path) -> None:
    path = net.write(tmp_path / "killed.gpm", seal=False)
    async with open_app(paths=[path]) as driven:
        assert "cut off" in driven.screen.splitlines()[0]
        assert "killed.gpm ends in mid-run" in driven.screen


async def test_a_file_cut_short(open_app: Open, trace_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.gpm"
    data = trace_path.read_bytes()
    for kept in (20, *(int(len(data) * share) for share in (0.3, 0.6, 0.9))):
        path.write_bytes(data[:kept])
        async with open_app(paths=[path], told=NOTHING) as driven:
            await driven.press("2", "3", "4")
            assert "gradpm" in driven.screen


async def test_ten_thousand_findings(open_app: Open, net: Net) -> None:
    one = detached(net)
    many = Diagnosis(tuple(replace(one, title=f"finding {n}") for n in range(10_000)))
    async with open_app(told=many) as driven:
        assert "Findings  10,000" in driven.screen
        await driven.press("end")
        assert "finding 9999" in driven.screen


async def test_no_source(open_app: Open, tmp_path: Path) -> None:
    net = make_net(2, 1)
    net.rows[Table.FILE]["source"] = [0] * 4
    path = net.write(tmp_path / "t.gpm")
    async with open_app(paths=[path]) as driven:
        assert "The trace holds no source for this file." in driven.screen
        assert "h = h.detach()" in driven.screen, "the finding itself remembers the line"


async def test_why_there_is_no_graph(open_app: Open, tmp_path: Path) -> None:
    path = Builder().write(tmp_path / "empty.gpm")
    async with open_app(paths=[path], told=NOTHING) as driven:
        await driven.press("3")
        assert "No backward was called in this run" in driven.screen


def test_a_launchers_empty_trace_stands_for_its_ranks(net: Net, tmp_path: Path) -> None:
    main = Builder().write(tmp_path / "train.gpm")
    assert chosen([str(main)]) == [main]
    ranks = [net.write(tmp_path / f"train.rank{rank}.gpm") for rank in range(2)]
    assert chosen([str(main)]) == ranks
    net.write(main)
    assert chosen([str(main)]) == [main], "it has something to tell of its own"


def test_what_each_rank_tells_of_itself_is_told_once(net: Net, trace_path: Path) -> None:
    several = []
    for rank in range(2):
        one = replace(detached(net), title=f"x got no gradient on rank {rank}")
        several.append(Evidence.open(trace_path, lambda _, one=one: Diagnosis((one,))))
    assert [told.traces for told in merge(several)] == [(0, 1)]


async def test_ranks_stand_side_by_side(open_app: Open, tmp_path: Path) -> None:
    paths = []
    for rank in range(2):
        net = make_net(2, 2)
        net.meta(rank=rank)
        paths.append(net.write(tmp_path / f"train.rank{rank}.gpm"))
    async with open_app(paths=paths) as driven:
        assert "rank 0, one of 2" in driven.screen
        assert "2 traces" in driven.screen, "what both ranks tell is told once"
        await driven.press("2")
        assert "rank 1" in driven.screen
        await driven.press("r")
        assert "rank 1, one of 2" in driven.screen


BRACKETS = [
    "[/home/me]",
    "dict[str, int]",
    "[bold]x[/]",
    "[/",
    "\\[",
    "a\x1b[31mb",
    "[@click=app.quit]x[/]",
]


@pytest.mark.parametrize("seed", range(3))
async def test_brackets_and_escapes_in_every_text(
    seed: int, open_app: Open, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    net = make_net(2, 1)
    bad = lambda: chance.choice(BRACKETS) + str(chance.random())[:5]  # noqa: E731
    one = detached(net)
    nasty = replace(
        one, title=bad(), explanation=bad(), fix=bad(), name=bad(),
        subjects=tuple(replace(s, name=bad()) for s in one.subjects),
        path=tuple(replace(s, label=bad(), detail=bad()) for s in one.path),
    )  # fmt: skip
    strings = net.rows[Table.STRING]
    texts = [bad() if 6 < len(t) < 30 else t for t in net.strings]
    strings["length"] = [len(t.encode()) for t in texts]
    strings["utf8*"] = list("".join(texts).encode())
    path = net.write(tmp_path / "[bold] [home.gpm")
    async with open_app(paths=[path], told=Diagnosis((nasty,))) as driven:
        await driven.press(
            "2", "3", "E", "j", "j", "4", "slash", "escape", "question_mark", "escape"
        )
        await driven.press("5", "j", "6", "o", "y")
        assert "\x1b" not in driven.screen


async def test_keys_can_be_changed(open_app: Open) -> None:
    config = Config(keys={"desk.steps": "f4", "app.quit": "ctrl+x"})
    async with open_app(config=config) as driven:
        await driven.press("f4")
        assert driven.app.desk is not None
        assert driven.app.desk.browser.tab == "steps"
        assert "^x quit" in driven.screen


async def test_a_key_for_nothing_is_complained_about(open_app: Open) -> None:
    config = Config(keys={"app.edlt": "f4", "search.close": "f5", "list.down": "down"})
    async with open_app(config=config) as driven:
        messages = [one.message for one in driven.app._notifications]
        assert messages == ["No key is called app.edlt: ? tells their names."]


def test_a_broken_config_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    assert read_config(path) == Config()
    path.write_text("{")
    assert "is not used" in read_config(path).complaint
    path.write_text('{"keys": [1]}')
    assert "keys cannot be understood" in read_config(path).complaint
    path.write_text('{"theme": "light", "mouse": false, "keys": {"app.edit": "f4"}}')
    assert read_config(path) == Config({"app.edit": "f4"}, "light", False)


async def test_the_file_on_disk_has_changed(open_app: Open, tmp_path: Path) -> None:
    net = make_net(2, 1, folder=str(tmp_path))
    (tmp_path / "model.py").write_text("something else\n")
    path = net.write(tmp_path / "t.gpm")
    async with open_app(paths=[path], told=diagnosis(net)) as driven:
        assert "changed on disk since the run" in driven.screen
