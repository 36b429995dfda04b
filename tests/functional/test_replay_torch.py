"""A torch run that ends for a value that is not finite leaves what it takes to run the step again, to the bit."""

import dataclasses
import random
from collections import namedtuple
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader

import functrain_torch as pl
from functrain_torch import NotFiniteError, failing_batch, functional, load_state
from tests.functional.test_torch import (
    ByHand,
    Net,
    Scheduled,
    Searching,
    Sequence,
    Two,
    fitted,
    of,
    of_state,
    of_trainer,
)


class Measured(Net):
    """A metric object, and a batch that is changed at random and in place on its way."""

    def __init__(self):
        super().__init__()
        self.error = torchmetrics.MeanSquaredError()
        self.seen = torch.zeros(3)

    def on_train_batch_start(self, batch, batch_idx):
        self.noise = torch.rand(())

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0].add_(torch.randn_like(batch[0]) * self.noise), batch[1]

    def training_step(self, batch, batch_idx):
        self.error(self.net(batch[0]), batch[1])
        self.log("error", self.error, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)


class Returns(ByHand):
    """What it returns is looked at."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        return self.loss(batch)


CASES = {
    "dropout": (Net, {}),
    "accumulating": (Net, {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}),
    "16": (Net, {"precision": 16, "accumulate_grad_batches": 2}),
    "schedulers": (Scheduled, {}),
    "two optimizers": (Two, {}),
    "two optimizers, accumulating": (Two, {"accumulate_grad_batches": 2}),
    "pieces": (Sequence, {}),
    "by hand": (Returns, {}),
    "by hand, 16": (Returns, {"precision": 16}),
    "evaluating again": (Searching, {"accumulate_grad_batches": 2}),
    "a metric object": (Measured, {}),
}


@contextmanager
def outputs():
    """What linear layers give within the block."""
    given = []

    def keep(module, args, output):
        if isinstance(module, nn.Linear):
            given.append(output.detach().clone())

    handle = nn.modules.module.register_module_forward_hook(keep)
    try:
        yield given
    finally:
        handle.remove()


def batches_of(kind, bad=None):
    """Five batches; the target of the bad one is not finite, of a sequence in its second piece."""
    generator = torch.Generator().manual_seed(3)
    shape = (4, 7, 3) if kind is Sequence else (4, 3)
    made = [
        (torch.randn(shape, generator=generator), torch.randn((*shape[:-1], 1), generator=generator)) for _ in range(5)
    ]
    if bad is not None:
        made[bad][1][:, 3 if kind is Sequence else 0] = torch.nan
    return made


class Turning(list):
    """Batches of which one is bad from the second epoch on."""

    def __init__(self, kind, bad):
        self.good, self.bad, self.epoch = batches_of(kind), batches_of(kind, bad), 0
        super().__init__(self.good)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        # A step may write into a batch.
        return iter([tuple(part.clone() for part in batch) for batch in (self.bad if self.epoch else self.good)])


class Good(Turning):
    def __init__(self, kind):
        super().__init__(kind, None)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bad", [0, 3])
def test_the_step_of_a_nan_is_run_again_to_the_bit_and_the_run_goes_on_from_before_it(tmp_path, name, bad):
    kind, flags = CASES[name]
    pl.seed_everything(1)
    module = kind()
    flags = {**flags, "terminate_on_nan": True, "default_root_dir": tmp_path}
    with outputs() as first, pytest.raises(NotFiniteError, match=f"not_finite-epoch=1-batch={bad}.ckpt") as caught:
        fitted(module, flags, Turning(kind, bad))
    path = caught.value.path
    assert path.startswith(str(tmp_path))

    own = {name: value for name, value in flags.items() if name not in ("terminate_on_nan", "default_root_dir")}
    step = functional(module, donate=False, **own)
    state, batch = load_state(path, step), failing_batch(path)
    assert (state.clock.epoch, state.clock.batch) == (1, bad)
    assert torch.equal(batch[0], batches_of(kind)[bad][0])
    with outputs() as again:
        _, report = step.step(state, batch)
    again = again[:2] if kind is Sequence else again  # the run ended there
    assert again
    assert str(of(again)) == str(of(first[-len(again) :]))
    assert any(torch.as_tensor(value).isnan().any() for value in report.logged.values())

    known, straight = fitted(module, flags, Good(kind), epochs=2)
    rest, trainer = fitted(module, flags, Good(kind), epochs=2, ckpt_path=path)
    assert of_trainer(rest, trainer) == of_trainer(known, straight)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert metrics == {name: float(value) for name, value in straight.callback_metrics.items()}
    by_hand, _ = step.epoch(state, batches_of(kind)[bad:])
    assert of_state(by_hand) == of_trainer(known, straight)


Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Sample:
    x: torch.Tensor
    names: list


class Thing:
    """No container that anybody knows."""

    def __init__(self, x):
        self.x, self.transform, self.self = x, print, self


class Takes(pl.LightningModule):
    """Any batch: its loss is not finite."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.net(torch.ones(2)).sum() * torch.nan

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def failed_at(batch, tmp_path, module=None, **flags):
    """What is read of the batch at which a run has ended, and the run."""
    trainer = pl.Trainer(
        max_epochs=1, terminate_on_nan=True, default_root_dir=tmp_path, logger=False, checkpoint_callback=False,
        num_sanity_val_steps=0, progress_bar_refresh_rate=0, weights_summary=None, **flags,
    )  # fmt: skip
    with pytest.raises(NotFiniteError) as caught:
        trainer.fit(module or Takes(), [batch])
    return failing_batch(caught.value.path), trainer


