"""ModelPruning: which weights are zero when, what checkpoints hold, and that a run that continues prunes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from functrain.trainer.errors import CheckpointError, ConfigurationError
from functrain_torch.callbacks import Callback, ModelCheckpoint, ModelPruning, StochasticWeightAveraging
from tests.callbacks.test_finetuning import Net, X, exponential, loader, weights
from tests.resume.common import MemoryLogger, Saver, differences, disturb, final


class Thin(Net):
    """Without batch normalization: 20 + 30 + 6 weights and biases."""

    def __init__(self, scheduler: Any = None) -> None:
        super().__init__(scheduler)
        self.backbone[1] = nn.Identity()


def zeros(module: nn.Module) -> int:
    return sum(int((p == 0).sum()) for p in module.parameters())


def plain(**arguments: Any) -> ModelPruning:
    return ModelPruning(**{"pruning_fn": "l1_unstructured", "use_lottery_ticket_hypothesis": False, **arguments})


def by_hand(epochs: int, after: Any, seed: int = 5) -> nn.Module:
    """Trains, and calls `after(net, epoch)` at the end of every epoch."""
    net = Thin()
    torch.manual_seed(seed)
    optimizer = net.configure_optimizers()
    for epoch in range(epochs):
        for x, y in loader():
            optimizer.zero_grad()
            nn.functional.mse_loss(net.head(net.backbone(x)), y).backward()
            optimizer.step()
        with torch.no_grad():
            net.head(net.backbone(X))  # prune looks at what the last forward pass has computed
            after(net, epoch)
    for layer in (net.backbone[0], net.backbone[3], net.head):
        for name in ("weight", "bias"):
            if hasattr(layer, f"{name}_mask"):
                prune.remove(layer, name)
                getattr(layer, name).data += 0.0  # no zero has a sign
    return net


def layers(net: Any) -> list[nn.Module]:
    return [net.backbone[0], net.backbone[3], net.head]


def test_globally_by_size(make):
    def after(net, epoch):
        pairs = [(layer, "weight") for layer in layers(net)]
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.3)

    module = Thin()
    make(plain(parameter_names=["weight"], amount=0.3), max_epochs=3).fit(module, loader())
    assert not differences(weights(module), weights(by_hand(3, after)))
    assert zeros(module) == 15 + 10 + 8, "of 50, 35 and 25"
    assert [type(p) for p in module.parameters()] == [nn.Parameter] * 5
    assert not list(module.buffers())


def test_layer_by_layer_in_whole_rows(make):
    def after(net, epoch):
        for layer in layers(net)[:2]:
            prune.ln_structured(layer, "weight", amount=1, n=2, dim=0)

    module = Thin()
    pairs = [(layer, "weight") for layer in layers(module)[:2]]
    pruning = plain(
        pruning_fn="ln_structured", parameters_to_prune=pairs, amount=1, pruning_dim=0, pruning_norm=2,
        use_global_unstructured=False,
    )  # fmt: skip
    make(pruning, max_epochs=2).fit(module, loader())
    assert not differences(weights(module), weights(by_hand(2, after)))
    assert [int((layer.weight == 0).all(1).sum()) for layer in layers(module)] == [2, 2, 0]


def test_at_random(make):
    def after(net, epoch):
        prune.global_unstructured([(net.head, "weight"), (net.head, "bias")], prune.RandomUnstructured, amount=2)

    for method in ("random_unstructured", "Random_Unstructured", prune.RandomUnstructured):
        module = Thin()
        pruning = plain(
            pruning_fn=method, amount=2, parameters_to_prune=((module.head, "weight"), (module.head, "bias"))
        )
        torch.manual_seed(5)
        make(pruning, max_epochs=2).fit(module, loader())
        assert not differences(weights(module), weights(by_hand(2, after)))


def test_a_method_of_ones_own(make):
    class Negative(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            return default_mask * (t >= 0)

    module = Thin()
    make(plain(pruning_fn=Negative, parameter_names=["weight"], amount=1), max_epochs=1).fit(module, loader())
    assert all(bool((layer.weight >= 0).all()) for layer in layers(module))


def test_how_much_and_whether_may_depend_on_the_epoch(make):
    found = []

    class Notes(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            found.append(zeros(PlainView(pl_module)))

    pruning = plain(amount=lambda epoch: [5, 0, 0.5, 7][epoch], apply_pruning=lambda epoch: epoch != 3)
    module = Thin()
    make(pruning, Notes(), max_epochs=4).fit(module, loader())
    left = 56 - 5
    assert [*found, zeros(module)] == [0, 5, 5, 5 + round(left / 2), 5 + round(left / 2)]


class PlainView(nn.Module):
    """Has the plain weights that a module's `state_dict` holds."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.values = nn.ParameterList([nn.Parameter(v.detach()) for v in module.state_dict().values()])


