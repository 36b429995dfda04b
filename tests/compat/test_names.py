"""What scripts import beside modules and Trainers: types for their signatures, norms of gradients, summaries, the
boring model."""

import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import functrain_torch as pl
from functrain_torch.demos.boring_classes import BoringDataModule, BoringModel, ManualOptimBoringModel
from functrain_torch.utilities import grad_norm, types
from functrain_torch.utilities.model_summary import ModelSummary, summarize


def test_types_of_signatures_are_types():
    class Net(pl.LightningModule):
        def training_step(self, batch: Any, batch_idx: int) -> types.STEP_OUTPUT: ...

        def configure_optimizers(self) -> types.OptimizerLRScheduler: ...

        def train_dataloader(self) -> types.TRAIN_DATALOADERS: ...

        def val_dataloader(self) -> types.EVAL_DATALOADERS: ...

    for method in ("training_step", "configure_optimizers", "train_dataloader", "val_dataloader"):
        assert "return" in typing.get_type_hints(getattr(Net, method))
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters())
    assert isinstance(torch.optim.lr_scheduler.StepLR(optimizer, 1), types.LRSchedulerTypeTuple)


def test_what_trains_on_several_devices_is_imported_and_not_made():
    from functrain_torch.plugins import DDPPlugin
    from functrain_torch.plugins.environments import ClusterEnvironment
    from functrain_torch.strategies import DDPStrategy

    class Mine(ClusterEnvironment):
        pass

    for kind in (DDPStrategy, DDPPlugin, Mine):
        with pytest.raises(pl.ConfigurationError, match=f"{kind.__name__}: this version runs on one device"):
            kind()


@pytest.mark.parametrize("p", [1, 2.0, "inf"])
def test_grad_norms_are_those_of_torch(p: Any):
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    module[1].bias.requires_grad_(False)
    module(torch.ones(2, 3)).sum().backward()
    grads = {name: each.grad for name, each in module.named_parameters() if each.grad is not None}
    found = grad_norm(module, p)
    wanted = {f"grad_{float(p)}_norm/{name}": grad.norm(float(p)).item() for name, grad in grads.items()}
    assert len(grads) == 3
    assert found.pop(f"grad_{float(p)}_norm_total") == pytest.approx(
        torch.nn.utils.get_total_norm(list(grads.values()), float(p)).item()
    )
    assert found == {name: pytest.approx(norm) for name, norm in wanted.items()}


def test_grad_norm_is_that_of_the_peer():
    peer = pytest.importorskip("pytorch_lightning.utilities", reason="the peer is an extra")
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    assert grad_norm(module, 2) == {}
    module(torch.ones(2, 3)).sum().backward()
    assert grad_norm(module, 2) == {name: pytest.approx(float(v)) for name, v in peer.grad_norm(module, 2).items()}
    with pytest.raises(ValueError, match="norm_type=0"):
        grad_norm(module, 0)


@pytest.mark.parametrize("kind", [BoringModel, ManualOptimBoringModel])
def test_the_boring_model_runs_every_stage(kind: type[BoringModel], tmp_path: Path):
    quiet: Any = {"logger": False, "progress_bar_refresh_rate": 0, "weights_summary": None}
    trainer = pl.Trainer(default_root_dir=tmp_path, max_epochs=1, checkpoint_callback=False, **quiet)
    model = kind()
    trainer.fit(model)
    assert trainer.global_step == 64
    data = BoringDataModule()
    trainer.validate(model, datamodule=data)
    assert trainer.test(model, datamodule=data) == [{}]
    assert len(trainer.predict(model, datamodule=data) or []) == 64


def test_a_summary_is_an_object_that_is_printed():
    model = BoringModel()
    model.deep = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    summary = ModelSummary(model, max_depth=-1)
    assert summary.layer_names == ["layer", "deep", "deep.0", "deep.1"]
    assert summary.layer_types == ["Linear", "Sequential", "Linear", "ReLU"]
    assert summary.param_nums == [66, 20, 20, 0]
    assert summary.total_parameters == summary.trainable_parameters == 86
    assert "deep.0 | Linear" in str(summary)
    assert summarize(model).layer_names == ["layer", "deep"] == ModelSummary(model, mode="top").layer_names
    with pytest.raises(pl.ConfigurationError, match="mode='all'"):
        ModelSummary(model, mode="all")
