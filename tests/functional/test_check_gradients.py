"""`check_gradients` holds gradients against finite differences, and looks at what is frozen."""

import jax
import jax.numpy as jnp
import optax
import pytest
import torch
from flax import nnx

from functrain.testing import NothingToCheck, check_gradients
from tests.functional.modules_checked import CLASSES, SOUND, WORLDS, JaxConv, JaxMlp, TorchConv, TorchMlp, batch_of


class Scaled(torch.autograd.Function):
    """tanh with a backward pass that forgets its square."""

    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (1 - y)


@jax.custom_vjp
def scaled(x):
    return jnp.tanh(x)


scaled.defvjp(lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda y, grad: (grad * (1 - y),))


class TorchWrong(TorchMlp):
    def __init__(self, defect):
        super().__init__()
        self.defect = defect

    def forward(self, x):
        hidden = self.first(x)
        if self.defect == "detached":
            hidden = hidden + 0.1 * hidden.detach() ** 2
        if self.defect == "rounded":
            hidden = hidden + (hidden.round() - hidden).detach()
        return self.last(Scaled.apply(hidden) if self.defect == "backward" else torch.tanh(hidden))


class JaxWrong(JaxMlp):
    def __init__(self, defect):
        super().__init__()
        self.defect = defect

    def forward(self, x):
        hidden = self.first(x)
        if self.defect == "detached":
            hidden = hidden + 0.1 * jax.lax.stop_gradient(hidden) ** 2
        if self.defect == "rounded":
            hidden = hidden + jax.lax.stop_gradient(jnp.round(hidden) - hidden)
        return self.last((scaled if self.defect == "backward" else jnp.tanh)(hidden))


WRONG = {"torch": TorchWrong, "jax": JaxWrong}


class TorchFrozen(TorchMlp):
    """Its first layer is not to be trained."""

    def __init__(self, thaw=lambda module: None):
        super().__init__()
        self.first.requires_grad_(False)
        self.thaw = thaw

    def on_train_start(self):
        self.thaw(self)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, weight_decay=0.1)


