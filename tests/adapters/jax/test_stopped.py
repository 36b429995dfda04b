"""Where a run stops between dispatches, hooks and callers see live arrays."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests import inside
from tests.adapters.jax.common import Batches, Classifier, trainer


class Cut(Batches):
    """Does something while it is asked for a batch."""

    def __init__(self, at, act):
        super().__init__()
        self.at, self.act = at, act

    def __iter__(self):
        for i, batch in enumerate(self.batches):
            if i == self.at:
                self.act()
            yield batch


@pytest.mark.parametrize("how", ["time", "key", "stop"])
@pytest.mark.parametrize("at", [0, 5, 11])
def test_hooks_after_a_stop_see_weights_that_are_not_deleted(how, at):
    seen = []

    class Looks(Classifier):
        def look(self):
            seen.append(jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(self.net, nnx.Param))))

        def on_epoch_end(self):
            self.look()

        def on_train_end(self):
            self.look()

        def on_fit_end(self):
            self.look()

        def teardown(self, stage):
            self.look()

    def act():
        if how == "key":
            raise KeyboardInterrupt
        if how == "stop":
            run.should_stop = True
        else:
            inside.end_time(run)

    module, run = Looks(), trainer(max_epochs=3)
    try:
        run.fit(module, Cut(at, act))
    except KeyboardInterrupt:
        assert how == "key"
    module.look()
    assert len(seen) > 1
