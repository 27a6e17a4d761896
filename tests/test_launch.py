"""A command under `gradpm run` is the command itself: what it sees, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import GRADPM, ROOT, STUB_TORCH, assert_same, both, environment, execute, under

from gradpm.errors import OutputError, ScriptNotFound, UsageError
from gradpm.launch import choose, traces_of, work_out
from gradpm.launch.child import BOOT
from gradpm.trace.model import Trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the user's, with a torch that costs nothing to import."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(STUB_TORCH)
    return tmp_path


def script(folder: Path, text: str, name: str = "train.py") -> list[str]:
    (folder / name).write_text("import torch\n" + text)
    return [name]


SEEN = {
    "argv": "import sys; print(sys.argv)",
    "path": "import sys; print(sys.path)",
    "flags": "import sys; print(sys.flags, sys.warnoptions, sys._xoptions)",
    "main": "import sys; print(__name__, __file__, __spec__, sys.modules['__main__'].__file__)",
    "modules": "import sys; print('sitecustomize' in sys.modules, 'usercustomize' in sys.modules)",
    "meta_path": "import sys; print([f if isinstance(f, type) else type(f) for f in sys.meta_path])",
    "loader": "print(type(torch.__loader__), torch.__spec__.origin, vars(torch.__loader__))",
    "environ": "import os; print(sorted(os.environ.items()))",
    "fds": "import os; print(sorted(os.listdir('/dev/fd')))",
    "signals": (
        "import signal; print([signal.getsignal(n) for n in signal.valid_signals() "
        "if n not in (9, 19)], signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    ),
    "atexit": "import atexit; atexit.register(print, 'bye'); print(atexit._ncallbacks())",
    "threads": "import threading; print([t.name for t in threading.enumerate()])",
    "traceback": "def f(): return 1 / 0\nf()",
    "exit status": "raise SystemExit(7)",
    "exit text": "raise SystemExit('no data')",
    "os._exit": "import os; print('x', flush=True); os._exit(5)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "aborted": "import os; os.abort()",
    "interrupted": "raise KeyboardInterrupt",
    "stdin": "print(input(), input())",
    "warnings": "import warnings; [warnings.warn('w', stacklevel=1) for _ in range(3)]",
    "fork": "import os; p = os.fork(); p and os.waitpid(p, 0); print(p == 0, flush=True)",
    "failing import": "import importlib; import nowhere",
    "process group": "import os; print(os.getpgrp() == os.getpid(), os.isatty(0))",
    "parent survives": "import os; print(os.getcwd(), os.umask(0))",
    "frozen spec": "import importlib.util as u; print(type(u.find_spec('torch').loader))",
    "recursion": "import sys; print(len(sys._current_frames()), sys.getrecursionlimit())",
    "subprocess": (
        "import subprocess, sys\n"
        "for env in (None, {'A': 'b'}):\n"
        "    print(subprocess.run([sys.executable, '-c', 'import sys, os; print(sys.path, "
        'sorted(n for n in os.environ if n.startswith(("GRADPM", "PYTHON"))))\'], '
        "env=env, capture_output=True, text=True))"
    ),
    "spawn": (
        "import multiprocessing as m, sys\n"
        "def f(q): q.put((sys.path, sys.argv, __name__))\n"
        "if __name__ == '__main__':\n"
        "    c = m.get_context('spawn'); q = c.Queue(); p = c.Process(target=f, args=(q,))\n"
        "    p.start(); print(q.get()); p.join(); print(p.exitcode)"
    ),
    "execv": (
        "import os, sys\n"
        "if len(sys.argv) < 3: os.execv(sys.executable, [sys.executable, *sys.argv, 'again', '2'])\n"
        "print(sys.argv, sys.path)"
    ),
}


@pytest.mark.parametrize("what", SEEN)
def test_a_script_sees_and_does_the_same_as_under_plain_python(folder: Path, what: str) -> None:
    words = script(folder, SEEN[what])
    assert_same([*words, "--lr", "0.1", "--help"], folder, "one\ntwo\n")


@pytest.mark.parametrize("path", ["elsewhere", "elsewhere:more", ":elsewhere"])
def test_the_users_pythonpath_is_as_it_was(folder: Path, path: str) -> None:
    words = script(folder, "import os, sys; print(os.environ['PYTHONPATH'], sys.path)")
    assert_same(words, folder, PYTHONPATH=path)


def test_module_code_stdin_and_packages_run_as_python_runs_them(folder: Path) -> None:
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").touch()
    told = "import torch, sys; print(__name__, sys.argv, sys.path)"
    (folder / "pkg" / "__main__.py").write_text(told)
    for words in (["-m", "pkg", "--help"], ["-c", told, "-m"], ["-", "x"], ["pkg", "y"]):
        assert_same(words, folder, told)


def test_a_command_that_runs_python_with_options_is_reached(folder: Path) -> None:
    script(folder, "import sys; print(sys.flags.optimize, sys.argv)")
    ran = under(["run", sys.executable, "-O", "train.py", "-o", "x"], folder)
    assert (ran.status, ran.out) == (0, "1 ['train.py', '-o', 'x']\n")


def test_the_users_own_sitecustomize_runs_and_is_the_one_in_modules(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "own" / "sitecustomize.py").write_text(
        "import sys; sys.times = 1 + getattr(sys, 'times', 0)"
    )
    told = "import sitecustomize as s, sys; print(s.__file__, s.__spec__.name, 'times', sys.times)"
    words = script(folder, told)
    assert (
        "own/sitecustomize.py sitecustomize times 1"
        in assert_same(words, folder, PYTHONPATH=str(folder / "own")).out
    )


def test_a_failing_sitecustomize_of_the_users_fails_as_without(folder: Path) -> None:
    (folder / "own").mkdir()
    (folder / "own" / "sitecustomize.py").write_text("raise ValueError('broken')")
    words = script(folder, "import sys; print('sitecustomize' in sys.modules)")
    plain, watched = both(words, folder, PYTHONPATH=str(folder / "own"))
    assert watched.out == plain.out == "False\n"
    assert watched.own_err == plain.err * 2  # gradpm's own interpreter has it, too


def test_a_descriptor_that_the_shell_opened_reaches_the_script(folder: Path) -> None:
    words = script(folder, "import os; print(os.read(3, 9))")
    (folder / "data").write_text("three")
    command = " ".join([*GRADPM, "run", *words, "3<data"])
    ran = execute(["sh", "-c", command], folder, PYTHONPATH=str(ROOT))
    assert ran.out == "b'three'\n"


def test_a_stream_that_was_closed_is_closed_for_the_script(folder: Path) -> None:
    words = script(folder, "import sys, os; os.write(9, f'{sys.stdout} {sys.stderr}'.encode())")
    for closed, seen in ((">&-", "None <"), ("2>&-", "<"), (">&- 2>&-", "None None")):
        command = " ".join([*GRADPM, "run", *words, "9>seen", closed])
        ran = execute(["sh", "-c", command], folder, PYTHONPATH=str(ROOT))
        assert (ran.status, ran.out) == (0, "")
        assert (folder / "seen").read_text().startswith(seen)


def fake_recorder(home: Path) -> Path:
    """A home whose gradpm only prints what it is told."""
    (home / "gradpm").mkdir(parents=True)
    (home / "gradpm" / "__init__.py").touch()
    (home / "gradpm" / "record.py").write_text(
        "import os, sys\n"
        "def start(trace, options):\n"
        "    root = options['root_pid'] == os.getpid()\n"
        "    print('START', trace, root, options['run'], sys.argv[-1], flush=True)\n"
    )
    return home


def booted(folder: Path, words: list[str], home: Path) -> str:
    """The output of python WORDS with the boot in front and the recorder of `home`."""
    return execute(
        [sys.executable, *words],
        folder,
        PYTHONPATH=str(BOOT),
        GRADPM_TRACE="/t.gpm",
        GRADPM_OPTIONS=json.dumps({"run": "r1"}),
        GRADPM_HOME=str(home),
        GRADPM_PARENT=str(os.getpid()),
        GRADPM_SIGNS="",
    ).out


def test_the_recorder_starts_when_torch_is_complete_and_only_then(folder: Path) -> None:
    home = fake_recorder(folder / "home")
    (folder / "t.py").write_text("print('before')\nimport torch\nprint('after')\nimport torch")
    assert booted(folder, ["t.py"], home) == "before\nSTART /t.gpm True r1 t.py\nafter\n"


def test_every_kind_of_child_is_reached_and_known_as_no_root(folder: Path) -> None:
    home = fake_recorder(folder / "home")
    (folder / "t.py").write_text(
        "import os, subprocess, sys\n"
        "def c(n): return [sys.executable, '-c', 'import torch', n]\n"
        "subprocess.run(c('inherited'))\n"
        "subprocess.run(c('copied'), env=os.environ.copy())\n"
        "subprocess.run(c('empty'), env={})\n"
        "subprocess.run(c('posix'), env=os.environ, close_fds=False)\n"
        "os.system(' '.join(repr(w) for w in c('shell')).replace('import torch', 'import torch'))\n"
        "os.spawnve(os.P_WAIT, sys.executable, c('spawnve'), dict(os.environ))\n"
        "os.environ['PYTHONPATH'] = 'changed'\n"
        "subprocess.run(c('changed'))\n"
        "os.execve(sys.executable, c('execve'), dict(os.environ))\n"
    )
    told = booted(folder, ["t.py"], home).splitlines()
    names = ["inherited", "copied", "empty", "posix", "shell", "spawnve", "changed"]
    expected = [f"START /t.gpm False r1 {name}" for name in names]
    assert told == [*expected, "START /t.gpm True r1 execve"]


def test_looking_for_torch_is_not_importing_it(folder: Path) -> None:
    home = fake_recorder(folder / "home")
    (folder / "t.py").write_text(
        "import importlib.util as u\nprint(u.find_spec('torch').loader is not None)\nimport torch"
    )
    assert booted(folder, ["t.py"], home) == "True\nSTART /t.gpm True r1 t.py\n"


def test_a_torch_that_fails_to_import_fails_as_without(folder: Path) -> None:
    (folder / "torch" / "__init__.py").write_text("import nowhere\n")
    assert "ModuleNotFoundError" in assert_same(script(folder, ""), folder).err


def test_a_faulty_recorder_says_one_line_and_the_script_goes_on(folder: Path) -> None:
    home = fake_recorder(folder / "home")
    (home / "gradpm" / "record.py").write_text("def start(*a): raise SystemExit(3)")
    words = script(folder, "print('went on')")
    assert booted(folder, words, home) == "went on\n"


def waiting(folder: Path, handler: str) -> subprocess.Popen[str]:
    """A watched script that counts the signals it gets, started and ready."""
    script(
        folder,
        "import signal, time\ngot = []\n"
        f"{handler}\nprint('ready', flush=True)\n"
        "end = time.time() + 1.5\n"
        "while time.time() < end: time.sleep(0.02)\nprint(got)",
    )
    process = subprocess.Popen(
        [*GRADPM, "run", "train.py"],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_a_signal_sent_to_gradpm_reaches_the_script_once(folder: Path, name: str) -> None:
    process = waiting(folder, f"signal.signal(signal.{name}, lambda n, f: got.append(n))")
    process.send_signal(signal.Signals[name])
    out, _ = process.communicate(timeout=60)
    assert out == f"[{int(signal.Signals[name])}]\n"
    assert process.returncode == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_that_ends_the_script_ends_gradpm_so(folder: Path, name: str) -> None:
    process = waiting(folder, "")
    process.send_signal(signal.Signals[name])
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.Signals[name]
    assert "gradpm/launch" not in err


def test_ctrl_c_in_a_terminal_reaches_the_script_once(folder: Path) -> None:
    script(
        folder,
        "import signal, time\ngot = []\n"
        "signal.signal(signal.SIGINT, lambda n, f: got.append(n))\nprint('ready', flush=True)\n"
        "end = time.time() + 1.5\nwhile time.time() < end: time.sleep(0.02)\nprint(got)",
    )
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(
            sys.executable,
            [*GRADPM, "run", "train.py"],
            environment(PYTHONPATH=str(ROOT)),
        )
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    try:
        while piece := os.read(terminal, 1000):
            seen += piece
    except OSError:  # Linux's way to say that the other side is gone
        pass
    os.waitpid(child, 0)
    assert b"[2]\r\n" in seen, seen


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_killing_gradpm_kills_the_training(folder: Path) -> None:
    process = waiting(folder, "")
    process.kill()
    began = time.monotonic()
    process.communicate(timeout=60)  # ends when nobody holds the pipe any more
    assert time.monotonic() - began < 1


def test_python_without_site_is_told_so(folder: Path) -> None:
    for option in ("-S", "-I", "-E"):
        words = script(folder, "", "train.py") if option == "-E" else ["empty.py"]
        (folder / "empty.py").touch()
        ran = under(["run", sys.executable, option, *words], folder)
        assert ran.status == 78
        assert "-S, -I and -E" in ran.err


def test_a_script_without_torch_and_a_python_without_torch_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("print(1)")
    (tmp_path / "fails.py").write_text("raise SystemExit(4)")
    (tmp_path / "torch.pth").touch()
    hide = "import sys\nsys.path = [p for p in sys.path if 'site-packages' not in p]\nimport torch"
    (tmp_path / "needs.py").write_text(hide)
    assert under(["run", "plain.py"], tmp_path).status == 65
    assert under(["run", "fails.py"], tmp_path).status == 4
    ran = under(["run", "needs.py"], tmp_path)
    assert ran.status == 69
    assert "No module named 'torch'" in ran.err
    assert "has no torch" in ran.err
    assert not list(tmp_path.glob("*.gpm"))


def test_torch_without_autograd_keeps_the_status(tmp_path: Path) -> None:
    plain, watched = both(script(tmp_path, "print(torch.ones(2))\nraise SystemExit(3)"), tmp_path)
    assert (watched.status, watched.out) == (plain.status, plain.out) == (3, "tensor([1., 1.])\n")
    assert "nothing wrong in 0 engine calls" in watched.err


def test_a_torch_that_is_none_switches_recording_off_with_one_line(folder: Path) -> None:
    ran = under(["run", *script(folder, "print('hello')")], folder)
    assert (ran.status, ran.out) == (0, "hello\n")
    assert ran.err.count("gradpm:") == ran.err.count("recording is off") == 1


def test_nothing_is_left_behind(folder: Path) -> None:
    (folder / "tmp").mkdir()
    under(["run", *script(folder, "")], folder, TMPDIR=str(folder / "tmp"))
    assert list((folder / "tmp").iterdir()) == []


# --- working out the command and the name


def test_what_to_run_and_what_to_call_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.train.py").touch()
    stems = {
        ("my.train.py", "--x"): "my.train",
        ("-m", "pkg.sub.train", "-q"): "train",
        ("-mpkg",): "pkg",
        ("-m", "torch.distributed.run", "--n", "2", "my.train.py"): "my.train",
        (sys.executable, "-m", "torch.distributed.run", "--n", "2", "my.train.py"): "my.train",
        ("-c", "import torch"): "command",
        ("-",): "stdin",
        (sys.executable, "-O", "my.train.py"): "my.train",
        (sys.executable, "-m", "pkg.go"): "go",
        ("env", "A=1"): "env",
    }
    assert {words: work_out(words).stem for words in stems} == stems
    assert work_out(["my.train.py", "-o"]).argv == (sys.executable, "my.train.py", "-o")
    assert os.path.isabs(work_out(["env"]).argv[0])


def test_a_file_for_another_program_is_run_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "go.sh").write_text("#!/bin/sh\nexec python train.py\n")
    (tmp_path / "go").write_text("#!/usr/bin/env python3\nimport torch\n")
    (tmp_path / "bare").write_text("import torch\n")
    with pytest.raises(UsageError, match="not for python but for /bin/sh"):
        work_out(["go.sh"])
    for name in ("go.sh", "bare"):
        (tmp_path / name).chmod(0o755)
    assert work_out(["go.sh", "-x"]).argv == ("./go.sh", "-x")
    assert work_out(["go"]).argv == (sys.executable, "go")
    assert work_out(["bare"]).argv == (sys.executable, "bare")


def test_what_does_not_exist_is_named_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    for wrong in ("trian.py", "trainn"):
        with pytest.raises(ScriptNotFound) as caught:
            work_out([wrong])
        assert wrong in caught.value.sentence
        assert "train.py" in caught.value.hint
    for words in ([], ["-m"], ["-c"]):
        with pytest.raises(UsageError):
            work_out(words)


def test_a_trace_is_numbered_rather_than_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    assert choose("train", None, force=False) == tmp_path / "train.gpm"
    (tmp_path / "train.rank0.gpm").touch()
    assert choose("train", None, force=False).name == "train-2.gpm"
    (tmp_path / "train-2.gpm").touch()
    assert choose("train", None, force=False).name == "train-3.gpm"
    assert choose("train", None, force=True).name == "train.gpm"
    assert choose("train", str(tmp_path), force=False).name == "train-3.gpm"
    monkeypatch.setenv("RANK", "1")
    assert choose("train", None, force=False).name == "train.gpm"


def test_two_runs_at_once_have_a_file_each(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import os, time, torch\nopen(f'here{os.getpid()}', 'w').close()\n"
        "while sum(name.startswith('here') for name in os.listdir('.')) < 2: time.sleep(0.02)\n"
        "(torch.ones(2, requires_grad=True) * 2).sum().backward()\n"
    )
    words = [*GRADPM, "run", "train.py"]
    env = environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    both_runs = [subprocess.Popen(words, cwd=tmp_path, env=env) for _ in range(2)]
    assert [run.wait(timeout=120) for run in both_runs] == [0, 0]
    found = [Trace(tmp_path / name) for name in ("train.gpm", "train-2.gpm")]
    assert len({trace.meta["pid"] for trace in found}) == 2


def test_python_stays_and_asks_once_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import torch\nx = torch.ones(2, requires_grad=True)\n")
    asked = "(x * 3).sum().backward()\nprint(x.grad)\n"
    assert_same(["train.py"], tmp_path, asked, PYTHONINSPECT="1")


def test_a_place_that_cannot_be_written_is_said_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for bad in ("nowhere/t.gpm", "file/t.gpm"):
        with pytest.raises(OutputError):
            choose("train", str(tmp_path / bad), force=False)
    (tmp_path / "train.py").write_text("print('ran')")
    ran = under(["run", "-o", "nowhere/t.gpm", "train.py"], tmp_path)
    assert (ran.status, ran.out) == (73, "")


def test_where_nothing_can_be_written_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    monkeypatch.chdir("/proc" if Path("/proc").exists() else "/dev/fd")
    assert choose("train", None, force=False) == tmp_path / "elsewhere" / "train.gpm"
    with pytest.raises(OutputError):
        choose("train", "here.gpm", force=False)


def test_a_runs_traces_are_those_written_since(tmp_path: Path) -> None:
    names = ["t.gpm", "t.pid7.gpm", "t.rank2.gpm", "t.rank10.gpm"]
    for name in (*names, "t.rank3.gpm", "t2.rank1.gpm", "t.rank4.txt"):
        (tmp_path / name).write_text("x")
    os.utime(tmp_path / "t.rank3.gpm", (1, 1))
    (tmp_path / "t.rank5.gpm").touch()
    found = traces_of(tmp_path / "t.gpm", time.time())
    assert [path.name for path in found] == names
