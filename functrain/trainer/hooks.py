"""The hook table, and who overrides what: resolved once, at the start of a run. Touches no framework.

A hook that nobody overrides is `None` in the resolved table, so asking costs an attribute. A hook gets those of its
documented arguments that its own signature takes, by name; older names of an argument count as that argument.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Protocol, TypeVar

from functrain.trainer.spans import Span, unmeasured

MODULE, CALLBACK, DATA = "module", "callback", "data"
Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook.

    Attributes:
        name: the method's name.
        args: its documented arguments, after `self` (a callback's are preceded by `trainer, pl_module`).
        owners: who may define it: module, callback, data.
        doc: when it is called or what it does, in one sentence; the written methods say the same.
        per_batch: it is called at every training batch, so overriding it brings the host in at every batch.
        rest: an owner's `*args` takes all arguments; else only those that are named get theirs.
    """

    name: str
    args: tuple[str, ...]
    owners: tuple[str, ...]
    doc: str
    per_batch: bool = False
    rest: bool = True


BOTH = (CALLBACK, MODULE)
LOADERS = (DATA, MODULE)


def _stage(stage: str) -> tuple[Hook, ...]:
    """Return the hooks of one evaluation stage, in order."""
    batch = ("batch", "batch_idx", "dataloader_idx")
    loader = {"validation": "val"}.get(stage, stage)
    return (
        Hook(f"on_{loader}_dataloader", (), (MODULE,), f"The {stage} loader is about to be asked for."),
        Hook(f"on_{stage}_model_eval", (), (MODULE,), f"Put the model into evaluation mode, before the {stage} stage."),
        Hook(f"on_{stage}_start", (), BOTH, f"The {stage} stage begins."),
        Hook(f"on_{stage}_epoch_start", (), BOTH, f"The {stage} epoch begins."),
        Hook(f"on_{stage}_batch_start", batch, BOTH, f"A {stage} batch begins; it is not yet on the device."),
        Hook(f"on_{stage}_batch_end", ("outputs", *batch), BOTH, f"A {stage} batch ends."),
        Hook(f"{stage}_epoch_end", ("outputs",), (MODULE,), f"Get the outputs of all {stage} steps."),
        Hook(f"on_{stage}_epoch_end", ("outputs",), BOTH, f"The {stage} epoch ends."),
        Hook(f"on_{stage}_end", (), BOTH, f"The {stage} stage ends."),
        Hook(
            f"on_{stage}_model_train",
            (),
            (MODULE,),
            f"Put the model back into the mode that it had before the {stage} stage.",
        ),
    )


_BATCH = ("batch", "batch_idx", "dataloader_idx")