class TorchTeacher(TorchMlp):
    """A frozen part that the step itself moves, as a mean of another."""

    def __init__(self):
        super().__init__()
        self.teacher = torch.nn.Linear(4, 32).requires_grad_(False)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        with torch.no_grad():
            self.teacher.weight.lerp_(self.first.weight, 0.1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class JaxFrozen(JaxMlp):
    """Its first layer is not to be trained; without `masked` its weights decay."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def configure_optimizers(self):
        if self.how == "none":
            return {"last": optax.adam(0.1), "first": None}
        labels = {"first": "frozen", "last": "trained"}
        tx = optax.multi_transform({"trained": optax.adam(0.1), "frozen": optax.set_to_zero()}, labels)
        return tx if self.how == "masked" else optax.chain(tx, optax.add_decayed_weights(-0.1))


class Hands(TorchMlp):
    automatic_optimization = False


class Skips(TorchMlp):
    def training_step(self, batch, batch_idx):
        return None


class Half(TorchMlp):
    """Its second optimizer has a part that its loss does not use."""

    def __init__(self):
        super().__init__()
        self.other = torch.nn.Linear(4, 4)

    def training_step(self, batch, batch_idx, optimizer_idx):
        return self.loss(*batch)

    def configure_optimizers(self):
        first = torch.optim.SGD(self.first.parameters(), lr=0.1)
        rest = torch.optim.SGD([*self.last.parameters(), *self.other.parameters()], lr=0.1)
        return [{"optimizer": first, "frequency": 2}, {"optimizer": rest, "frequency": 1}]


@pytest.mark.parametrize(("world", "name"), SOUND)
def test_a_sound_module_passes_with_finite_differences(world, name):
    check_gradients(CLASSES[world][name](), batch_of(world, name), finite_differences=True)


@pytest.mark.parametrize("defect", ["backward", "detached", "rounded"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_gradient_that_is_not_the_loss_s_is_told_by_a_finite_difference(world, defect):
    module = WRONG[world](defect)
    check_gradients(module, batch_of(world))
    number = r"-?[\d.e-]+"
    said = rf"of first\.\w+ \(.*\) says {number} along a random direction, and the loss changes by {number}"
    with pytest.raises(AssertionError, match=said):
        check_gradients(module, batch_of(world), finite_differences=True)


@pytest.mark.parametrize(
    ("module", "frozen"),
    [
        (TorchFrozen, ()),
        (TorchFrozen, ("first",)),
        (TorchTeacher, ()),
        (lambda: JaxFrozen("none"), ("first",)),
        (lambda: JaxFrozen("masked"), ("first",)),
    ],
)
def test_what_is_frozen_may_have_no_gradient(module, frozen):
    checked = module()
    world = "torch" if isinstance(checked, TorchMlp) else "jax"
    check_gradients(checked, batch_of(world), frozen=frozen, finite_differences=world == "torch")


class TorchForgets(TorchMlp):
    """A part that its optimizer was not given."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.last.parameters(), lr=0.1)


class TorchZero(TorchMlp):
    """Its last layer begins at zero, and cuts off the first until it has moved."""

    def __init__(self):
        super().__init__()
        torch.nn.init.zeros_(self.last.weight)


class JaxLora(JaxMlp):
    """The second of the two layers beside the first begins at zero."""

    def __init__(self):
        super().__init__()
        self.beside = nnx.LoRA(4, 2, 32, rngs=nnx.Rngs(0))

    def forward(self, x):
        return self.last(jnp.tanh(self.first(x) + self.beside(x)))


@pytest.mark.filterwarnings("ignore:TorchForgets. no optimizer trains first.weight")
def test_a_trainable_parameter_that_no_optimizer_moves_is_named():
    said = r"first\.weight requires a gradient, and no optimizer moves it.*frozen=\['first'\]"
    with pytest.raises(AssertionError, match=said):
        check_gradients(TorchForgets(), batch_of("torch"))
    check_gradients(TorchForgets(), batch_of("torch"), frozen=["first"])


@pytest.mark.parametrize("module", [TorchZero, JaxLora])
def test_a_layer_that_begins_at_zero_is_no_defect(module):
    check_gradients(module(), batch_of("torch" if module is TorchZero else "jax"))


def test_a_frozen_parameter_that_gets_a_gradient_is_named():
    with pytest.raises(AssertionError, match=r"first\.weight is frozen and has a gradient"):
        check_gradients(TorchFrozen(lambda module: module.requires_grad_(True)), batch_of("torch"))


@pytest.mark.parametrize(
    ("module", "said"), [(TorchMlp, r"first\.weight"), (lambda: JaxFrozen("decays"), r"first\.bias|first\.kernel")]
)
def test_a_part_that_is_said_to_be_frozen_and_moves_is_named(module, said):
    checked = module()
    with pytest.raises(AssertionError, match=f"an update moves what is frozen: first ({said})"):
        check_gradients(checked, batch_of("torch" if isinstance(checked, TorchMlp) else "jax"), frozen=["first"])


class TorchStatistics(TorchConv):
    def __init__(self):
        super().__init__()
        self.first.requires_grad_(False)


class JaxStatistics(JaxConv):
    def configure_optimizers(self):
        return {"last": optax.adam(0.1), "conv": None, "norm": None}


@pytest.mark.parametrize(
    ("module", "part", "said"),
    [(TorchStatistics, "first", r"first\.1\.running_mean"), (JaxStatistics, "norm", r"norm\.mean")],
)
def test_a_frozen_normalisation_that_collects_statistics_is_named(module, part, said):
    with pytest.raises(AssertionError, match=f"what is frozen: first {said} .* evaluation mode"):
        check_gradients(module(), batch_of("torch" if module is TorchStatistics else "jax", "conv"), frozen=[part])


def test_an_optimizer_whose_turn_comes_later_is_looked_at():
    with pytest.raises(AssertionError, match=r"other\.weight has no gradient"):
        check_gradients(Half(), batch_of("torch"))


@pytest.mark.parametrize(("module", "said"), [(Hands, "Hands optimizes by hand"), (Skips, "returned no loss")])
def test_where_there_is_nothing_to_check_it_says_so(module, said):
    with pytest.raises(NothingToCheck, match=said):
        check_gradients(module(), batch_of("torch"))


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"there is no 'frist'; there are first\.weight"):
        check_gradients(TorchMlp(), batch_of("torch"), frozen=["frist"])


class TorchLoud(TorchMlp):
    def loss(self, x, y):
        return super().loss(x, y) * 100


class JaxLoud(JaxMlp):
    def loss(self, x, y):
        return super().loss(x, y) * 100


@pytest.mark.parametrize(("world", "module"), [("torch", TorchLoud), ("jax", JaxLoud)])
def test_a_loss_scale_that_is_too_high_yet_is_no_defect(world, module):
    check_gradients(module(), batch_of(world), precision=16, finite_differences=True)


class Late(Half):
    """Its second optimizer moves what is to stay."""

    def training_step(self, batch, batch_idx, optimizer_idx):
        return self.loss(*batch) + self.other(batch[0]).square().mean()


def test_a_frozen_part_that_an_optimizer_moves_in_its_turn_is_named():
    with pytest.raises(AssertionError, match=r"what is frozen: first other\.weight"):
        check_gradients(Late(), batch_of("torch"), frozen=["other"])


class Weightless(TorchMlp):
    def training_step(self, batch, batch_idx):
        return {"loss": super().training_step(batch, batch_idx), "weight": 0}


def test_a_batch_that_weighs_nothing_is_nothing_to_check():
    with pytest.raises(NothingToCheck, match="returned no loss"):
        check_gradients(Weightless(), batch_of("torch"))
