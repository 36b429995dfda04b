"""A World of real processes that are joined by sockets of this machine: the first one collects, and hands out."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from typing import Any


class Pipes:
    """Every verb is one exchange: each process sends what it has, the first answers all with what they have together.

    Args:
        rank: this process; the first one listens.
        address: where, a path that nothing stands at.
        ready: called by the first one as soon as the others can find it.
    """

    def __init__(self, rank: int, size: int, address: str, ready: Callable[[], None]) -> None:
        self.rank = rank
        self.size = size
        self.calls: list[str] = []
        if rank:
            ready()
            self._others: list[Connection] = [Client(address)]
            self._others[0].send(rank)
            return
        with Listener(address) as listener:
            ready()
            found = [listener.accept() for _ in range(1, size)]
        self._others = sorted(found, key=lambda other: other.recv())

    def close(self) -> None:
        """Whoever waits for this process now is told that it is gone."""
        for other in self._others:
            other.close()

    def _exchange(self, verb: str, value: Any, together: Callable[[list[Any]], Any]) -> Any:
        self.calls.append(verb)
        if self.rank:
            self._others[0].send((verb, value))
            return self._others[0].recv()
        told = [(verb, value), *(other.recv() for other in self._others)]
        assert {name for name, _ in told} == {verb}, f"the processes call {[name for name, _ in told]} at one time"
        result = together([given for _, given in told])
        for other in self._others:
            other.send(result)
        return result

    def agree(self, flags: int) -> int:
        def union(all_flags: list[int]) -> int:
            result = 0
            for each in all_flags:
                result |= each
            return result

        return self._exchange("agree", flags, union)

    def broadcast(self, value: Any) -> Any:
        return self._exchange("broadcast", None if self.rank else value, lambda values: values[0])

    def gather(self, value: Any) -> list[Any]:
        return self._exchange("gather", value, list)

    def sum(self, tree: Any) -> Any:
        return self._exchange("sum", tree, _sum)

    def barrier(self) -> None:
        self._exchange("barrier", None, lambda _: None)


def _sum(trees: list[Any]) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {key: _sum([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_sum(list(leaves)) for leaves in zip(*trees, strict=True))
    return sum(trees[1:], first)