# In the order in which a fit calls them for the first time; the evaluation stages follow.
HOOKS: tuple[Hook, ...] = (
    Hook("on_init_start", (), (CALLBACK,), "The Trainer's construction begins."),
    Hook("on_init_end", (), (CALLBACK,), "The Trainer's construction ends."),
    Hook("prepare_data", (), LOADERS, "Download and prepare the data, on one process only."),
    Hook("configure_callbacks", (), (MODULE,), "Return callbacks of the module's own."),
    Hook("on_before_accelerator_backend_setup", (), (CALLBACK,), "The device is about to be set up."),
    Hook("on_fit_start", (), BOTH, "A fit begins."),
    Hook("setup", ("stage",), (DATA, CALLBACK, MODULE), "A stage begins: 'fit', 'validate', 'test' or 'predict'."),
    Hook("configure_sharded_model", (), (MODULE,), "Build large layers where they will live."),
    Hook("on_post_move_to_device", (), (MODULE,), "The parameters are on their device."),
    Hook("configure_optimizers", (), (MODULE,), "Return the optimizers and their schedulers."),
    Hook("on_load_checkpoint", ("checkpoint",), (DATA, CALLBACK, MODULE), "A checkpoint is being loaded."),
    Hook("on_pretrain_routine_start", (), BOTH, "The sanity check is about to be prepared."),
    Hook("on_pretrain_routine_end", (), BOTH, "All is set up for the sanity check."),
    Hook("on_sanity_check_start", (), (CALLBACK,), "The sanity check begins."),
    Hook("on_sanity_check_end", (), (CALLBACK,), "The sanity check ends."),
    Hook("on_train_dataloader", (), (MODULE,), "The training loader is about to be asked for."),
    Hook("on_train_start", (), BOTH, "Training begins."),
    Hook("on_epoch_start", (), BOTH, "A training epoch begins."),
    Hook("on_train_epoch_start", (), BOTH, "A training epoch begins."),
    Hook("on_batch_start", (), BOTH, "A training batch begins.", per_batch=True),
    Hook(
        "on_train_batch_start",
        _BATCH,
        BOTH,
        "A training batch begins; return -1 to skip the rest of the epoch.",
        per_batch=True,
    ),
    Hook(
        "on_before_batch_transfer",
        ("batch", "dataloader_idx"),
        LOADERS,
        "Return the batch as it is to be moved to the device.",
    ),
    Hook(
        "transfer_batch_to_device",
        ("batch", "device", "dataloader_idx"),
        LOADERS,
        "Return the batch, moved to the device.",
    ),
    Hook(
        "on_after_batch_transfer",
        ("batch", "dataloader_idx"),
        LOADERS,
        "Return the batch as the step is to get it, after it was moved.",
    ),
    Hook("on_before_zero_grad", ("optimizer",), BOTH, "The gradients are about to be cleared."),
    Hook(
        "optimizer_zero_grad",
        ("epoch", "batch_idx", "optimizer", "optimizer_idx"),
        (MODULE,),
        "Clear the gradients of an optimizer's parameters.",
    ),
    Hook(
        "on_before_backward",
        ("loss",),
        BOTH,
        "Backward is about to run; the loss is scaled as it will be differentiated.",
    ),
    Hook(
        "backward",
        ("loss", "optimizer", "optimizer_idx"),
        (MODULE,),
        "Run backward; the loss is scaled as the precision needs it.",
        rest=False,
    ),
    Hook("on_after_backward", (), BOTH, "Backward has run; the optimizer has done nothing yet."),
    Hook(
        "on_before_optimizer_step",
        ("optimizer", "optimizer_idx"),
        BOTH,
        "The optimizer is about to step; the gradients are unscaled means, not clipped.",
    ),
    Hook(
        "configure_gradient_clipping",
        ("optimizer", "optimizer_idx", "gradient_clip_val", "gradient_clip_algorithm"),
        (MODULE,),
        "Clip the mean gradients as the Trainer's flags say.",
    ),
    Hook(
        "optimizer_step",
        (
            "epoch",
            "batch_idx",
            "optimizer",
            "optimizer_idx",
            "optimizer_closure",
            "on_tpu",
            "using_native_amp",
            "using_lbfgs",
        ),
        (MODULE,),
        "Step the optimizer; backward has run before.",
    ),
    Hook(
        "lr_scheduler_step",
        ("scheduler", "optimizer_idx", "metric"),
        (MODULE,),
        "Step a scheduler.",
    ),
    Hook(
        "on_train_batch_end",
        ("outputs", *_BATCH),
        BOTH,
        "A training batch ends; the outputs are the step's dict, or one with its loss as 'loss', and of several "
        "optimizers a list of those that played, which one whose step returned None did not.",
        per_batch=True,
    ),
    Hook("on_batch_end", (), BOTH, "A training batch ends.", per_batch=True),
    Hook("training_epoch_end", ("outputs",), (MODULE,), "Get the outputs of all training steps of the epoch."),
    Hook("on_train_epoch_end", ("outputs",), BOTH, "A training epoch ends; validation has run."),
    Hook("on_epoch_end", (), BOTH, "An epoch of any stage ends."),
    Hook("on_save_checkpoint", ("checkpoint",), (DATA, CALLBACK, MODULE), "A checkpoint is about to be written."),
    Hook("on_keyboard_interrupt", (), (CALLBACK,), "Ctrl-C or SIGTERM has stopped the run."),
    Hook("on_exception", ("exception",), (CALLBACK,), "An error ends the run."),
    Hook("on_train_end", (), BOTH, "Training ends."),
    Hook("on_fit_end", (), BOTH, "A fit ends."),
    Hook("teardown", ("stage",), (DATA, CALLBACK, MODULE), "A stage ends: 'fit', 'validate', 'test' or 'predict'."),
    *_stage("validation"),
    *_stage("test"),
    *_stage("predict"),
)
BY_NAME: dict[str, Hook] = {hook.name: hook for hook in HOOKS}