ONES = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("batch", "read"),
    [
        (Pair(ONES, np.arange(3)), (ONES, np.arange(3))),
        ({"x": {"y": ONES}, 3: [1, "a", None, np.float32(2)]}, {"x": {"y": ONES}, 3: [1, "a", None, 2.0]}),
        (Sample(ONES, ["a", "b"]), {"x": ONES, "names": ["a", "b"]}),
        ((ONES, np.array(["a", "b"])), (ONES, ["a", "b"])),
        (nn.utils.rnn.pack_padded_sequence(ONES[None], torch.tensor([3]), batch_first=True), (ONES, torch.ones(3))),
    ],
)
def test_a_batch_of_any_structure_is_read_back_as_plain_containers(tmp_path, batch, read):
    given, _ = failed_at(batch, tmp_path)
    if isinstance(batch, tuple) and len(batch) == 4:
        given = given[:2]
    assert type(given) is type(read)
    flat, expected = (of_any(value) for value in (given, read))
    assert flat == expected


def of_any(value):
    if isinstance(value, np.ndarray):
        return value.tolist(), "numpy"
    if isinstance(value, torch.Tensor):
        return value.tolist(), "torch"
    if isinstance(value, dict):
        return {key: of_any(item) for key, item in value.items()}
    return [of_any(item) for item in value] if isinstance(value, list | tuple) else value


def test_what_of_a_batch_cannot_be_stored_is_named_and_the_rest_is_there(tmp_path):
    with pytest.warns(
        UserWarning, match=r"without batch\['thing'\]\.transform \(a builtins\.builtin_function_or"
    ) as told:
        batch, _ = failed_at({"x": ONES, "thing": Thing(ONES), "n": 3}, tmp_path)
    assert len([1 for warning in told if "failing_batch" in str(warning.message)]) == 1
    assert "batch['thing'].self (a tests.functional.test_replay_torch.Thing)" in str(told[-1].message)
    assert of_any(batch) == of_any({"x": ONES, "thing": {"x": ONES, "transform": None, "self": None}, "n": 3})


def test_a_batch_that_a_step_writes_into_is_the_one_that_it_was_given(tmp_path):
    class Writes(Takes):
        def training_step(self, batch, batch_idx):
            batch[0].zero_()
            batch[1][:] = 0
            return super().training_step(batch, batch_idx)

    batch, _ = failed_at((torch.ones(2), np.ones(2)), tmp_path, Writes())
    assert of_any(batch) == [([1.0, 1.0], "torch"), ([1.0, 1.0], "numpy")]


class Noisy(torch.utils.data.Dataset):
    """Samples are drawn with random numbers of three generators, and one is bad."""

    def __init__(self, bad=None):
        self.bad = bad

    def __len__(self):
        return 6

    def __getitem__(self, i):
        x = torch.rand(3) + random.random() + np.random.rand()
        return x.float(), torch.full((1,), torch.nan if i == self.bad else 1.0)


def test_a_run_goes_on_with_the_batch_that_was_drawn_and_the_replay_with_the_one_that_is_stored(tmp_path):
    flags = {"terminate_on_nan": True, "default_root_dir": tmp_path}
    pl.seed_everything(1)
    module = Net()
    with outputs() as first, pytest.raises(NotFiniteError, match="batch=2") as caught:
        fitted(module, flags, DataLoader(Noisy(bad=4), batch_size=2))
    path = caught.value.path
    step = functional(module)
    state = load_state(path, step)
    with outputs() as again:
        step.step(state, failing_batch(path))
    assert of(again) == of(first[-2:])
    known, straight = fitted(module, flags, DataLoader(Noisy(), batch_size=2), epochs=2)
    rest, trainer = fitted(module, flags, DataLoader(Noisy(), batch_size=2), epochs=2, ckpt_path=path)
    assert of_trainer(rest, trainer) == of_trainer(known, straight)


def test_hooks_of_the_failed_run_see_what_the_step_has_left(tmp_path):
    class Explodes(Takes):
        def training_step(self, batch, batch_idx):
            return self.net(batch).sum() * 1e38 * 10

    class Looks(pl.Callback):
        def on_exception(self, trainer, pl_module, exception):
            self.seen = [p.detach().clone() for p in pl_module.parameters()], trainer.global_step

    looks = Looks()
    _, trainer = failed_at(ONES, tmp_path, Explodes(), callbacks=[looks])
    assert not all(p.isfinite().all() for p in looks.seen[0])
    assert looks.seen[1] == trainer.global_step == 1


def test_a_step_by_hand_that_looks_for_nan_raises_and_writes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    step = functional(Takes(), terminate_on_nan=True)
    with pytest.raises(NotFiniteError, match="the loss is nan") as caught:
        step.step(step.init(0), ONES)
    assert caught.value.path is None
    assert not list(tmp_path.iterdir())
