"""Which source a process runs: the revision of its main script, as git knows it. Git is asked once; nothing fails."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from typing import NamedTuple

SECONDS = 5.0
"""So long git may think about a large repository."""


class Source(NamedTuple):
    """What git says of a folder.

    Attributes:
        revision: the commit; None where there is none.
        clean: no file that git knows differs from it, and the main script is one of those; None where nobody knows.
        why: why one of them is None, or what is not clean; "" where there is nothing to say.
    """

    revision: str | None
    clean: bool | None
    why: str = ""


def main_script() -> str | None:
    """Return the path of the script that this process runs; None in an interpreter, and for one that was installed,
    such as pytest's."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(path, str):
        return None
    path = os.path.abspath(path)
    prefixes = {os.path.abspath(prefix) + os.sep for prefix in (sys.prefix, sys.base_prefix)}
    return None if any(path.startswith(prefix) for prefix in prefixes) else path


def source() -> Source:
    """Return what git says of the folder of the main script, else of the current directory."""
    script = main_script()
    return _source_of(os.path.dirname(script) if script else os.getcwd(), script)


@cache
def _source_of(folder: str, script: str | None) -> Source:
    try:
        # Of untracked files only the script counts: data and logs are often among them.
        status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
        if status is None:
            return Source(None, None, f"no git repository at {folder}")
        lines = status.splitlines()
        revision = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
        if revision == "(initial)":
            return Source(None, False, "nothing is committed yet")
        changed = [line for line in lines if line and not line.startswith("#")]
        if changed:
            return Source(revision, False, f"changed files: {len(changed)}")
        if script is not None and _git(folder, "ls-files", "--error-unmatch", "--", script) is None:
            return Source(revision, False, f"git does not know {os.path.basename(script)}")
        return Source(revision, True)
    except subprocess.TimeoutExpired:
        return Source(None, None, f"git took longer than {SECONDS:g} s")
    except (OSError, ValueError) as error:
        return Source(None, None, f"git cannot be asked ({type(error).__name__}: {error})")


def _git(folder: str, *command: str) -> str | None:
    """Return what git prints; None where it says no. It changes nothing, asks nobody and runs no helper."""
    # What says where the repository is may have been meant for another one, as in a hook of git's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", "-C", folder, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        timeout=SECONDS,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
