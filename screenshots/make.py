"""Make the pictures: record the examples, open each trace in the app, save what it shows.

    python screenshots/make.py            all pictures
    python screenshots/make.py --check    make them elsewhere and say which would change

Needs the development install. Every picture is of a real run of a file in examples/.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"


@dataclass(frozen=True)
class Picture:
    """One picture: which example, how large a terminal, which keys before the shutter."""

    name: str
    example: str
    size: tuple[int, int] = (120, 36)
    keys: tuple[str, ...] = field(default_factory=tuple)
    theme: str = ""


PICTURES = (
    Picture("findings", "04_encoder_cut.py"),
    Picture("light", "04_encoder_cut.py", theme="gradpm-light"),
    Picture("graph", "04_encoder_cut.py", keys=("3",)),
    Picture("steps", "04_encoder_cut.py", keys=("4",)),
    Picture("parameters", "04_encoder_cut.py", keys=("2",)),
    Picture("compare", "04_encoder_cut.py", keys=("2", "c", "n")),
    Picture("path", "04_encoder_cut.py", keys=("5", "j", "z")),
    Picture("source", "04_encoder_cut.py", keys=("6", "z")),
    Picture("ops", "04_encoder_cut.py", keys=("6", "o")),
    Picture("search", "04_encoder_cut.py", keys=("slash", "e", "n", "c")),
    Picture("help", "04_encoder_cut.py", keys=("3", "question_mark")),
    Picture("raised", "09_inplace_saved.py", keys=("3",)),
    Picture("narrow", "01_detached.py", size=(80, 24)),
    Picture("phone", "01_detached.py", size=(50, 20)),
)


def record(example: str, folder: Path) -> Path:
    """Run one example under gradpm; its trace."""
    trace = folder / (Path(example).stem + ".gpm")
    if not trace.exists():
        command = [sys.executable, "-m", "gradpm", "run", "--quiet", "--output", str(trace)]
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        subprocess.run(
            [*command, example], cwd=EXAMPLES, env=environment, capture_output=True, check=False
        )
    return trace


async def shoot(picture: Picture, trace: Path) -> str:
    """What the app shows, as SVG, without what differs from one making to the next."""
    from gradpm.tui.app import GradpmApp
    from gradpm.tui.config import Config

    app = GradpmApp([trace], config=Config())
    async with app.run_test(size=picture.size) as pilot:
        if picture.theme in app.available_themes:
            app.theme = picture.theme
        for _ in range(400):
            await pilot.pause()
            if app.desk is not None and app.jobs.idle:
                break
            await asyncio.sleep(0.01)
        for key in picture.keys:
            await pilot.press(key)
        for _ in range(20):
            await pilot.pause()
            await asyncio.sleep(0.02)
        svg = app.export_screenshot(title="gradpm open", simplify=True)
    return re.sub(r"terminal-\d+-", "terminal-", svg)


def main() -> int:
    """Make or check all pictures; 1 when a check finds one out of date."""
    for name in ("NO_COLOR", "TEXTUAL_THEME", "COLORFGBG"):
        os.environ.pop(name, None)
    check = "--check" in sys.argv[1:]
    stale = []
    with tempfile.TemporaryDirectory() as temporary:
        for picture in PICTURES:
            trace = record(picture.example, Path(temporary))
            svg = asyncio.run(shoot(picture, trace))
            target = HERE / f"{picture.name}.svg"
            if not check:
                target.write_text(svg)
                print(target.name)
            elif not target.exists() or _words(target.read_text()) != _words(svg):
                stale.append(target.name)
    if stale:
        print("out of date: " + ", ".join(stale), file=sys.stderr)
    return 1 if stale else 0


def _words(svg: str) -> list[str]:
    """What a picture tells, but for numbers and bars: another processor rounds otherwise."""
    text = " ".join(re.findall(r">([^<]+)<", svg))
    return re.sub(r"&#160;|[\d.+e-]*\d|[\u2580-\u259f]", " ", text).split()


if __name__ == "__main__":
    sys.exit(main())
