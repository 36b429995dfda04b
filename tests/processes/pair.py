"""Two processes that run what a test asks for, as parts of one World. They are started once, as imports take long."""

from __future__ import annotations

import os
import tempfile
import traceback
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from functrain.trainer import world
from tests.processes import programs
from tests.processes.pipes import Pipes

SIZE = 2
PATIENCE = 120
"""Seconds after which a process that says nothing is taken for one that waits for ever."""


class Pair:
    """Two processes of one framework.

    Args:
        framework: 'torch' or 'jax'.
    """

    def __init__(self, framework: str) -> None:
        start = get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(SIZE):
            here, there = start.Pipe()
            process = start.Process(target=_serve, args=(there, rank, framework), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    def run(self, name: str, folder: Any, **arguments: Any) -> list[Any]:
        """What the function of this name (of `programs`; 'file.name' of another file) returns in each process;
        `arguments` that are a list of two are one for each.

        Raises:
            AssertionError: one of them fails; holds what each has to say.
        """
        told = self.outcomes(name, folder, **arguments)
        assert all(kind == "returned" for kind, _ in told), "\n".join(str(value) for _, value in told)
        return [value for _, value in told]

    def outcomes(self, name: str, folder: Any, **arguments: Any) -> list[tuple[str, Any]]:
        """The same, with 'returned' and the value, or 'raised' and the error, of each."""
        with tempfile.TemporaryDirectory() as place:
            for rank, pipe in enumerate(self.pipes):
                own = {key: value[rank] if isinstance(value, list) else value for key, value in arguments.items()}
                pipe.send((name, str(folder), os.path.join(place, "socket"), own))
                assert self._told(rank) == "ready"  # the first listens before the second calls
            return [self._told(rank) for rank in range(SIZE)]

    def _told(self, rank: int) -> Any:
        assert self.pipes[rank].poll(PATIENCE), f"process {rank} says nothing"
        return self.pipes[rank].recv()

    def close(self) -> None:
        """End the processes."""
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.close()
            process.join(PATIENCE)


def _serve(pipe: Connection, rank: int, framework: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(SIZE), LOCAL_RANK=str(rank), NODE_RANK="0")
    programs.choose(framework)
    joined: list[Pipes] = []
    world.register(lambda ranks: joined[-1] if joined else None)
    while True:
        try:
            name, folder, address, arguments = pipe.recv()
        except EOFError:
            return
        joined[:] = [Pipes(rank, SIZE, address, lambda: pipe.send("ready"))]
        try:
            place, _, function = name.rpartition(".")
            module = import_module(f"tests.processes.{place or 'programs'}")
            result = ("returned", getattr(module, function)(folder, **arguments))
        except BaseException as error:
            result = ("raised", f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        finally:
            joined[0].close()
        pipe.send(result)
