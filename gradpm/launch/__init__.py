"""Starts the user's command as a child of the real interpreter, and tells how it ended.

Nothing of the user's program runs in gradpm's own process: argv, `sys.path`, signals,
atexit, fork and spawn are python's own. `boot/` is what reaches into the child.
"""

from gradpm.launch.child import Ended, leave_as, run
from gradpm.launch.command import Command, work_out
from gradpm.launch.naming import choose, siblings, traces_of

__all__ = ["Command", "Ended", "choose", "leave_as", "run", "siblings", "traces_of", "work_out"]
