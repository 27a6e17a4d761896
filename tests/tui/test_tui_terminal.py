"""The app in a real pseudo-terminal: it moves, lends the terminal, gives it back."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest
from make_trace import diagnosis, make_net

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {here!r}]
from make_trace import diagnosis, make_net
from gradpm.tui.app import GradpmApp
told = diagnosis(make_net(4, 1, folder={folder!r}))
app = GradpmApp([Path({path!r})], lambda trace: told)
{before}
app.run()
print("BACK", flush=True)
sys.exit(app.return_code or 0)
"""
EDITOR = """#!/bin/sh
echo "EDITED $@" > "{log}"
"""


class Terminal:
    """A child under a pty, its screen kept by pyte; bytes are counted."""

    def __init__(
        self, code: str, environ: dict[str, str], size: tuple[int, int] = (120, 36)
    ) -> None:
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execve(sys.executable, [sys.executable, "-c", code], environ)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.status: int | None = None

    def read(self, seconds: float) -> None:
        """Take what comes for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self.fd], [], [], left)
            if ready:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    return
                if not data:
                    return
                self.raw += data
                self.stream.feed(data.replace(b"\x1b[>", b"\x1b[?").replace(b"\x1b[<u", b""))

    def until(self, text: str, seconds: float = 15) -> None:
        """Wait for words on the screen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(0.05)
            if text in "\n".join(self.screen.display):
                return
        raise AssertionError(f"{text!r} never came:\n" + "\n".join(self.screen.display))

    def press(self, keys: str) -> int:
        """Send keys; how many bytes came back."""
        before = len(self.raw)
        os.write(self.fd, keys.encode())
        end, quiet = time.monotonic() + 5, 0
        while time.monotonic() < end and (len(self.raw) == before or quiet < 3):
            had = len(self.raw)
            self.read(0.1)
            quiet = quiet + 1 if len(self.raw) == had else 0
        return len(self.raw) - before

    def wait(self, seconds: float = 10) -> int:
        """The exit status."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
        raise AssertionError("it did not end")

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def given_back(raw: bytes) -> None:
    """The alternate screen, mouse, paste and cursor modes that were set are reset."""
    for on, off in (
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?1000h", b"\x1b[?1000l"),
        (b"\x1b[?2004h", b"\x1b[?2004l"),
        (b"\x1b[?25l", b"\x1b[?25h"),
    ):
        assert raw.rfind(off) > raw.rfind(on), f"{on!r} was never taken back"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Starts the app on a small run whose files are on disk."""
    net = make_net(4, 1, folder=str(tmp_path))
    for path, source in net.sources.items():
        if path.startswith(str(tmp_path)):
            Path(path).write_text(source)
    trace = net.write(tmp_path / "train.gpm")
    assert diagnosis(net).findings
    terminals: list[Terminal] = []

    def started(before: str = "", **more: str) -> Terminal:
        environ = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "VISUAL", "EDITOR")}
        environ |= {
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "TEXTUAL_ANIMATIONS": "none",
        }
        here = str(Path(__file__).parent)
        code = RUN.format(
            root=str(ROOT), here=here, folder=str(tmp_path), path=str(trace), before=before
        )
        terminals.append(Terminal(code, environ | more))
        return terminals[-1]

    yield started
    for terminal in terminals:
        terminal.close()


def test_open_move_search_editor_quit(start: object, tmp_path: Path) -> None:
    editor, log = tmp_path / "vim", tmp_path / "log"
    editor.write_text(EDITOR.format(log=log))
    editor.chmod(0o755)
    terminal = start(EDITOR=str(editor))  # type: ignore[operator]
    terminal.until("▶ 15          h = h.detach()")
    terminal.until("parameters")
    terminal.press("2")
    terminal.press("g")  # rows of modules: the source has nothing to follow
    assert terminal.press("j") < 2000, "moving down one row repaints two lines"
    terminal.press("/")
    terminal.press("gelu")
    terminal.until("F.gelu(self.fc1(self.ln2(x)))")
    terminal.press("\r")
    terminal.until("▶ 30")
    terminal.press("e")
    terminal.until("▶ 30")
    assert log.read_text().split() == [
        "EDITED", "+call", "cursor(30,1)", "--", str(tmp_path / "model.py"),
    ]  # fmt: skip
    terminal.press("q")
    assert terminal.wait() == 0
    assert "BACK" in "\n".join(terminal.screen.display)
    given_back(terminal.raw)


def test_ctrl_c_leaves_and_gives_the_terminal_back(start: object) -> None:
    terminal = start()  # type: ignore[operator]
    terminal.until("▶ 15")
    terminal.press("\x03")
    assert terminal.wait() == 0
    given_back(terminal.raw)


def test_so_does_a_crash_inside_the_app(start: object) -> None:
    terminal = start(  # type: ignore[operator]
        before="GradpmApp.action_copy = lambda self: 1 / 0"
    )
    terminal.until("▶ 15")
    terminal.press("y")
    assert terminal.wait() == 1
    assert b"ZeroDivisionError" in terminal.raw
    assert b"tells the same as text" in terminal.raw
    assert b"locals" not in terminal.raw, "no arrays of the trace"
    given_back(terminal.raw)


def test_so_does_being_told_to_end(start: object, tmp_path: Path) -> None:
    terminal = start(  # type: ignore[operator]
        before="import gradpm.tui; gradpm.tui.open_traces(app.paths)"
    )
    terminal.until("train.py")
    terminal.read(1)
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.wait() == -signal.SIGTERM, "whoever sent it sees that it was heeded"
    given_back(terminal.raw)


def test_ctrl_z_suspends_and_the_shell_resumes(start: object) -> None:
    terminal = start()  # type: ignore[operator]
    terminal.until("▶ 15")
    terminal.press("\x1a")
    _, status = os.waitpid(terminal.pid, os.WUNTRACED | os.WNOHANG)
    assert os.WIFSTOPPED(status)
    given_back(terminal.raw)
    before = len(terminal.raw)
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.read(1.5)
    assert b"\x1b[?1049h" in terminal.raw[before:], "it takes the terminal again"
    terminal.press("j")
    terminal.press("q")
    assert terminal.wait() == 0
    given_back(terminal.raw)


def test_no_color_sends_no_colour(start: object) -> None:
    import re

    terminal = start(NO_COLOR="1")  # type: ignore[operator]
    terminal.until("▶ 15")
    terminal.press("3")
    terminal.press("q")
    terminal.wait()
    codes = {
        code
        for match in re.findall(rb"\x1b\[([0-9;]*)m", terminal.raw)
        for code in match.split(b";")
    }
    assert codes <= {
        b"",
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
        b"7",
        b"22",
        b"23",
        b"24",
        b"27",
        b"39",
        b"49",
    }, codes


def test_an_editor_that_is_not_there_is_a_sentence(start: object) -> None:
    terminal = start(EDITOR="/no/such/editor")  # type: ignore[operator]
    terminal.until("▶ 15")
    terminal.press("e")
    terminal.until("Cannot start /no/such/editor")
    assert "▶ 15" in "\n".join(terminal.screen.display), "the terminal was taken back"
    terminal.press("/")
    terminal.press("\x03")  # in a text field too
    assert terminal.wait() == 0
    given_back(terminal.raw)


def test_no_terminal_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    trace = make_net(2, 1).write(tmp_path / "a b.gpm")
    command = [sys.executable, "-m", "gradpm", "open", str(trace)]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 71
    assert done.stdout == ""
    assert "the app needs a terminal" in done.stderr
    assert f"gradpm report '{trace}'" in done.stderr
    assert "\x1b" not in done.stderr