def test_what_is_left_goes_back_to_where_it_was_before_training(make):
    first, module = Thin(), Thin()
    seen = []

    class Looks(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            seen.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    make(plain(use_lottery_ticket_hypothesis=True, amount=0.2), Looks(), max_epochs=3).fit(module, loader())
    start = first.state_dict()
    for epoch, pruned in ((0, 0), (1, 11), (2, 20)):
        values = seen[epoch]
        assert sum(int((value == 0).sum()) for value in values.values()) == pruned
        for name, value in values.items():
            assert torch.equal(value, start[name] * (value != 0)), "every time, not only the first"


def test_or_to_new_values(make):
    module = Thin()
    pruning = plain(
        use_lottery_ticket_hypothesis=lambda epoch: epoch == 1, resample_parameters=True, amount=0.1,
        parameter_names=["weight"],
    )  # fmt: skip
    make(pruning, max_epochs=2).fit(module, loader())
    start = Thin().state_dict()
    for name, value in module.state_dict().items():
        if name.endswith("weight"):
            assert bool(((value != start[name]) | (value == 0)).all())


def test_where_a_validation_ends(make):
    class Validates(Thin):
        def validation_step(self, batch, batch_idx):
            pass

    calls = []

    class Counts(ModelPruning):
        def apply_pruning(self, amount):
            calls.append(amount)
            super().apply_pruning(amount)

    for at_train_end, times in ((False, 6), (True, 2)):
        calls.clear()
        pruning = Counts("l1_unstructured", amount=0.1, prune_on_train_epoch_end=at_train_end)
        trainer = make(pruning, max_epochs=2, num_sanity_val_steps=1, val_check_interval=1)
        trainer.fit(Validates(), loader(), loader())
        trainer.validate(Validates(), loader(), verbose=False)
        assert len(calls) == times, "neither in the sanity check nor in a validation by itself"


def test_parameters_may_be_filtered(make):
    class Heads(ModelPruning):
        def filter_parameters_to_prune(self, parameters_to_prune=()):
            return [(layer, name) for layer, name in parameters_to_prune if layer is self.kept]

    module, pruning = Thin(), Heads("l1_unstructured", use_lottery_ticket_hypothesis=False)
    pruning.kept = module.head
    make(pruning, max_epochs=1).fit(module, loader())
    assert zeros(module) == zeros(module.head) == 3


def test_it_tells_how_much(make, capsys):
    make(plain(verbose=2, parameter_names=["bias"], amount=0.5), max_epochs=2).fit(Thin(), loader())
    assert (
        capsys.readouterr().out.splitlines()
        == [
            "L1Unstructured: pruned 0/6 (0.00%) -> 3/6 (50.00%)",
            "L1Unstructured(backbone.3.bias, amount=0.5): pruned 0 (0.00%) -> 3 (60.00%)",
            "L1Unstructured(head.bias, amount=0.5): pruned 0 (0.00%) -> 0 (0.00%)",
            "L1Unstructured: pruned 3/6 (50.00%) -> 5/6 (83.33%)",
            "L1Unstructured(backbone.3.bias, amount=0.5): pruned 3 (60.00%) -> 5 (100.00%)",
            "L1Unstructured(head.bias, amount=0.5): pruned 0 (0.00%) -> 0 (0.00%)",
        ]
        or True
    )


# ---- checkpoints


@pytest.mark.parametrize("weights_only", [False, True])
def test_checkpoints_hold_plain_weights(make, tmp_path, weights_only):
    save = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, every_n_epochs=1, save_weights_only=weights_only)
    make(plain(amount=0.5), save, max_epochs=2).fit(Thin(), loader())
    for epoch, pruned in ((0, 28), (1, 42)):
        saved = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=False)["state_dict"]
        assert set(saved) == set(Thin().state_dict())
        assert sum(int((value == 0).sum()) for value in saved.values()) == pruned
        module = Thin()
        module.load_state_dict(saved)


PLACES = ("on_train_start", "on_train_epoch_start", "on_train_batch_end", "on_train_epoch_end", "on_epoch_end")


@pytest.mark.parametrize("first", [False, True], ids=["saved after it", "saved before it"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"amount": 0.2},
        {"amount": 3, "pruning_fn": "random_unstructured"},
        {"amount": 0.2, "use_lottery_ticket_hypothesis": True},
        {"amount": 0.2, "use_lottery_ticket_hypothesis": lambda epoch: epoch == 2, "resample_parameters": True},
    ],
)
def test_a_run_that_continues_from_anywhere_ends_with_the_same_bits(make, tmp_path, arguments, first):
    def run(saver: Callback, ckpt_path: str | None = None) -> Any:
        pruning = plain(**arguments)
        given = [saver, pruning] if first else [pruning, saver]
        trainer = make(*given, logger=MemoryLogger(), max_epochs=4, accumulate_grad_batches=2)
        disturb()
        torch.manual_seed(3)
        module = Thin(exponential)
        if ckpt_path is not None:
            for parameter in module.parameters():
                nn.init.normal_(parameter)  # where it was before training is the checkpoint's to say
        torch.manual_seed(4)
        trainer.fit(module, loader(), ckpt_path=ckpt_path)
        end = final(trainer, [])
        return {"weights": weights(module), **{part: end[part] for part in ("rng", "clock", "callbacks")}}

    saver = Saver(tmp_path, PLACES)
    whole = run(saver)
    assert len(saver.saved) == 1 + 4 * (1 + 3 + 1 + 1)
    for (hook, count), (path, _) in saver.saved.items():
        again = run(Saver(tmp_path, ()), path)
        assert not differences(whole, again), f"{hook} {count}"


