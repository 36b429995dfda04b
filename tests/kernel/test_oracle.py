"""The oracle itself: its gradients are those of finite differences, its optimizers worked out by hand."""

import numpy as np
import pytest

from functrain.kernel import Rule
from tests.oracle import SGD, AdamW, NumpyBackend, Part, bits, data, game, linear, mlp, recurrent, restless


def case(name):
    rng = np.random.default_rng(7)
    weighted = data.regression(rng, 5)._replace(weight=data.weights(rng, 5))
    means = {"rng": 3, "vars": {"mean": np.zeros(data.D_IN)}}
    hidden = {"hidden": rng.normal(size=(2, 3))}
    players = {"x": rng.normal(size=3), "y": rng.normal(size=2)}
    return {
        "linear": (linear, data.linear_params(rng), data.regression(rng, 5), {}),
        "linear, weighted": (linear, data.linear_params(rng), weighted, {}),
        "restless": (restless, data.linear_params(rng), data.regression(rng, 5), means),
        "mlp, tanh": (mlp("tanh"), data.mlp_params(rng), data.classes(rng, 5), {}),
        "mlp, relu": (mlp("relu"), data.mlp_params(rng), data.classes(rng, 5), {}),
        "elman": (recurrent.elman, recurrent.params(rng), data.sequences(rng, 2, 4), {}),
        "elman, carried": (recurrent.elman, recurrent.params(rng), data.sequences(rng, 2, 4), hidden),
        "game, first": (game.first, players, rng.normal(size=(3, 2)), {}),
        "game, second": (game.second, players, rng.normal(size=(3, 2)), {}),
    }[name]


CASES = (
    "linear", "linear, weighted", "restless", "mlp, tanh", "mlp, relu", "elman", "elman, carried",
    "game, first", "game, second",
)  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name):
    loss, params, batch, fields = case(name)
    state = NumpyBackend(Part(loss, SGD(0.1))).init(params, (Rule(),), **fields)
    for key, grad in loss(state, batch).grads.items():
        slopes = np.empty_like(grad)
        for at in np.ndindex(grad.shape):
            loss_at = []
            for move in (1e-6, -1e-6):
                nudged = params[key].copy()
                nudged[at] += move
                loss_at.append(loss(state._replace(params={**params, key: nudged}), batch).loss)
            slopes[at] = (loss_at[0] - loss_at[1]) / 2e-6
        np.testing.assert_allclose(grad, slopes, rtol=1e-6, atol=1e-8, err_msg=key)


def test_a_model_leaves_the_state_that_it_reads_alone():
    for name in CASES:
        loss, params, batch, fields = case(name)
        state = NumpyBackend(Part(loss, SGD(0.1))).init(params, (Rule(),), **fields)
        before = bits(state)
        loss(state, batch)
        assert bits(state) == before, name


def test_sgd_with_momentum_by_hand():
    params, opt = {"p": np.array([1.0])}, SGD(0.5, momentum=0.5)
    state = opt.init(params)
    seen = []
    for g in (2.0, 4.0, 0.0):
        state = opt.step(params, {"p": np.array([g])}, state)
        seen.append(float(params["p"][0]))
    # Velocities 2, 5 and 2.5.
    assert seen == [0.0, -2.5, -3.75]


def test_adamw_by_hand():
    params, opt = {"p": np.array([1.0])}, AdamW(0.1, b1=0.5, b2=0.75, eps=0.0, weight_decay=0.5)
    state = opt.step(params, {"p": np.array([3.0])}, opt.init(params))
    # The first step, whatever the gradient's size: the decay of 1 by 0.05, then lr against its sign.
    np.testing.assert_allclose(params["p"], 0.95 - 0.1, rtol=1e-15)
    opt.step(params, {"p": np.array([-1.0])}, state)
    m_hat = (0.25 * 3 - 0.5 * 1) / 0.75
    v_hat = (0.75 * 0.25 * 9 + 0.25 * 1) / (1 - 0.75**2)
    np.testing.assert_allclose(params["p"], 0.85 * 0.95 - 0.1 * m_hat / v_hat**0.5, rtol=1e-14)
