"""LightningModule: a torch.nn.Module that holds its own training, validation, test and prediction steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from functrain.trainer.errors import ConfigurationError, kind
from functrain.trainer.hparams import HyperparametersMixin, load_hparams_yaml, load_tags_csv
from functrain.trainer.load import module_of
from functrain.trainer.module import ModuleBase
from functrain.trainer.overriding import default, hook
from functrain_torch import ckpt, export
from functrain_torch.serving import ByHand, Serving, without_optimizer
from functrain_torch.transfer import TransferHooks
from functrain_torch.tree import split_time


class LightningModule(TransferHooks, ModuleBase, HyperparametersMixin, nn.Module):
    """Organise a model as methods; the Trainer calls them.

    Needed are `training_step` and `configure_optimizers`; `validation_step`, `test_step`, `predict_step` and every hook
    of the table are taken where they are defined, with those of the documented arguments that their signatures take.

    Attributes:
        automatic_optimization: False hands zero_grad, backward and step to `training_step`.
        truncated_bptt_steps: cut batches along time into pieces of so many steps.
        example_input_array: a batch that a summary, a graph or an export may run.
        prepare_data_per_node: prepare_data once a node instead of once altogether.
    """

    prepare_data_per_node = True  # no annotation: TorchScript would read its text
    __jit_unused_properties__: ClassVar[list[str]] = []

    strict_loading: bool = True
    """The weights of a checkpoint must match the module exactly where `load_from_checkpoint` is not told otherwise."""

    @property
    def device(self) -> torch.device:
        """The device of the parameters; the CPU without any."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters; torch's default without any."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())

    @property
    def on_gpu(self) -> bool:
        """Are the parameters on a GPU?"""
        return self.device.type == "cuda"

    @property
    def model_size(self) -> float:
        """The size of parameters and buffers, in megabytes (10^6 bytes)."""
        return sum(t.numel() * t.element_size() for t in (*self.parameters(), *self.buffers())) / 1e6

    # steps

    @hook
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """One batch of training; return the loss, or a dict with 'loss'."""

    @hook
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """One batch of validation."""

    @hook
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """One batch of the test."""

    @hook
    def training_step_end(self, outputs: Any) -> Any:
        """Get what `training_step` returned, and return it as it is to be."""

    @hook
    def validation_step_end(self, outputs: Any) -> Any:
        """Get what `validation_step` returned, and return it as it is to be."""

    @hook
    def test_step_end(self, outputs: Any) -> Any:
        """Get what `test_step` returned, and return it as it is to be."""

    @default
    def tbptt_split_batch(self, batch: Any, split_size: int) -> list[Any]:
        """Cut a batch along time, its second axis, into pieces of `split_size` steps."""
        return split_time(batch, split_size)

    # what a step is made of; override to change

    @default
    def backward(
        self, loss: Tensor, *args: Any, optimizer: Any = None, optimizer_idx: int | None = None, **kwargs: Any
    ) -> None:
        """Run backward; the loss is scaled as the precision needs it.

        An override takes `(loss, optimizer, optimizer_idx)`, or `(loss, *args, **kwargs)` with arguments of
        `Tensor.backward`. `manual_backward` calls it too, with None for what it was not given.
        """
        loss.backward(*without_optimizer(args), **kwargs)

    @default
    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: Any = 0,
        optimizer_closure: Callable[[], Any] | None = None, on_tpu: bool = False, using_native_amp: bool = False,
        using_lbfgs: bool = False,
    ) -> None:  # fmt: skip
        """Step the optimizer; backward has run before.

        The closure returns the loss, and runs it again if called again. `super().optimizer_step(...)` may be given
        `(epoch, batch_idx, optimizer, optimizer_closure)` too.
        """
        if optimizer_closure is None and callable(optimizer_idx):
            optimizer_closure = optimizer_idx
        optimizer.step(optimizer_closure) if optimizer_closure is not None else optimizer.step()

    @default
    def lr_scheduler_step(self, scheduler: Any, *args: Any, **named: Any) -> None:
        """Step a scheduler; the metric is the one that it monitors, or None.

        Given are `(scheduler, optimizer_idx, metric)` or `(scheduler, metric)`.
        """
        metric = named.get("metric", args[-1] if args else None)
        scheduler.step() if metric is None else scheduler.step(metric)

    @default
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int = 0) -> None:
        """Clear the gradients of an optimizer's parameters."""
        optimizer.zero_grad()

    @hook
    def on_before_zero_grad(self, optimizer: Any) -> None:
        """The gradients are about to be cleared."""

    @hook
    def on_before_backward(self, loss: Tensor) -> None:
        """Backward is about to run; the loss is scaled as it will be differentiated."""

    @hook
    def on_after_backward(self) -> None:
        """Backward has run; the optimizer has done nothing yet."""

    @hook
    def on_before_optimizer_step(self, optimizer: Any, optimizer_idx: int = 0) -> None:
        """The optimizer is about to step; the gradients are unscaled means, not clipped."""

    @default
    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **named: Any) -> None:
        """Clip the mean gradients as the Trainer's flags say.

        Given are `(optimizer, optimizer_idx, gradient_clip_val, gradient_clip_algorithm)`, or without `optimizer_idx`.
        """
        has_number = len(args) > 2 or (args and "gradient_clip_val" in named)
        named = {**dict(zip(("gradient_clip_val", "gradient_clip_algorithm"), args[bool(has_number) :])), **named}  # noqa: B905
        self.clip_gradients(optimizer, named.get("gradient_clip_val"), named.get("gradient_clip_algorithm"))

    def clip_gradients(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients of an optimizer's parameters; by hand and under a loss scale they are unscaled before.

        Args:
            gradient_clip_val: the bound; default: the Trainer's flag.
            gradient_clip_algorithm: 'norm' of them together, or 'value' of each component; default: the Trainer's flag.
        """
        run = self._run("clip_gradients")
        bound = run.gradient_clip_val if gradient_clip_val is None else gradient_clip_val
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if not bound:
            return
        engine = self._engine("clip_gradients")
        if engine.trains and not engine.automatic:
            engine.manual.clipped = True
            engine.manual.unscale_of(optimizer)
        if (gradient_clip_algorithm or run.gradient_clip_algorithm) == "value":
            nn.utils.clip_grad_value_(parameters, bound)
        else:
            nn.utils.clip_grad_norm_(parameters, bound)

    # modes

    @default
    def on_validation_model_eval(self) -> None:
        """Put the model into evaluation mode, before the validation stage."""
        self.eval()

    @default
    def on_validation_model_train(self) -> None:
        """Put the model back into the mode that it had before the validation stage: every part for itself."""
        self._restore_modes("validation")

    @default
    def on_test_model_eval(self) -> None:
        """Put the model into evaluation mode, before the test stage."""
        self.eval()

    @default
    def on_test_model_train(self) -> None:
        """Put the model back into the mode that it had before the test stage: every part for itself."""
        self._restore_modes("test")

    @default
    def on_predict_model_eval(self) -> None:
        """Put the model into evaluation mode, before the predict stage."""
        self.eval()

    @default
    def on_predict_model_train(self) -> None:
        """Put the model back into the mode that it had before the predict stage: every part for itself."""
        self._restore_modes("predict")

    def _restore_modes(self, stage: str) -> None:
        self._engine(f"on_{stage}_model_train()").modes.restore()

    # optimization by hand

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """Return the optimizer, or a list of them where there are several.

        Args:
            use_pl_optimizer: wrapped, so that steps are counted and the precision is taken care of; False for
                torch's own.
        """
        engine = self._engine("optimizers()")
        found: list[Any] = list(engine.configured.optimizers)
        if use_pl_optimizer and engine.trains:
            found = [*engine.manual.handled()]
        return found[0] if len(found) == 1 else found

    def lr_schedulers(self) -> Any:
        """Return the scheduler, a list of them where there are several, or None."""
        found = [config.scheduler for config in self._engine("lr_schedulers()").configured.schedulers]
        if not found:
            return None
        return found[0] if len(found) == 1 else found

    def manual_backward(self, loss: Tensor, optimizer: Any = None, *args: Any, **kwargs: Any) -> None:
        """Backward within `training_step`, the loss scaled as the precision needs it; by `backward` where it is
        overridden.

        Under precision=16 a step whose gradients are not finite is skipped, and no other. The scale moves before the
        next backward, once for all steps since the last one.
        """
        self._manual("manual_backward()").backward(loss, optimizer, *args, **kwargs)

    def toggle_optimizer(self, optimizer: Any, optimizer_idx: int | None = None) -> None:
        """Let only this optimizer's parameters require gradients, until `untoggle_optimizer`."""
        self._manual("toggle_optimizer()").toggle.only(optimizer)

    def untoggle_optimizer(self, optimizer_idx: Any = None) -> None:
        """Undo `toggle_optimizer`."""
        self._manual("untoggle_optimizer()").toggle.undo()

    @contextmanager
    def toggled_optimizer(self, optimizer: Any) -> Generator[None]:
        """Within it only this optimizer's parameters require gradients."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    def _engine(self, what: str) -> Serving:
        return self._run(what).run.engine

    def _manual(self, what: str) -> ByHand:
        engine = self._engine(what)
        if not engine.trains:
            raise ConfigurationError(
                f"{type(self).__name__}.{what}: there are no optimizers in this run; call it within trainer.fit."
            )
        return engine.manual

    # weights

    def freeze(self) -> None:
        """Stop all parameters from being trained, and go into evaluation mode."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        self.eval()

    def unfreeze(self) -> None:
        """Let all parameters be trained, and go into training mode."""
        for parameter in self.parameters():
            parameter.requires_grad = True
        self.train()

    def to_onnx(self, file_path: export.File, input_sample: Any = None, **kwargs: Any) -> Any:
        """Write the forward pass as an ONNX file. Modes, gradients and run of the module stay as they are.

        Args:
            file_path: a path, a URL for fsspec, or a file open for writing.
            input_sample: what `forward` takes: a tuple of its arguments, a dict of them by name, or the only one;
                default: `example_input_array`.
            kwargs: further arguments of `torch.onnx.export`, such as `input_names` and `dynamic_shapes`. Weights are
                within the file unless `external_data=True`.

        Returns:
            What `torch.onnx.export` returns.

        Raises:
            ConfigurationError: there is no example input or no `forward`, or a package is missing.
        """
        example = self.example_input_array if input_sample is None else input_sample
        return export.to_onnx(self, file_path, example, **kwargs)

    def to_torchscript(
        self,
        file_path: export.File | None = None,
        method: str | None = "script",
        example_inputs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Return the forward pass in evaluation mode as TorchScript, and write it where a path is given. It shares its
        weights with the module, whose modes, gradients and run stay as they are.

        Args:
            file_path: a path, a URL for fsspec, or a file open for writing.
            method: 'script' compiles the code of `forward`; 'trace' runs it once and keeps what was done.
            example_inputs: what is run: a tuple of the arguments, a dict of them by name, or the only one; default:
                `example_input_array`.
            kwargs: further arguments of `torch.jit.script` or `torch.jit.trace`.

        Raises:
            ConfigurationError: there is no example input or no `forward`, or the method is another.
        """
        example = self.example_input_array if example_inputs is None else example_inputs
        return export.to_torchscript(self, file_path, method, example, **kwargs)

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: str | os.PathLike[str] | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a module of this class from a checkpoint, ours or pytorch_lightning's: its stored hyperparameters, then
        its weights.

        Args:
            checkpoint_path: a path, any fsspec URL, or a file object.
            map_location: a device, or a dict {from: to} of devices, to put the weights on.
            hparams_file: take the hyperparameters from this YAML (or .csv of tags) file instead.
            strict: the weights must match the module exactly; default: its `strict_loading`, else True.
            weights_only: of no effect: tensors and plain values are read, and nothing in the file may run code.
            kwargs: arguments of `__init__`, in place of the stored ones.

        Raises:
            CheckpointError: the file is damaged, or of another module; names both.
        """
        device, hparams = _device(map_location), hparams_of(hparams_file, cls.__name__)
        saved = ckpt.read(checkpoint_path)
        module, weights = module_of(
            cls, saved, str(checkpoint_path), kwargs, cls.state_dict, ckpt.forms, hparams, strict
        )
        module.load_state_dict(weights, strict=strict if strict is not None else module.strict_loading)
        return module.to(device) if device is not None else module

    @classmethod
    def load_from_metrics(
        cls, weights_path: Any, tags_csv: str | os.PathLike[str], on_gpu: bool = False, map_location: Any = None
    ) -> Self:
        """Make a module of a checkpoint and a CSV file: the older form of `load_from_checkpoint`.

        Args:
            weights_path: its `checkpoint_path`.
            tags_csv: its `hparams_file`: the hyperparameters, a tag and a value in each row.
            on_gpu: put the weights on a GPU, where no `map_location` is given.
            map_location: as there.
        """
        if on_gpu and map_location is None and not torch.cuda.is_available():
            raise ConfigurationError(
                f"{cls.__name__}.load_from_metrics(on_gpu=True): needs a CUDA device, and torch {torch.__version__} "
                "sees none here; use on_gpu=False."
            )
        default_location = "cuda" if on_gpu else None
        location = default_location if map_location is None else map_location
        return cls.load_from_checkpoint(weights_path, map_location=location, hparams_file=tags_csv)


def _properties(kind: type) -> list[str]:
    return [name for name in dir(kind) if isinstance(getattr(kind, name), property)]


# TorchScript compiles the properties of a module, but for these: they tell of the run.
LightningModule.__jit_unused_properties__ = _properties(LightningModule)


def hparams_of(path: Any, name: str) -> dict[str, Any] | None:
    """Return the hyperparameters in a YAML file, or in a .csv of tags; None for no file.

    Args:
        name: the class that is loaded, for messages.

    Raises:
        ConfigurationError: it is no path.
    """
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(
            f"{name}.load_from_checkpoint(hparams_file={path!r}): must be a path, not {kind(path)}."
        )
    return dict((load_tags_csv if os.fspath(path).endswith(".csv") else load_hparams_yaml)(path))


def _device(map_location: Any) -> torch.device | None:
    if map_location is None:
        return None
    if callable(map_location):
        return None
    targets = [*{str(to) for to in map_location.values()}] if isinstance(map_location, Mapping) else [map_location]
    try:
        devices = [torch.device(target) for target in targets]
    except (TypeError, RuntimeError) as error:
        raise ConfigurationError(
            f"load_from_checkpoint(map_location={map_location!r}): names no device; give 'cpu', 'cuda', 'cuda:1', a "
            "torch.device, or a dict {from: to} of them."
        ) from error
    if any(device.type == "cuda" for device in devices) and not torch.cuda.is_available():
        raise ConfigurationError(
            f"load_from_checkpoint(map_location={map_location!r}): needs a CUDA device, and torch {torch.__version__} "
            "sees none here; use map_location='cpu'."
        )
    return devices[0] if len(devices) == 1 else None