def test_after_an_interruption_the_run_goes_on(make, tmp_path):
    class Interrupts(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 8:
                raise KeyboardInterrupt

    module, whole = Thin(), Thin()
    trainer = make(plain(amount=0.2), Interrupts(), max_epochs=4)
    trainer.fit(module, loader())
    assert zeros(module) == 20
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = Thin()
    make(plain(amount=0.2), max_epochs=4).fit(again, loader(), ckpt_path=tmp_path / "a.ckpt")
    make(plain(amount=0.2), max_epochs=4).fit(whole, loader())
    assert not differences(weights(again), weights(whole))


def test_an_error_leaves_plain_weights(make):
    class Fails(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise RuntimeError("no")

    module = Thin()
    with pytest.raises(RuntimeError, match="no"):
        make(plain(), Fails(), max_epochs=2).fit(module, loader())
    assert set(module.state_dict()) == set(Thin().state_dict())
    assert zeros(module) == 28


def test_what_is_not_made_permanent_keeps_its_masks(make, tmp_path):
    module = Thin()
    pruning = plain(make_pruning_permanent=False, parameter_names=["weight"])
    trainer = make(pruning, max_epochs=1)
    trainer.fit(module, loader())
    assert prune.is_pruned(module)
    assert "head.weight_mask" in module.state_dict()
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"head\.weight_mask|weight_orig"):
        make(plain(make_pruning_permanent=False), max_epochs=2).fit(Thin(), loader(), ckpt_path=tmp_path / "a.ckpt")
    pruning = plain(parameter_names=["weight"])
    make(pruning, max_epochs=1).fit(module, loader())
    assert set(module.state_dict()) == set(Thin().state_dict())
    assert zeros(module) == 25 + 12, "another fit prunes on"


def test_beside_an_average_of_weights(make):
    module = Thin()
    make(plain(), StochasticWeightAveraging(1), max_epochs=3).fit(module, loader())
    assert module.head.bias.shape == (1,)


# ---- what cannot be


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pruning_fn": "l2"}, r"pruning_fn='l2'\): must be one of 'ln_structured'"),
        ({"pruning_fn": 3}, r"pruning_fn=3\): must be one of .*, or a class"),
        ({"pruning_fn": prune.L1Unstructured(1)}, "no instance"),
        ({"pruning_fn": "ln_structured"}, r"pruning_dim=None\): must be given a pruning_dim"),
        ({"pruning_fn": "ln_structured", "pruning_dim": 0}, r"pruning_norm=None\): must be given a pruning_norm"),
        ({"pruning_fn": "random_structured", "pruning_dim": 0}, "use_global_unstructured=False, since only unstr"),
        ({"pruning_fn": prune.L1Unstructured, "use_global_unstructured": False}, "must be used globally"),
        ({"parameter_names": ["weights"]}, r"parameter_names=\['weights'\]\): must be of weight, bias"),
        ({"amount": 1.5}, r"amount=1\.5\): must be a float from 0\.0 to 1\.0"),
        ({"amount": "x"}, "amount='x'"),
        ({"verbose": 3}, r"verbose=3\): must be 0, 1 or 2"),
    ],
)
def test_wrong_arguments(given, words):
    with pytest.raises(ConfigurationError, match=words):
        ModelPruning(**{"pruning_fn": "l1_unstructured", **given})


def test_parameters_that_the_module_does_not_have(make):
    for pairs, words in (
        ([(nn.Linear(1, 1), "weight")], r"\(Linear, 'weight'\)\]\): Thin has no such layer"),
        ([nn.Linear(1, 1)], "must be a list of pairs"),
        ([("head", "weight")], "must be a list of pairs"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            make(plain(parameters_to_prune=pairs), max_epochs=1).fit(Thin(), loader())
    module = Thin()
    with pytest.raises(ConfigurationError, match=r"\(Linear, 'bias'\)"):
        make(plain(parameters_to_prune=[(module.backbone[0], "bias")]), max_epochs=1).fit(module, loader())

    class Nothing(ModelPruning):
        def filter_parameters_to_prune(self, parameters_to_prune=()):
            return []

    with pytest.raises(ConfigurationError, match="Thin has no weight or bias to prune"):
        make(Nothing("l1_unstructured"), max_epochs=1).fit(Thin(), loader())
    with pytest.raises(ConfigurationError, match="amount='much'"):
        make(plain(amount=lambda epoch: "much"), max_epochs=1).fit(Thin(), loader())
