"""The hooks that our base classes write down are those of the table: names, arguments, docs."""

import ast
import inspect
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest

import functrain_jax
import functrain_torch as pl
from functrain.trainer.callback import Callback
from functrain.trainer.hook_table import BY_NAME, CALLBACK, DATA, HOOKS, MODULE, MOMENTS, Hook
from functrain.trainer.overriding import overrides
from tests import inside

ONLY_THE_TRAINER = ("on_init_start", "on_init_end")


def leading(hook: Hook, owner: str) -> tuple[str, ...]:
    """What a callback's hook gets before the documented arguments."""
    if owner != CALLBACK:
        return ()
    return ("trainer",) if hook.name in ONLY_THE_TRAINER else ("trainer", "pl_module")


def written() -> Iterator[Any]:
    """Every class with every hook that it may have."""
    of_a_step = inside.step_hooks()
    classes = (
        (Callback, CALLBACK), (pl.LightningModule, MODULE), (pl.LightningDataModule, DATA),
        (functrain_jax.Module, MODULE),
    )  # fmt: skip
    for cls, owner in classes:
        for hook in (*HOOKS, *MOMENTS):
            if owner in hook.owners and not (cls is functrain_jax.Module and hook.name in of_a_step):
                yield pytest.param(cls, hook, owner, id=f"{cls.__name__}.{hook.name}")


WRITTEN = list(written())


@pytest.mark.parametrize(("cls", "hook", "owner"), WRITTEN)
def test_a_hook_is_written_with_the_arguments_and_the_sentence_of_the_table(cls: type, hook: Hook, owner: str):
    method = getattr(cls, hook.name)
    assert method.__name__ == hook.name
    parameters = list(inspect.signature(method).parameters.values())[1:]
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    wanted = [*leading(hook, owner), *hook.args]
    if len(names) == len(parameters):
        assert names == wanted
    else:  # takes the arguments of older generations too
        assert set(names) <= set(wanted)
    assert " ".join(inspect.getdoc(method).split()).startswith(hook.doc.rstrip("."))


@pytest.mark.parametrize(("cls", "hook", "owner"), WRITTEN)
def test_a_written_hook_stands_in_the_source_as_a_method(cls: type, hook: Hook, owner: str):
    base = next(base for base in cls.__mro__ if hook.name in vars(base))
    (body,) = ast.parse(dedent(inspect.getsource(base))).body
    assert isinstance(body, ast.ClassDef)
    assert hook.name in [node.name for node in body.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("cls", [Callback, pl.LightningModule, pl.LightningDataModule, functrain_jax.Module])
def test_no_hook_is_written_that_the_table_does_not_have(cls: type):
    names = {name for name in dir(cls) if name.startswith("on_") and callable(getattr(cls, name))}
    assert names <= set(BY_NAME)


@pytest.mark.parametrize("cls", [Callback, pl.LightningModule, pl.LightningDataModule, functrain_jax.Module])
def test_what_a_base_class_writes_is_no_override(cls: type):
    owner = cls()
    assert not [hook.name for hook in (*HOOKS, *MOMENTS) if overrides(owner, hook.name)]


def test_the_docs_of_hooks_are_sentences():
    assert not [hook.name for hook in (*HOOKS, *MOMENTS) if not (hook.doc[0].isupper() and hook.doc.endswith("."))]


def test_super_takes_all_of_a_hooks_arguments_or_none_and_older_ones():
    class Own(Callback):
        def on_train_epoch_end(self, trainer, pl_module, outputs):
            super().on_train_epoch_end()
            super().on_train_epoch_end(trainer, pl_module)
            super().on_train_epoch_end(trainer, pl_module, outputs)
            super().on_train_batch_end(trainer, pl_module, outputs, None, 0, 0)
            super().on_train_batch_end(trainer, pl_module, outputs, None, batch_nb=0)
            return "called"

    assert Own().on_train_epoch_end(None, None, None) == "called"
