"""JAX: a run over several training loaders, saved and continued: the very bits, one batch or many a dispatch."""

from __future__ import annotations

import os

import jax.numpy as jnp
import numpy as np
import pytest

import functrain_jax as ft
from functrain.callbacks import ModelCheckpoint
from functrain.data import ArrayLoader
from tests import inside
from tests.resume import jax_cases as cases
from tests.resume.common import differences, final

pytestmark = pytest.mark.usefixtures("compiled_once")


class OfSeveral(cases.Linear):
    """One loss over the batches of all loaders that have one."""

    def training_step(self, batch, batch_idx):
        there = [part for part in batch.values() if part is not None]
        x, y = (jnp.concatenate(parts) for parts in zip(*there, strict=True))
        return super().training_step((x, y), batch_idx)


def short():
    """Three batches, each time in another order."""
    return ArrayLoader(cases.samples(8, 2), cases.SIZE, shuffle=True, seed=5)


@pytest.mark.parametrize("mode", ["max_size_cycle", "max_size", "min_size"])
def test_every_batch(mode, tmp_path):
    def loader():
        return ft.CombinedLoader({"long": cases.shuffled(), "generated": cases.Generated(), "short": short()}, mode)

    case = (OfSeveral, loader, {"accumulate_grad_batches": 2})
    expected, saved = cases.whole(case, tmp_path, ("on_train_batch_end",))
    assert len(saved) == 2 * (3 if mode == "min_size" else cases.BATCHES)
    for n in (1, 3, 4, 6):
        path, rows = saved["on_train_batch_end", n]
        found = cases.continued(case, (path, rows))
        assert not differences(found, {**expected, "rows": expected["rows"][rows:]}, f"saved at {n}: ")


def test_many_batches_a_dispatch(tmp_path):
    case = (OfSeveral, lambda: {"long": cases.arrays(), "short": short()}, {"log_every_n_steps": 3})

    def run(seed, directory, path=None):
        save = ModelCheckpoint(directory, "{step}", every_n_train_steps=4, save_top_k=-1)
        trainer, module, train, val = cases.parts(case, seed, [save], max_epochs=3)
        trainer.fit(module, train, val, ckpt_path=path)
        assert not inside.per_batch(trainer)
        return {**final(trainer, trainer.logger.rows), "callbacks": None}

    expected = run(1, tmp_path / "whole")
    names = sorted(os.listdir(tmp_path / "whole"))
    assert len(names) == 5
    for name in names:
        found = run(99, tmp_path / name, str(tmp_path / "whole" / name))
        rows = found.pop("rows")
        assert rows == expected["rows"][len(expected["rows"]) - len(rows) :]
        assert not differences(found, {key: expected[key] for key in found}, f"{name}: ")


@pytest.mark.parametrize("mode", ["max_size_cycle", "max_size", "min_size"])
def test_from_before_a_nan_the_failing_batch_is_drawn_again(mode, tmp_path):
    """Further batches were drawn already, also of a loader that has begun again."""

    class Failing(OfSeveral):
        at = -1

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * jnp.where(batch_idx == self.at, jnp.nan, 1.0)

    def run(at, seed=1, path=None):
        loaders = lambda: {"long": cases.arrays(), "own": cases.Ragged(), "short": short()}  # noqa: E731
        flags = {"multiple_trainloader_mode": mode, "terminate_on_nan": True, "default_root_dir": str(tmp_path)}
        trainer, module, train, _ = cases.parts((Failing, loaders, flags), seed, [], log_every_n_steps=5)
        module.at = at
        trainer.fit(module, train, ckpt_path=path)
        return np.asarray(module.params["w"])

    expected = run(-1)
    for at in (0, 2) if mode == "min_size" else (3,):
        with pytest.raises(ft.NotFiniteError) as caught:
            run(at)
        assert np.array_equal(run(-1, 99, caught.value.path), expected), at


def test_validation_goes_through_a_dict_of_loaders():
    trainer, module, *_ = cases.parts((cases.Linear, cases.arrays, {}), 1, [])
    given = {"a": ArrayLoader(cases.samples(8, 1), 4), "b": ArrayLoader(cases.samples(4, 2), 4)}
    results = trainer.validate(module, given, verbose=False)
    assert [set(result) for result in results] == [{"val_loss/dataloader_idx_0"}, {"val_loss/dataloader_idx_1"}]
