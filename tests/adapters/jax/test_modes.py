"""Parts of nnx modules that evaluate while the module trains: whose choice holds, what a checkpoint keeps."""

import jax
import numpy as np
from flax import nnx

from tests.adapters.jax.common import Batches, Classifier, trainer


class Frozen(Classifier):
    """Its statistics were frozen by the user."""

    def __init__(self):
        super().__init__()
        self.net.norm.use_running_average = True


def statistics(model):
    return np.array(model.net.norm.mean[...])


def test_a_batch_norm_that_the_user_froze_does_not_train(capsys):
    model = Frozen()
    before = statistics(model)
    trainer(max_epochs=2).fit(model, Batches(), Batches())
    np.testing.assert_array_equal(statistics(model), before)
    assert model.net.norm.use_running_average
    assert not model.net.drop.deterministic
    said = [line for line in capsys.readouterr().out.splitlines() if "evaluation mode" in line]
    assert said == ["1 part of Frozen in evaluation mode before the fit stays so: net.norm."]


def test_a_part_unfrozen_in_the_run_stays_so_in_the_run_that_continues(tmp_path):
    class Later(Frozen):
        def on_train_start(self):
            if self.trainer.current_epoch == 0:
                self.net.norm.use_running_average = False

    run = trainer(max_epochs=1)
    run.fit(Later(), Batches(), Batches())
    run.save_checkpoint(tmp_path / "one.ckpt")
    whole, again = Later(), Later()
    trainer(max_epochs=2).fit(whole, Batches(), Batches())
    trainer(max_epochs=2).fit(again, Batches(), Batches(), ckpt_path=str(tmp_path / "one.ckpt"))
    assert not again.net.norm.use_running_average
    np.testing.assert_array_equal(statistics(again), statistics(whole))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(again.net, nnx.Param), nnx.state(whole.net, nnx.Param))


class Attends(Classifier):
    """An attention with dropout, which flax tells no mode."""

    def __init__(self):
        super().__init__()
        self.attention = nnx.MultiHeadAttention(2, 6, dropout_rate=0.5, decode=False, rngs=nnx.Rngs(0))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return super().training_step((x + self.attention(x[:, None])[:, 0], y), batch_idx)


def test_an_attention_that_was_told_no_mode_trains():
    trainer(max_epochs=1).fit(Attends(), Batches(), Batches())