# The Trainer's own moments, in the order in which they come: callbacks act there one by one, each known by its key.
MOMENTS: tuple[Hook, ...] = (
    Hook("observe", ("moment",), (CALLBACK,), "The state may be observed, so many updates after the last time."),
    Hook("log_step", ("metrics",), (CALLBACK,), "Step metrics are about to be written."),
    Hook("checkpoint", ("moment",), (CALLBACK,), "The state is whole and may be saved."),
    Hook(
        "should_stop",
        ("moment",),
        (CALLBACK,),
        "May set `trainer.should_stop`; checkpoints of this moment are written.",
    ),
)

Handlers = tuple[tuple[str, Callable[..., Any]], ...]
"""Who acts at a hook or at a moment, in order: the owner's key, and what is called."""

# What an argument was called in older generations of the API.
OLD_ARGUMENTS: dict[str, str] = {
    "batch_nb": "batch_idx",
    "optimizer_i": "optimizer_idx",
    "second_order_closure": "optimizer_closure",
    "current_epoch": "epoch",
    "dataset_idx": "dataloader_idx",
    "hidden": "hiddens",
}


def overrides(owner: object, name: str) -> bool:
    """Return whether the owner defines this hook itself. A base class of ours marks its own empty ones with
    `_functrain_default`."""
    method = getattr(owner, name, None)
    return method is not None and not getattr(method, "_functrain_default", False)


STEPS = ("training_step", "validation_step", "test_step", "predict_step", "forward", "configure_optimizers")
LOADER_METHODS = tuple(f"{stage}_dataloader" for stage in ("train", "val", "test", "predict"))


# The top-level packages whose classes are not looked at for misspelt methods.
NOT_THE_USERS = frozenset(
    {"builtins", "flax", "functrain", "functrain_jax", "functrain_torch", "functrain_xla", "torch"}
)


def warn_of_misspelt(owner: object) -> None:
    """Warn of methods of the owner's own classes that are called almost as a hook, a step or a loader is."""
    known = {*BY_NAME, *STEPS, *LOADER_METHODS}
    for base in type(owner).__mro__:
        if base.__module__.split(".")[0] in NOT_THE_USERS:
            continue
        for name, value in vars(base).items():
            is_none_of_ours = name in known or name.startswith("_") or not inspect.isfunction(value)
            if is_none_of_ours:
                continue
            for meant in difflib.get_close_matches(name, known, n=1, cutoff=0.93):
                warnings.warn(
                    f"{base.__name__}.{name} is never called: did you mean {meant!r}?", UserWarning, stacklevel=6
                )


def default(method: Callable[Concatenate[Owner, ...], Any]) -> Callable[Concatenate[Owner, ...], Any]:
    """Mark a base class's own method as the default, which does not count as overriding the hook.

    To a type checker it takes and returns anything, since an override takes those arguments that it uses.
    """
    method._functrain_default = True  # type: ignore[attr-defined]
    return method


def hook(method: Callable[Concatenate[Owner, ...], Any]) -> Callable[Concatenate[Owner, ...], Any]:
    """A hook as it is written in a base class: signature and doc are for readers, and to call it does nothing.

    So `super().on_train_epoch_end()` is right with all, some or none of the hook's arguments.
    """

    @wraps(method)
    def empty(self: Owner, *args: Any, **named: Any) -> None:
        return None

    return default(empty)


