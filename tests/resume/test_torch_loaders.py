"""torch: nothing that was seen is read again; loaders that carry their own state are asked for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.resume import torch_cases as cases
from tests.resume.common import differences


class Read(Dataset[Any]):
    """Counts how often each sample is read, over all processes."""

    def __init__(self) -> None:
        self.x, self.y = cases.samples()
        self.counts = torch.zeros(len(self.x)).share_memory_()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        self.counts[index] += 1
        return self.x[index], self.y[index]


@pytest.mark.parametrize(
    "more", [{}, {"num_workers": 2}, {"sampler": cases.FromGlobalState()}], ids=["plain", "workers", "sampler"]
)
def test_what_was_seen_is_not_read(more, tmp_path):
    given = more if "sampler" in more else {**more, "shuffle": True}
    case = (cases.Plain, lambda: DataLoader(Read(), batch_size=cases.SIZE, **given), {})
    _, saved = cases.whole(case, tmp_path, ("on_train_batch_end",), max_epochs=1)
    for place in (2, 5):
        trainer, module, train, _ = cases.parts(case, 99, cases.watchers(case), max_epochs=1)
        trainer.fit(module, train, ckpt_path=saved["on_train_batch_end", place][0])
        assert trainer.current_epoch == 1
        assert train.dataset.counts.sum() == (cases.BATCHES - place) * cases.SIZE
        assert train.dataset.counts.max() == 1


class Asked:
    """A loader with a state: knows what it was asked."""

    def __init__(self) -> None:
        self.batches = list(
            zip(cases.samples()[0].split(cases.SIZE), cases.samples()[1].split(cases.SIZE), strict=True)
        )
        self.next = 0
        self.loaded: list[Any] = []
        self.read = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        while self.next < len(self):
            self.next += 1
            self.read += 1
            yield self.batches[self.next - 1]
            if self.next == len(self):
                break
        self.next = 0

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loaded.append(state)
        self.next = state["next"] % len(self)


def test_a_loader_with_a_state_is_asked_for_it(tmp_path):
    case = (cases.Plain, Asked, {})
    _, saved = cases.whole(case, tmp_path, ("on_train_batch_end",), max_epochs=1)
    trainer, module, train, _ = cases.parts(case, 99, cases.watchers(case), max_epochs=1)
    trainer.fit(module, train, ckpt_path=saved["on_train_batch_end", 4][0])
    assert train.loaded == [{"next": 4}]
    assert train.read == cases.BATCHES - 4


class Source:
    """What grain reads from."""

    def __len__(self) -> int:
        return cases.BATCHES * cases.SIZE

    def __getitem__(self, index: int) -> Any:
        x, y = cases.samples()
        return x[index].numpy(), np.int64(y[index])


def grain_loader() -> Any:
    import grain

    def jittered(sample: Any, rng: np.random.Generator) -> Any:
        return sample[0] + rng.random(4, np.float32), sample[1]

    data = grain.MapDataset.source(Source()).shuffle(seed=3).random_map(jittered, seed=4).batch(cases.SIZE)
    return Tensors(data.to_iter_dataset())


class Tensors:
    """grain's batches as tensors; the state is grain's own."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __iter__(self) -> Any:
        return TensorIterator(iter(self.data))


class TensorIterator:
    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.get_state = batches.get_state
        self.set_state = batches.set_state

    def __iter__(self) -> TensorIterator:
        return self

    def __next__(self) -> Any:
        x, y = next(self.batches)
        return torch.from_numpy(np.asarray(x)), torch.from_numpy(np.asarray(y))


# grain's own import of its flags and of protobuf.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_grain(tmp_path):
    case = (cases.Plain, grain_loader, {"accumulate_grad_batches": 2})
    expected, saved = cases.whole(case, tmp_path, ("on_train_batch_end",))
    assert len(saved) == 2 * cases.BATCHES
    for place in (1, 4, 7, 9, 14):
        path, rows = saved["on_train_batch_end", place]
        found = cases.continued(case, (path, rows))
        assert not differences(found, {**expected, "rows": expected["rows"][rows:]}, f"{place}: ")


def test_an_epoch_is_not_drawn_twice_alike(tmp_path):
    """Workers draw by batch and epoch: an epoch's random numbers are not those of the one before."""
    seen: list[torch.Tensor] = []

    class Seeing(cases.Plain):
        def training_step(self, batch, batch_idx):
            seen.append(batch[0].clone())
            return super().training_step(batch, batch_idx)

    for more in ({}, {"persistent_workers": True}):
        seen.clear()
        loader = lambda more=more: DataLoader(cases.Augmented(), cases.SIZE, num_workers=2, **more)  # noqa: E731
        trainer, module, train, _ = cases.parts((Seeing, loader, {}), 1, [])
        trainer.fit(module, train)
        first, second = seen[: cases.BATCHES], seen[cases.BATCHES :]
        clean = cases.samples()[0].split(cases.SIZE)
        noises = [float((batch - x).mean()) for batch, x in zip([*first, *second], [*clean, *clean], strict=True)]
        assert len({round(noise, 4) for noise in noises}) == 2 * cases.BATCHES
