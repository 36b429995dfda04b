"""The hooks of modules and data modules as the classes of all frameworks have them: written, empty. Imports no
framework."""

from __future__ import annotations

from typing import Any

from functrain.trainer.overriding import default, hook


class DataHooks:
    """What a module and a data module may both define: their data's preparation, loaders, and part of a checkpoint."""

    @hook
    def train_dataloader(self) -> Any:
        """Return the training loader."""

    @hook
    def val_dataloader(self) -> Any:
        """Return the validation loader, or a list of loaders."""

    @hook
    def test_dataloader(self) -> Any:
        """Return the test loader, or a list of loaders."""

    @hook
    def predict_dataloader(self) -> Any:
        """Return the predict loader, or a list of loaders."""

    @hook
    def prepare_data(self) -> None:
        """Download and prepare the data, on one process only."""

    @hook
    def setup(self, stage: str) -> None:
        """A stage begins: 'fit', 'validate', 'test' or 'predict'."""

    @hook
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint is being loaded."""

    @hook
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint is about to be written."""

    @hook
    def teardown(self, stage: str) -> None:
        """A stage ends: 'fit', 'validate', 'test' or 'predict'."""


class TransferHooks:
    """A batch's way to the device, for modules and data modules to override. A data module's stand for the module's."""

    @default
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Return the batch as it is to be moved to the device."""
        return batch

    @default
    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int = 0) -> Any:
        """Return the batch, moved to the device."""
        return batch

    @default
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Return the batch as the step is to get it, after it was moved."""
        return batch


class ModuleHooks(DataHooks):
    """What a module of any framework may define. The hooks of a step itself are an eager framework's own."""

    @hook
    def configure_callbacks(self) -> Any:
        """Return callbacks of the module's own."""

    @hook
    def on_fit_start(self) -> None:
        """A fit begins."""

    @hook
    def configure_sharded_model(self) -> None:
        """Build large layers where they will live."""

    @hook
    def on_post_move_to_device(self) -> None:
        """The parameters are on their device."""

    @hook
    def configure_optimizers(self) -> Any:
        """Return the optimizers and their schedulers."""

    @hook
    def on_pretrain_routine_start(self) -> None:
        """The sanity check is about to be prepared."""

    @hook
    def on_pretrain_routine_end(self) -> None:
        """All is set up for the sanity check."""

    @hook
    def on_train_dataloader(self) -> None:
        """The training loader is about to be asked for."""

    @hook
    def on_train_start(self) -> None:
        """Training begins."""

    @hook
    def on_epoch_start(self) -> None:
        """A training epoch begins."""

    @hook
    def on_train_epoch_start(self) -> None:
        """A training epoch begins."""

    @hook
    def on_batch_start(self) -> None:
        """A training batch begins."""

    @hook
    def on_train_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> int | None:
        """A training batch begins; return -1 to skip the rest of the epoch."""

    @hook
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A training batch ends; the outputs are the step's dict, or one with its loss as 'loss', and of several
        optimizers a list of those that played, which one whose step returned None did not."""

    @hook
    def on_batch_end(self) -> None:
        """A training batch ends."""

    @hook
    def training_epoch_end(self, outputs: Any) -> None:
        """Get the outputs of all training steps of the epoch."""

    @hook
    def on_train_epoch_end(self, outputs: Any) -> None:
        """A training epoch ends; validation has run."""

    @hook
    def on_epoch_end(self) -> None:
        """An epoch of any stage ends."""

    @hook
    def on_train_end(self) -> None:
        """Training ends."""

    @hook
    def on_fit_end(self) -> None:
        """A fit ends."""

    @hook
    def on_val_dataloader(self) -> None:
        """The validation loader is about to be asked for."""

    @hook
    def on_validation_model_eval(self) -> None:
        """Put the model into evaluation mode, before the validation stage."""

    @hook
    def on_validation_start(self) -> None:
        """The validation stage begins."""

    @hook
    def on_validation_epoch_start(self) -> None:
        """The validation epoch begins."""

    @hook
    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A validation batch begins; it is not yet on the device."""

    @hook
    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A validation batch ends."""

    @hook
    def validation_epoch_end(self, outputs: Any) -> None:
        """Get the outputs of all validation steps."""

    @hook
    def on_validation_epoch_end(self, outputs: Any) -> None:
        """The validation epoch ends."""

    @hook
    def on_validation_end(self) -> None:
        """The validation stage ends."""

    @hook
    def on_validation_model_train(self) -> None:
        """Put the model back into the mode that it had before the validation stage."""

    @hook
    def on_test_dataloader(self) -> None:
        """The test loader is about to be asked for."""

    @hook
    def on_test_model_eval(self) -> None:
        """Put the model into evaluation mode, before the test stage."""

    @hook
    def on_test_start(self) -> None:
        """The test stage begins."""

    @hook
    def on_test_epoch_start(self) -> None:
        """The test epoch begins."""

    @hook
    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A test batch begins; it is not yet on the device."""

    @hook
    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A test batch ends."""

    @hook
    def test_epoch_end(self, outputs: Any) -> None:
        """Get the outputs of all test steps."""

    @hook
    def on_test_epoch_end(self, outputs: Any) -> None:
        """The test epoch ends."""

    @hook
    def on_test_end(self) -> None:
        """The test stage ends."""

    @hook
    def on_test_model_train(self) -> None:
        """Put the model back into the mode that it had before the test stage."""

    @hook
    def on_predict_dataloader(self) -> None:
        """The predict loader is about to be asked for."""

    @hook
    def on_predict_model_eval(self) -> None:
        """Put the model into evaluation mode, before the predict stage."""

    @hook
    def on_predict_start(self) -> None:
        """The predict stage begins."""

    @hook
    def on_predict_epoch_start(self) -> None:
        """The predict epoch begins."""

    @hook
    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A predict batch begins; it is not yet on the device."""

    @hook
    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """A predict batch ends."""

    @hook
    def predict_epoch_end(self, outputs: Any) -> None:
        """Get the outputs of all predict steps."""

    @hook
    def on_predict_epoch_end(self, outputs: Any) -> None:
        """The predict epoch ends."""

    @hook
    def on_predict_end(self) -> None:
        """The predict stage ends."""

    @hook
    def on_predict_model_train(self) -> None:
        """Put the model back into the mode that it had before the predict stage."""