def keyed(callbacks: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the callbacks by the names that checkpoints know them by; a name's second owner is `name#2`, and so on."""
    seen: dict[str, int] = {}
    for callback in callbacks:
        key = callback.state_key
        seen[key] = seen.get(key, 0) + 1
        yield key if seen[key] == 1 else f"{key}#{seen[key]}", callback


def adapt(method: Callable[..., Any], args: tuple[str, ...], what: str = "", rest: bool = True) -> Callable[..., Any]:
    """Return a function of the documented arguments, by position, that hands `method` those that its signature takes.

    Args:
        args: the documented names, in order. A method's own names are matched to them, older names included; a first
            argument of another name is matched by position (`def training_step(self, x, i)`).
        rest: a method with `*args` takes all of them; else only those that it names, where it names any.

    Raises:
        TypeError: the method asks for a required argument that the hook does not have.
    """
    picks = _taken(method, args, what, rest)
    if picks is None or [*range(len(args))] == _places(picks):
        return method
    by_place = tuple(index for name, index in picks if name is None)
    by_name = tuple((name, index) for name, index in picks if name is not None)
    return _picker(method, by_place, by_name)


def leading(method: Callable[..., Any], args: tuple[str, ...], what: str = "") -> int | None:
    """Return how many of the documented arguments, from the first on and by position, are all that a method takes; None
    where it takes others. See `adapt`."""
    picks = _taken(method, args, what, rest=True)
    if picks is None:
        return len(args)
    return len(picks) if _places(picks) == [*range(len(picks))] else None


def _places(picks: list[tuple[str | None, int]]) -> list[int] | None:
    """Return the documented arguments by index, where all of them are taken by position."""
    return [index for _, index in picks] if all(name is None for name, _ in picks) else None


def _taken(
    method: Callable[..., Any], args: tuple[str, ...], what: str, rest: bool
) -> list[tuple[str | None, int]] | None:
    """Return which of the documented arguments each parameter of a method stands for; None where it is to be given
    all."""
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in (parameters if rest else parameters[:1])):
        return None
    return _picks(parameters, args, what or method.__qualname__)


def _picks(parameters: list[inspect.Parameter], args: tuple[str, ...], what: str) -> list[tuple[str | None, int]]:
    """Return which of the documented arguments each parameter stands for, by index; with its name where it is
    keyword-only."""
    picks: list[tuple[str | None, int]] = []
    taken: set[int] = set()
    for place, p in enumerate(parameters):
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            continue
        index = _index_of(p.name, args, place, taken)
        if index is None:
            if p.default is p.empty:
                known = ", ".join(args) or "none"
                raise TypeError(f"{what}: argument {p.name!r} is not one of this hook's ({known}).")
            continue
        taken.add(index)
        picks.append((p.name if p.kind is p.KEYWORD_ONLY else None, index))
    return picks


def _index_of(name: str, args: tuple[str, ...], place: int, taken: set[int]) -> int | None:
    name = OLD_ARGUMENTS.get(name, name)
    if name in args:
        return args.index(name)
    is_at_its_place = place < len(args) and place not in taken and args[place] not in OPTIONAL
    if is_at_its_place:
        return place
    return None


# Arguments that a signature asks for by name only: a parameter of another name at their place is not meant for them.
OPTIONAL = {
    "dataloader_idx",
    "optimizer_idx",
    "hiddens",
    "optimizer_closure",
    "on_tpu",
    "using_native_amp",
    "using_lbfgs",
}


def _picker(
    method: Callable[..., Any], by_place: tuple[int, ...], by_name: tuple[tuple[str, int], ...]
) -> Callable[..., Any]:
    if by_name:
        return lambda *args: method(*(args[i] for i in by_place), **{name: args[i] for name, i in by_name})
    if by_place == tuple(range(len(by_place))):
        n = len(by_place)
        return lambda *args: method(*args[:n])
    return lambda *args: method(*[args[i] for i in by_place])


class Logging(Protocol):
    """Who keeps what hooks log."""

    def in_hook(self, name: str, call: Callable[..., Any], /) -> Callable[..., Any]:
        """Return the call of a hook, known by its name while it lasts to who keeps what it logs."""
        ...


