"""Several devices, machines and TPU cores: this version has one device, and says so by the flag."""

import pytest
import torch

from functrain_torch import ConfigurationError, LightningModule, Trainer
from tests.documents.blocks import stands_for
from tests.documents.standins import BATCHES, Net, fitted, loader, samples


def refused(match, **flags):
    """A Trainer with these flags is an error that says this."""
    with pytest.raises(ConfigurationError, match=match):
        Trainer(**flags)


@stands_for(trainer=(11, 12), notes=22)
def test_accelerators():
    assert fitted(Trainer(accelerator=None)).count["train"] == 2 * BATCHES
    refused(r"accelerator='dp'\): this version runs on one device", gpus=2, accelerator="dp")
    refused(r"accelerator='ddp'\): this version", gpus=2, num_nodes=2, accelerator="ddp")
    refused(r"accelerator='ddp2'\): this version", gpus=2, num_nodes=2, accelerator="ddp2")


@stands_for(trainer=13)
def test_an_accelerator_of_ones_own():
    with pytest.raises(ModuleNotFoundError):
        from functrain_torch.accelerators import DDPAccelerator  # noqa: F401  # pyright: ignore

    class MyOwnDDP:
        pass

    refused(r"accelerator=<.*MyOwnDDP.*>\): this version runs on one device", accelerator=MyOwnDDP())


@stands_for(trainer=21, notes=25)
def test_auto_select_gpus():
    refused(r"gpus=2\): this version runs on one device", gpus=2, auto_select_gpus=False)
    refused(r"auto_select_gpus=True\): this flag is documented but not available", gpus=2, auto_select_gpus=True)
    assert Trainer(gpus=-1, auto_select_gpus=False).gpus == -1
    refused(r"auto_select_gpus=True\): this flag is documented but", gpus=-1, auto_select_gpus=True)


@stands_for(trainer=36, notes=33)
def test_gpus():
    refused(r"gpus=2\): this version runs on one device", gpus=2)
    refused(r"gpus=\[1, 4\]\): this version", gpus=[1, 4])
    refused(r"gpus='1, 4'\): this version", gpus="1, 4")
    refused(r"num_nodes=4\): this version", gpus=2, num_nodes=4)
    refused(r"num_nodes=4\): this version", gpus=[1, 4], num_nodes=4)
    for given in (-1, "-1"):
        trainer = Trainer(gpus=given)
        if torch.cuda.is_available():
            assert fitted(trainer).device.type == "cuda"
        else:
            with pytest.raises(ConfigurationError, match=rf"gpus={given!r}\): needs a CUDA device"):
                fitted(trainer)


@stands_for(trainer=47, notes=42)
def test_num_nodes():
    assert fitted(Trainer(num_nodes=1)).count["train"] == 2 * BATCHES
    refused(r"num_nodes=8\): this version runs on one device", num_nodes=8)


@stands_for(trainer=48, notes=43)
def test_num_processes():
    refused(r"accelerator='ddp_cpu'\): this version runs on one device", accelerator="ddp_cpu", num_processes=2)
    refused(r"num_processes=2\): this version runs on one device", num_processes=2)


@stands_for(trainer=50)
def test_a_cluster_of_ones_own():
    with pytest.raises(ModuleNotFoundError):
        from functrain_torch.cluster_environments import cluster_environment  # noqa: F401  # pyright: ignore

    class MyCluster:
        def master_address(self):
            return "127.0.0.1"

        def master_port(self):
            return 12910

        def world_size(self):
            return 2

    for flag in ("cluster_environment", "plugins"):
        refused(rf"{flag}=<.*>\): this flag is documented but not available", **{flag: MyCluster()})


@stands_for(trainer=(52, 53))
def test_tpu_cores():
    assert fitted(Trainer(tpu_cores=None)).count["train"] == 2 * BATCHES
    for cores in (1, [2], 8):
        refused(r"tpu_cores=.*\): this flag is documented but not available", tpu_cores=cores)


@stands_for(trainer=62)
def test_a_distributed_sampler_of_ones_own():
    dataset = samples(64)
    sampler = torch.utils.data.distributed.DistributedSampler(dataset, num_replicas=2, rank=1, shuffle=True)
    dataloader = torch.utils.data.DataLoader(dataset, batch_size=32, sampler=sampler)
    epochs = []

    class Noting(Net):
        def training_step(self, batch, batch_idx):
            epochs.append(sampler.epoch)
            return super().training_step(batch, batch_idx)

    trainer = Trainer(replace_sampler_ddp=False)
    trainer.fit(Noting(), dataloader, loader(1))
    assert epochs == [0, 1]  # told each epoch, so that it shuffles anew


@stands_for(module=2)
def test_no_device_calls():
    class Deviceless(Net):
        def training_step(self, batch, batch_idx):
            x, _ = batch
            new_x = torch.Tensor(2, 3)
            new_x = new_x.type_as(x)
            assert new_x.device == x.device == self.device
            return super().training_step(batch, batch_idx)

    assert fitted(Trainer(), Deviceless()).count["train"]


@stands_for(module=3)
def test_no_distributed_sampler():
    dataset = samples(8)
    trainer = Trainer()
    trainer.fit(Net(), torch.utils.data.DataLoader(dataset))
    assert not isinstance(trainer.train_dataloader.sampler, torch.utils.data.DistributedSampler)


@stands_for(module=43)
def test_prepare_data_per_node():
    class Preparing(LightningModule):
        def __init__(self):
            super().__init__()
            self.prepare_data_per_node = True

    assert Preparing().prepare_data_per_node
