"""`functrain_jax.make_step`: the step as a function, alone and under jit, vmap and scan."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from functrain import kernel
from functrain_jax import make_step
from functrain_jax.backend import JaxBackend

KEY = jax.random.key(0)


def mse(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def linear():
    return {"w": jax.random.normal(jax.random.key(3), (4, 2)), "b": jnp.zeros(2)}


def data(n=12, seed=1):
    kx, ky = jax.random.split(jax.random.key(seed))
    return jax.random.normal(kx, (n, 4)), jax.random.normal(ky, (n, 2))


def close(a, b, tolerance=1e-6):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), a, b)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def bits(tree):
    """Host copies, with keys as their data."""
    raw = jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    return jax.tree.map(np.array, raw)


def test_equals_the_textbook():
    tx = optax.adamw(1e-2)
    step = make_step(mse, tx)
    state, params = step.init(linear()), linear()
    opt = tx.init(params)

    @jax.jit
    def by_hand(params, opt, batch):
        loss, grads = jax.value_and_grad(mse)(params, batch)
        updates, opt = tx.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt, loss

    for i in range(10):
        params, opt, loss = by_hand(params, opt, data(seed=i))
        state, report = step.step(state, data(seed=i))
        close(report.loss, loss)
    close(state.params, params)
    assert int(state.clock.update) == 10
    assert int(state.players[0].updates) == 10


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.3}, {"clip_value": 0.1}])
def test_accumulated_is_the_full_batch(clip):
    whole, cut = (
        make_step(mse, optax.adam(1e-2), **clip),
        make_step(mse, optax.adam(1e-2), accumulate=4, **clip),
    )
    a, b, c = whole.init(linear()), cut.init(linear()), cut.init(linear())
    for i in range(5):
        x, y = data(seed=i)
        a, ra = whole.step(a, (x, y))
        b, rb = cut.step(b, (x, y))
        c, _ = cut.step(c, [(x[k::4], y[k::4]) for k in range(4)])
        close(ra.loss, rb.loss)
    close(a.params, b.params)
    same(bits(b.params), bits(c.params))


def test_ragged_micro_batches_weigh_what_they_say():
    def weighted(params, batch):
        return {"loss": mse(params, batch), "weight": batch[0].shape[0]}

    step, whole = make_step(weighted, optax.sgd(0.1), accumulate=3), make_step(mse, optax.sgd(0.1))
    a, b = step.init(linear()), whole.init(linear())
    x, y = data()
    for _ in range(3):
        a, ra = step.step(a, [(x[:5], y[:5]), (x[5:10], y[5:10]), (x[10:], y[10:])])
        b, rb = whole.step(b, (x, y))
        close(ra.loss, rb.loss)
        assert float(ra.weight) == 12
    close(a.params, b.params)


def test_a_window_longer_than_announced_works():
    one, four = make_step(mse, optax.adam(1e-2)), make_step(mse, optax.adam(1e-2), accumulate=4)
    x, y = data()
    window = [(x[k : k + 3], y[k : k + 3]) for k in range(0, 12, 3)]
    a, _ = one.step(one.init(linear()), window)
    b, _ = four.step(four.init(linear()), window)
    close(a.params, b.params)


def test_batch_that_cannot_be_cut_names_both_numbers():
    step = make_step(mse, optax.sgd(0.1), accumulate=5)
    with pytest.raises(ValueError, match=r"batch of 12 .* 5 micro-batches"):
        step.step(step.init(linear()), data(12))


def test_epoch_is_the_scan_of_the_step():
    step = make_step(mse, optax.adam(1e-2), accumulate=2)
    batches = jax.tree.map(lambda *a: jnp.stack(a), *[data(seed=i) for i in range(6)])
    a, b, c = (step.init(linear()) for _ in range(3))
    losses = []
    for i in range(6):
        a, report = step.step(a, data(seed=i))
        losses.append(report.loss)
    b, reports = step.epoch(b, batches)
    c, again = jax.jit(lambda s, bs: lax.scan(step.step, s, bs))(c, batches)
    assert reports.loss.shape == (6,)
    close(reports.loss, jnp.stack(losses))
    same(bits(reports.loss), bits(again.loss))
    close(a.params, b.params)
    same(bits(b.params), bits(c.params))


def test_epoch_over_a_list_with_a_ragged_end():
    step = make_step(mse, optax.adam(1e-2))
    batches = [data(8, seed=i) for i in range(3)] + [data(5, seed=9)]
    a, b = step.init(linear()), step.init(linear())
    for batch in batches:
        a, _ = step.step(a, batch)
    b, reports = step.epoch(b, [[batch] for batch in batches])
    assert reports.loss.shape == (4,)
    close(a.params, b.params)


def noisy(params, batch, rng):
    x, y = batch
    keep = jax.random.bernoulli(rng, 0.5, x.shape)
    return mse(params, (jnp.where(keep, x, 0) * 2, y))


def test_vmap_trains_an_ensemble_of_seeds():
    step = make_step(noisy, optax.adam(1e-2), accumulate=2, clip_norm=1.0)

    def init(key):
        return step.init({"w": jax.random.normal(key, (4, 2)), "b": jnp.zeros(2)}, rng=key)

    keys = jax.random.split(KEY, 3)
    together = jax.vmap(init)(keys)
    many = jax.jit(jax.vmap(step.step, in_axes=(0, None)), donate_argnums=0)
    alone = [init(key) for key in keys]
    for i in range(4):
        together, reports = many(together, data(seed=i))
        alone = [step.step(state, data(seed=i))[0] for state in alone]
    assert reports.loss.shape == (3,)
    for i, state in enumerate(alone):
        close(jax.tree.map(lambda x, i=i: x[i], together.params), state.params, 1e-5)


def test_works_inside_another_jit_and_under_grad():
    step = make_step(mse, optax.sgd(0.1))
    same(
        bits(jax.jit(step.step)(step.init(linear()), data())[0].params),
        bits(step.step(step.init(linear()), data())[0].params),
    )

    def after(params):
        return mse(step.step.__wrapped__(step.init(params), data())[0].params, data(seed=5))

    grads = jax.grad(after)(linear())
    assert float(optax.tree.norm(grads)) > 0


def test_a_fresh_key_for_every_micro_batch():
    seen = []

    def spy(params, batch, rng):
        jax.debug.callback(lambda d: seen.append(tuple(np.asarray(d).ravel().tolist())), jax.random.key_data(rng))
        return mse(params, batch)

    step = make_step(spy, optax.sgd(0.1), accumulate=3)
    state = step.init(linear(), rng=7)
    for i in range(2):
        state, _ = step.step(state, data(seed=i))
    jax.effects_barrier()
    assert len(set(seen)) == 6


def test_rng_is_asked_for_where_it_is_missing():
    step = make_step(noisy, optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"rng=jax.random.key"):
        step.step(step.init(linear()), data())


def test_vars_are_carried():
    def counting(params, batch, vars):
        return {"loss": mse(params, batch), "vars": {"seen": vars["seen"] + batch[0].shape[0]}}

    step = make_step(counting, optax.sgd(0.1), accumulate=2)
    state = step.init(linear(), vars={"seen": jnp.int32(0)})
    for _ in range(3):
        state, _ = step.step(state, data())
    assert int(state.vars["seen"]) == 36

    def growing(params, batch, vars):
        return {"loss": mse(params, batch), "vars": {**vars, "more": jnp.zeros(())}}

    step = make_step(growing, optax.sgd(0.1))
    with pytest.raises(ValueError, match="vars changed their structure"):
        step.step(step.init(linear(), vars={"seen": jnp.int32(0)}), data())


def recurrent(params, batch, hiddens):
    x, y = batch
    hidden = jnp.zeros((x.shape[0], 3)) if hiddens is None else hiddens

    def cell(h, xt):
        h = jnp.tanh(xt @ params["in"] + h @ params["rec"])
        return h, h @ params["out"]

    hidden, out = lax.scan(cell, hidden, jnp.swapaxes(x, 0, 1))
    return {"loss": jnp.mean((jnp.swapaxes(out, 0, 1) - y) ** 2), "hiddens": hidden}


@pytest.mark.parametrize("window", [1, 2])
def test_truncated_sequences_equal_the_same_by_hand(window):
    keys = jax.random.split(KEY, 5)
    params = {
        "in": jax.random.normal(keys[0], (2, 3)),
        "rec": 0.5 * jax.random.normal(keys[1], (3, 3)),
        "out": jax.random.normal(keys[2], (3, 1)),
    }
    x, y = jax.random.normal(keys[3], (4, 10, 2)), jax.random.normal(keys[4], (4, 10, 1))
    tx = optax.adam(1e-2)
    step = make_step(recurrent, tx, tbptt=3, accumulate=window)
    state, reports = step.step(step.init(params), (x, y))
    assert state.hidden is None
    assert reports.loss.shape == (4 if window == 1 else 2,)

    pieces = [(x[:, a : a + 3], y[:, a : a + 3]) for a in range(0, 10, 3)]
    opt, hidden = tx.init(params), None
    for group in (pieces[i : i + window] for i in range(0, 4, window)):
        total = jax.tree.map(jnp.zeros_like, params)
        for piece in group:

            def loss(p, piece=piece, hidden=hidden):
                out = recurrent(p, piece, hidden)
                return out["loss"], out["hiddens"]

            grads, hidden = jax.grad(loss, has_aux=True)(params)
            total = jax.tree.map(jnp.add, total, grads)
        count = len(group)
        updates, opt = tx.update(jax.tree.map(lambda g, n=count: g / n, total), opt, params)
        params = optax.apply_updates(params, updates)
    close(state.params, params, 1e-5)


def test_truncation_needs_a_time_axis():
    step = make_step(recurrent, optax.sgd(0.1), tbptt=3)
    with pytest.raises(ValueError, match="no second axis"):
        step.step(step.init({"in": jnp.zeros((2, 3))}), jnp.zeros(4))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", jnp.bfloat16), ("16-mixed", jnp.float16)])
def test_low_precision_computes_low_and_stores_high(precision, dtype):
    seen = []

    def spy(params, batch):
        seen.extend([params["w"].dtype, batch[0].dtype, batch[1].dtype])
        x, label = batch
        logits = x @ params["w"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

    step = make_step(spy, optax.adam(1e-2), precision=precision, accumulate=2)
    state = step.init({"w": linear()["w"]})
    for _ in range(5):
        state, report = step.step(state, (data()[0], jnp.arange(12) % 2))
    assert seen[:3] == [dtype, dtype, jnp.int32]
    assert state.params["w"].dtype == jnp.float32
    assert report.loss.dtype == jnp.float32
    assert (state.players[0].scale is None) == (precision == "bf16")
    reference = make_step(spy, optax.adam(1e-2), accumulate=2)
    exact = reference.init({"w": linear()["w"]})
    for _ in range(5):
        exact, _ = reference.step(exact, (data()[0], jnp.arange(12) % 2))
    close(state.params, exact.params, 2e-2)


def test_64_bits_need_to_be_switched_on():
    if jax.config.jax_enable_x64:
        pytest.skip("64 bits are on")
    with pytest.raises(ValueError, match="jax_enable_x64"):
        make_step(mse, optax.sgd(0.1), precision=64)


def test_64_bits():
    with jax.enable_x64(True):
        step = make_step(mse, optax.sgd(0.1), precision=64, accumulate=2)
        state, report = step.step(step.init(linear()), data())
        assert state.params["w"].dtype == jnp.float64
        assert report.loss.dtype == jnp.float64


def test_an_overflow_is_skipped_and_backs_the_scale_off():
    rule = kernel.ScaleRule(init=2.0**10, interval=2)
    step = make_step(mse, optax.adam(1e-2), loss_scale=rule, clip_norm=1.0)
    state = step.init(linear())
    state, _ = step.step(state, data())
    before = bits((state.params, state.players[0].opt))
    x, y = data()
    state, report = step.step(state, (x.at[0, 0].set(jnp.inf), y))
    assert not bool(report.finite)
    same(bits((state.params, state.players[0].opt)), before)
    assert float(state.players[0].scale.value) == 2.0**9
    assert int(state.clock.skipped) == 1
    for _ in range(2):
        state, report = step.step(state, data())
        assert bool(report.finite)
    assert float(state.players[0].scale.value) == 2.0**10


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**60])
def test_any_scale_clips_by_the_true_norm(scale):
    plain, scaled = (make_step(mse, optax.sgd(1.0), clip_norm=0.1, loss_scale=s) for s in (None, scale))
    a, ra = plain.step(plain.init(linear()), data())
    b, rb = scaled.step(scaled.init(linear()), data())
    close(ra.norm, rb.norm, 1e-5)
    close(a.params, b.params, 1e-5)


def test_skip_nonfinite_without_a_scale():
    step = make_step(mse, optax.adam(1e-2), skip_nonfinite=True)
    state = step.init(linear())
    before = bits(state.params)
    x, y = data()
    state, report = step.step(state, (x * jnp.nan, y))
    assert not bool(report.finite)
    same(bits(state.params), before)


def test_donation_kills_the_old_state_and_purity_keeps_it():
    step = make_step(mse, optax.adam(1e-2), accumulate=2)
    state = step.init(linear())
    step.step(state, data())
    assert state.params["w"].is_deleted()

    pure = make_step(noisy, optax.adam(1e-2), accumulate=2, donate=False)
    state = pure.init(linear(), rng=3)
    before, numpy_state = bits(state), np.random.get_state()[1].copy()
    first, second = pure.step(state, data()), pure.step(state, data())
    same(bits(first), bits(second))
    same(bits(state), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_init_copies_what_it_is_given():
    params = linear()
    step = make_step(mse, optax.adam(1e-2))
    step.step(step.init(params), data())
    assert not params["w"].is_deleted()
    shared = jnp.ones((4, 2))
    step = make_step(lambda p, b: jnp.mean((b[0] @ (p["a"] + p["b"])) ** 2), optax.sgd(0.1))
    state, _ = step.step(step.init({"a": shared, "b": shared}), data())
    assert int(state.clock.update) == 1


def test_the_compiled_step_moves_nothing_between_host_and_device():
    step = make_step(noisy, optax.adam(1e-2), accumulate=2, loss_scale=2.0**8)
    state, batch = step.init(linear(), rng=KEY), jax.device_put(data())
    state, _ = step.step(state, batch)
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            state, report = step.step(state, batch)
    assert step.step._cache_size() == 1
    assert np.isfinite(report.loss)


def test_reduce_on_plateau_gets_the_loss():
    tx = optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau(patience=1, factor=0.5, accumulation_size=1))
    step = make_step(lambda p, b: jnp.sum(p["w"] * 0.0) + 1.0, tx)
    state = step.init(linear())
    for _ in range(6):
        state, _ = step.step(state, data())
    assert float(state.players[0].opt[-1].scale) < 1.0


@pytest.mark.parametrize(
    ("loss_fn", "error", "match"),
    [
        (lambda p, b: (b[0] @ p["w"] - b[1]) ** 2, ValueError, r"shape \(12, 2\)"),
        (lambda p, b: None, ValueError, "weight of 0"),
        (lambda p, b: {"mse": 1.0}, ValueError, "without 'loss'; it has 'mse'"),
        (lambda p, b: 1, TypeError, "int32"),
    ],
)
def test_a_loss_that_is_none_says_so(loss_fn, error, match):
    step = make_step(loss_fn, optax.sgd(0.1))
    with pytest.raises(error, match=match):
        step.step(step.init(linear()), data())


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="accumulate=0"):
        make_step(mse, optax.sgd(0.1), accumulate=0)
    with pytest.raises(ValueError, match="precision='8'"):
        make_step(mse, optax.sgd(0.1), precision="8")
    with pytest.raises(TypeError, match="not seed"):
        make_step(lambda p, b, seed: 0.0, optax.sgd(0.1))
    with pytest.raises(TypeError, match=r"params\['n'\] has type int32"):
        make_step(mse, optax.sgd(0.1)).init({"n": jnp.int32(1)})
    with pytest.raises(ValueError, match="no parameters"):
        make_step(mse, optax.sgd(0.1)).init({})


def test_the_norm_of_gradients_of_any_size_is_finite_and_right():
    backend = JaxBackend(None, (optax.sgd(0.1),))
    for size in (1e-30, 1e-12, 1.0, 1e15, 1e30):
        grads = {"a": jnp.full(3, size), "b": jnp.full((2, 2), -2 * size)}
        np.testing.assert_allclose(backend.norm(grads, 2.0), np.sqrt(3 + 16) * size, rtol=1e-5)
    assert float(backend.norm({"a": jnp.zeros(3)}, 2.0)) == 0.0
    assert not np.isfinite(backend.norm({"a": jnp.array([1.0, jnp.nan])}, 2.0))
