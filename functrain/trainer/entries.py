"""One metric of a run: how it is treated, what came together, and what it is called. Touches values by operators."""

from __future__ import annotations

from typing import Any, NamedTuple

from functrain.kernel.metrics import Monoid, Running

TRAIN, VALIDATION = "train", "validation"
OF_LOADER = "/dataloader_idx_"

# Their stage's values are out when they are called, and nobody asks for what they log.
LATE_HOOKS = frozenset(
    ["on_train_end", "on_fit_end", "teardown"]
    + [f"on_{stage}_{when}" for stage in ("validation", "test", "predict") for when in ("end", "model_train")]
)


class Options(NamedTuple):
    """How one metric is treated; fixed by the first call that logs it in a hook. `sync_dist`: its value is that of all
    processes."""

    on_step: bool
    on_epoch: bool
    prog_bar: bool = False
    logger: bool = True
    reduce_fx: str = "mean"
    sync_dist: bool = False


Key = tuple[str | None, str]
"""A hook, and the name that it logs, with the loader's suffix."""


class Declared(NamedTuple):
    """A metric as a call of `self.log` declares it: by which hook, under which name, with which loader's suffix, and
    how it is treated."""

    hook: str
    base: str
    suffix: str
    options: Options

    @property
    def key(self) -> Key:
        """The hook, and the name with the suffix."""
        return self.hook, self.base + self.suffix


class Entry:
    """One metric of one hook in one stage.

    Attributes:
        stage, hook: the hook or step that logs it; None as long as only a checkpoint of before hooks were told apart
            knows it.
        base: its name as it was logged. `suffix` is the loader's, where there are several.
        given: the options as they were written last; None where a checkpoint has brought the entry.
        at: when it was logged last, counted in calls; 0 for not since the last reset.
        last: the value of the last step that logged it; None before.
        running: what came together over the epoch.
        metric: an object that accumulates by itself (torchmetrics), in place of `running`; `resets` is what empties it.
        closed: the metric object's value at its loader's end.
        each: every step's value goes to the loggers, as evaluations do it.
    """

    __slots__ = (
        "at", "base", "closed", "each", "given", "hook", "last", "lift", "merge", "metric", "monoid", "name", "options",
        "resets", "running", "stage", "suffix",
    )  # fmt: skip

    def __init__(self, stage: str, hook: str | None, base: str, suffix: str, options: Options, monoid: Monoid) -> None:
        self.stage, self.hook = stage, hook
        self.base, self.suffix, self.name = base, suffix, base + suffix
        self.given: tuple[Any, ...] | None = None
        self.each = False
        self.metric: Any = None
        self.resets: Any = None
        self.treat(options, monoid)
        self.empty()

    def treat(self, options: Options, monoid: Monoid) -> None:
        """Decide how values are brought together."""
        self.options, self.monoid = options, monoid
        self.lift, self.merge = monoid.lift, monoid.merge

    def empty(self) -> None:
        """Nothing was seen yet."""
        self.at = 0
        self.last: Any = None
        self.running: Running = self.monoid.empty
        self.closed: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which its values go out."""
        return (self.step_name,) * self.options.on_step + (self.epoch_name,) * self.options.on_epoch

    @property
    def step_name(self) -> str:
        return f"{self.base}_step{self.suffix}" if self.options.on_epoch else self.name

    @property
    def epoch_name(self) -> str:
        return f"{self.base}_epoch{self.suffix}" if self.options.on_step else self.name

    def reset(self) -> None:
        """A new epoch: nothing was seen, by the metric object neither."""
        self.empty()
        if self.resets is not None:
            self.resets.reset()

    def close(self) -> None:
        """The entry's loader has ended: what comes into its metric object now is another's."""
        if self.closed is None:
            self.closed = self._computed()

    def epoch_value(self) -> Any:
        """Return the value over the epoch so far; None where nothing was seen."""
        if not self.at:
            return None
        if self.metric is not None:
            return self._computed() if self.closed is None else self.closed
        if isinstance(self.running.weight, int | float) and not self.running.weight:
            return None
        return self.monoid.compute(self.running)

    def _computed(self) -> Any:
        value = self.metric.compute()
        if not isinstance(value, int | float) and getattr(value, "shape", None) is None:
            raise TypeError(
                f"self.log({self.name!r}, ...): {type(self.metric).__name__}.compute() returned "
                f"a {type(value).__name__}; log its parts, each by its name."
            )
        return scalar(self.name, value) if getattr(value, "ndim", 0) else value


def suffix_of(loader: int | None) -> str:
    """Return what the names of one of several loaders end with; nothing for None."""
    return "" if loader is None else f"{OF_LOADER}{loader}"


def is_of_loader(name: str, loader: int) -> bool:
    """Return whether this name is in a loader's results: what belongs to no single loader is in those of all."""
    return OF_LOADER not in name or name.endswith(suffix_of(loader))


def check_name(name: Any) -> None:
    """Raises TypeError where a metric cannot have this name."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"self.log({name!r}, ...): the name must be a non-empty str.")


def reduction(reduce_fx: Any) -> str:
    """Return the name of the monoid that a call asks for."""
    name = reduce_fx if isinstance(reduce_fx, str) else getattr(reduce_fx, "__name__", repr(reduce_fx))
    name = {"amax": "max", "amin": "min", "avg": "mean"}.get(name, name)
    if name not in ("mean", "sum", "max", "min"):
        raise ValueError(
            f"self.log(reduce_fx={reduce_fx!r}): must be 'mean', 'sum', 'min' or 'max'; log a metric object for "
            "anything else."
        )
    return name


def contradiction(first: Options, then: Declared) -> ValueError:
    """Return the error for one name that a hook logs in two ways."""
    (hook, name), second = then.key, then.options
    differ = [field for field in Options._fields if getattr(first, field) != getattr(second, field)]
    was, now = (", ".join(f"{field}={getattr(o, field)!r}" for field in differ) for o in (first, second))
    where = f" in {hook}" if hook else ""
    return ValueError(
        f"self.log({name!r}, ...): logged{where} with {was} before, and with {now} now; one name has the same options "
        "wherever a hook logs it. Give the second another name."
    )


def scalar(name: str, value: Any) -> Any:
    """Return an array of one element without its axes."""
    shape = tuple(value.shape)
    if any(n != 1 for n in shape):
        raise ValueError(f"self.log({name!r}, ...): the value has shape {shape}; log a scalar, such as value.mean().")
    return value.reshape(())


def widened(value: Any) -> Any:
    """Return a value of a type that is too narrow to add up in (bool, 8 or 16 bits), as 32-bit floating."""
    return value.float() if hasattr(value, "float") else value.astype("float32")
