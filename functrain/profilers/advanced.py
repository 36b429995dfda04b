"""Which functions the time of each action goes to."""

from __future__ import annotations

import io
import pstats
from cProfile import Profile
from typing import Any

from functrain import files
from functrain.trainer.errors import ConfigurationError
from functrain.trainer.narrow import is_number
from functrain.trainer.profiler import Path, Profiler


class AdvancedProfiler(Profiler):
    """Measures the functions that each action calls, by Python's own cProfile, and tells them by their cumulative time.

    Where an action lies within another, the functions are listed with the inner one alone. It makes calls of Python
    several times as slow: what is to be trusted are the proportions, and `SimpleProfiler` for times.

    Args:
        dirpath: the directory of the report; default: that of the run's first logger, else `default_root_dir`.
        filename: the report is added to the file `<stage>-<filename>.txt` there. Without both it is printed.
        line_count_restriction: how many functions of each action are told: an int number of them, or a float from 0.0
            to 1.0, a part of them.
        dump_stats: also write what was measured of each action to `<stage>-<filename>-<action>.prof`, which pstats and
            the viewers of its files open.

    Raises:
        ConfigurationError: an impossible `line_count_restriction`.
    """

    def __init__(
        self,
        dirpath: Path | None = None,
        filename: str | None = None,
        line_count_restriction: float = 1.0,
        dump_stats: bool = False,
    ) -> None:
        super().__init__(dirpath, filename)
        value = line_count_restriction
        is_part = isinstance(value, float) and 0.0 <= value <= 1.0
        is_possible = is_number(value) and (is_part or (isinstance(value, int) and value >= 0))
        if not is_possible:
            raise ConfigurationError(
                f"AdvancedProfiler(line_count_restriction={value!r}): must be an int >= 0 (functions) or a float from "
                "0.0 to 1.0 (a part of them)."
            )
        self.line_count_restriction = value
        self.dump_stats = dump_stats
        self.profiled_actions: dict[str, Profile] = {}
        self._open: list[str] = []
        self._told = False

    def start(self, action_name: str) -> None:
        """An action begins; that around it waits."""
        self._pause()
        self._open.append(action_name)
        self._go_on()

    def stop(self, action_name: str) -> None:
        """An action ends, and that around it goes on.

        Raises:
            ValueError: it is not the one that began last.
        """
        if not self._open or self._open[-1] != action_name:
            under_way = f"{self._open[-1]!r} is under way" if self._open else "none is under way"
            raise ValueError(f"AdvancedProfiler.stop({action_name!r}): this action was never started; {under_way}.")
        self._pause()
        self._open.pop()
        self._go_on()

    def _pause(self) -> None:
        if self._open:
            self.profiled_actions[self._open[-1]].disable()

    def _go_on(self) -> None:
        if self._open:
            self.profiled_actions.setdefault(self._open[-1], Profile()).enable()

    def setup(self, stage: str | None = None, local_rank: int | None = None, log_dir: str | None = None) -> None:
        """A run begins: what was told of the one before is forgotten, and what an exception has left under way."""
        super().setup(stage, local_rank, log_dir)
        self._pause()
        self._open = []
        if self._told:
            self.profiled_actions, self._told = {}, False

    def teardown(self, stage: str | None = None) -> None:
        """The run is over; its numbers stay until the next begins."""
        super().teardown(stage)
        self._told = True

    def summary(self) -> str:
        """Return the functions of each action; empty where nothing was measured."""
        self._pause()  # to read one of them ends the measuring of all
        told = [self._of_action(name, profile) for name, profile in self.profiled_actions.items()]
        self._go_on()
        if not told:
            return ""
        stage = f"{self._stage.upper()} " if self._stage else ""
        return "\n".join([f"{stage}Profiler Report", *told])

    def _of_action(self, name: str, profile: Profile) -> str:
        text = io.StringIO()
        stats = pstats.Stats(profile, stream=text).strip_dirs().sort_stats("cumulative")
        stats.print_stats(self.line_count_restriction)
        return f"Profile stats for: {name}\n{text.getvalue().strip()}\n"

    def describe(self) -> None:
        """Tell the report; write the statistics too where `dump_stats` says so.

        Raises:
            OSError: a file cannot be written. The message names it.
        """
        super().describe()
        if not self.dump_stats:
            return
        for name, profile in self.profiled_actions.items():
            with files.atomic_write(self.place(".prof", action_name=name)) as file:
                file.write(_dumped(profile))

    def __getstate__(self) -> dict[str, Any]:
        # What cProfile has measured stays in this process.
        return {**vars(self), "profiled_actions": {}, "_open": []}


def _dumped(profile: Profile) -> bytes:
    """Return the bytes of the file that pstats reads."""
    import marshal

    profile.create_stats()
    return marshal.dumps(profile.stats)  # type: ignore[attr-defined]