class Hooks:
    """The resolved hooks of one run: an attribute a hook, `None` where nobody overrides it, else one callable.

    `calls` has the owners' own functions by hook, each with its owner's key, for those who call them one by one; of the
    Trainer's own moments each is an attribute of that form.

    A hook of several owners calls the data module first, then the callbacks in their order, then the module; it returns
    what the last owner that returned something returned (-1 from anybody counts, for `on_train_batch_start`).
    """

    observe: Handlers
    log_step: Handlers
    checkpoint: Handlers
    should_stop: Handlers

    def __init__(
        self,
        trainer: object,
        module: object,
        callbacks: Iterable[object],
        data: object | None,
        metrics: Logging,
        span: Span = unmeasured,
    ) -> None:
        callbacks = tuple(callbacks)
        self.calls: dict[str, Handlers] = {}
        for hook in HOOKS:
            own = _calls(hook, trainer, module, callbacks, data)
            self.calls[hook.name] = calls = tuple(
                (key, span(what, metrics.in_hook(hook.name, call))) for key, what, call in own
            )
            setattr(self, hook.name, _together(tuple(call for _, call in calls)))
        for moment in MOMENTS:
            own = _calls(moment, trainer, module, callbacks, data)
            setattr(self, moment.name, tuple((key, span(what, call)) for key, what, call in own))
        self.takes_outputs: frozenset[str] = frozenset(
            hook.name for hook in HOOKS if "outputs" in hook.args and _takes_outputs(hook, callbacks, module)
        )
        self.per_batch: bool = any(hook.per_batch and getattr(self, hook.name) is not None for hook in HOOKS)

    def __getattr__(self, name: str) -> Callable[..., Any] | None:
        raise AttributeError(f"no hook {name!r} in functrain.trainer.hooks.HOOKS.")

    def call(self, name: str, *args: Any) -> Any:
        """Call a hook by name if anybody overrides it."""
        hook = getattr(self, name)
        return None if hook is None else hook(*args)

    def call_or(self, name: str, otherwise: Callable[[], object]) -> None:
        """Call a hook by name, or `otherwise` where nobody overrides it."""
        hook = getattr(self, name)
        (otherwise if hook is None else hook)()


def _calls(
    hook: Hook, trainer: object, module: object, callbacks: tuple[object, ...], data: object | None
) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Yield who is called at a hook, in order: the owner's key, 'Class.hook', the call."""
    asks_data = DATA in hook.owners and data is not None and overrides(data, hook.name)
    if asks_data:
        what = f"{type(data).__name__}.{hook.name}"
        yield DATA, what, adapt(getattr(data, hook.name), hook.args, what)
        stands_for_module = MODULE in hook.owners and CALLBACK not in hook.owners and hook.args
        if stands_for_module:
            return  # a data module's transfer hooks stand for the module's
    if CALLBACK in hook.owners and hook.name not in ("on_save_checkpoint", "on_load_checkpoint"):
        for key, callback in keyed(callbacks):
            if overrides(callback, hook.name):
                what = f"{type(callback).__name__}.{hook.name}"
                yield key, what, _bound(getattr(callback, hook.name), hook, trainer, module, what)
    if MODULE in hook.owners and overrides(module, hook.name):
        method, what = getattr(module, hook.name), f"{type(module).__name__}.{hook.name}"
        yield MODULE, what, adapt(method, hook.args, what, hook.rest)


def _takes_outputs(hook: Hook, callbacks: tuple[object, ...], module: object) -> bool:
    """Return whether anybody's own hook takes the outputs. Not by `*args`, except for `<stage>_epoch_end`, which is
    about them."""
    owners = [(callback, ("trainer", "pl_module", *hook.args)) for callback in callbacks]
    for owner, args in (*owners, (module, hook.args)):
        if overrides(owner, hook.name):
            parameters = list(inspect.signature(getattr(owner, hook.name)).parameters.values())
            picked = {args[index] for _, index in _picks(parameters, args, f"{type(owner).__name__}.{hook.name}")}
            takes_them = "outputs" in picked or (parameters and not hook.name.startswith("on_"))
            if takes_them:
                return True
    return False


def _bound(method: Callable[..., Any], hook: Hook, trainer: object, module: object, what: str) -> Callable[..., Any]:
    if hook.name in ("on_init_start", "on_init_end"):
        return lambda: method(trainer)
    call = adapt(method, ("trainer", "pl_module", *hook.args), what)
    return lambda *args: call(trainer, module, *args)


def _together(calls: tuple[Callable[..., Any], ...]) -> Callable[..., Any] | None:
    if len(calls) <= 1:
        return calls[0] if calls else None

    def every(*args: Any) -> Any:
        result = None
        for call in calls:
            given = call(*args)
            if given is not None:
                result = given
        return result

    return every
