"""Truncated back-propagation through time, on every backend: as by hand, the hidden state handed on as a constant."""

from math import tanh

import numpy as np
import pytest
from hypothesis import strategies as st

from functrain.kernel import Clip, Rule, step, tbptt
from tests.kernel.backends import bits_of, law, on_every_backend, params
from tests.oracle import SGD, AdamW, Batch, NumpyBackend, Part, bits, data, recurrent
from tests.oracle.trees import assert_close

PLAIN = (Rule(),)


def pieces_of(batch, length):
    """The batch cut along time; the last piece is shorter where it must be."""
    time = batch.x.shape[1]
    return [Batch(batch.x[:, t : t + length], batch.y[:, t : t + length]) for t in range(0, time, length)]


def test_five_steps_in_pieces_of_two_by_hand():
    """A network of single numbers, term by term: pieces of 2, 2 and 1 steps, and an update after each."""
    xs, ys = [0.5, -1.0, 2.0, 0.3, -0.7], [0.2, 0.1, -0.4, 0.6, 0.9]
    u, w, b, v, c, h0, lr = 0.4, -0.3, 0.1, 0.8, 0.05, 0.0, 0.1
    losses = []
    for start in (0, 2):
        (x1, x2), (y1, y2) = xs[start : start + 2], ys[start : start + 2]
        h1 = tanh(u * x1 + w * h0 + b)
        h2 = tanh(u * x2 + w * h1 + b)
        e1, e2 = v * h1 + c - y1, v * h2 + c - y2
        losses.append((e1**2 + e2**2) / 2)
        s1, s2 = 1 - h1**2, 1 - h2**2
        # How the loss moves with what goes into each tanh; the first also acts through the second.
        a2 = e2 * v * s2
        a1 = (e1 * v + a2 * w) * s1
        du, dw, db = a1 * x1 + a2 * x2, a1 * h0 + a2 * h1, a1 + a2
        dv, dc = e1 * h1 + e2 * h2, e1 + e2
        u, w, b, v, c, h0 = u - lr * du, w - lr * dw, b - lr * db, v - lr * dv, c - lr * dc, h2
    h = tanh(u * xs[4] + w * h0 + b)
    e = v * h + c - ys[4]
    losses.append(e**2)
    a = 2 * e * v * (1 - h**2)
    u, w, b, v, c = u - lr * a * xs[4], w - lr * a * h0, b - lr * a, v - lr * 2 * e * h, c - lr * 2 * e

    backend = NumpyBackend(Part(recurrent.elman, SGD(lr)))
    params = {"u": [[0.4]], "w": [[-0.3]], "b": [0.1], "v": [[0.8]], "c": [0.05]}
    state = backend.init({name: np.array(p) for name, p in params.items()}, PLAIN)
    batch = Batch(np.array(xs).reshape(1, 5, 1), np.array(ys).reshape(1, 5, 1))
    state, reports = tbptt(backend, PLAIN, state, pieces_of(batch, 2))
    np.testing.assert_allclose([r.loss for (r,) in reports], losses, rtol=1e-13)
    want = {"u": [[u]], "w": [[w]], "b": [b], "v": [[v]], "c": [c]}
    assert_close(state.params, want, rtol=1e-13)


def loss_of_a_piece(p, hidden, piece):
    """The forward pass alone, for real or complex parameters."""
    total = 0.0
    for t in range(piece.x.shape[1]):
        hidden = np.tanh(piece.x[:, t] @ p["u"] + hidden @ p["w"] + p["b"])
        total = total + ((hidden @ p["v"] + p["c"] - piece.y[:, t]) ** 2).sum() / len(piece.x)
    return total / piece.x.shape[1], hidden


def gradient_of_a_piece(p, hidden, piece):
    """By a complex step, which is exact to the last digits and knows nothing of back-propagation."""
    grads = {name: np.empty_like(array) for name, array in p.items()}
    for name, array in p.items():
        for at in np.ndindex(array.shape):
            nudged = array.astype(complex)
            nudged[at] += 1e-30j
            grads[name][at] = loss_of_a_piece({**p, name: nudged}, hidden, piece)[0].imag / 1e-30
    return grads


@law(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))
def test_pieces_of_any_length_in_windows_of_any_size(kind, seed, time, length, window):
    """A window's gradient is the mean of its pieces' gradients, each at its own carried hidden state."""
    rng = np.random.default_rng(seed)
    want, batch = recurrent.params(rng), data.sequences(rng, 2, time)
    pieces, lr, clip = pieces_of(batch, length), 0.1, 0.5
    backend, rules = kind.backend(Part(recurrent.elman, SGD(lr))), (Rule(Clip(norm=clip)),)
    state, reports = tbptt(backend, rules, kind.init(backend, want, rules), pieces, window)

    hidden, losses = np.zeros((2, 3)), []
    for start in range(0, len(pieces), window):
        grads, loss = [], 0.0
        members = pieces[start : start + window]
        for piece in members:
            grads.append(gradient_of_a_piece(want, hidden, piece))
            piece_loss, hidden = loss_of_a_piece(want, hidden, piece)
            loss += piece_loss / len(members)
        mean = {name: sum(g[name] for g in grads) / len(members) for name in want}
        norm = np.sqrt(sum((g**2).sum() for g in mean.values()))
        shrink = min(1.0, clip / (norm + 1e-6))
        want = {name: p - lr * shrink * mean[name] for name, p in want.items()}
        losses.append(loss)

    assert_close(params(state), want, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose([float(r.loss) for (r,) in reports], losses, rtol=1e-10)
    assert state.clock.update == len(losses)


@on_every_backend
def test_the_pieces_are_one_batch_and_each_window_of_them_one_update(kind):
    rng, seen = np.random.default_rng(3), []
    backend = kind.backend(Part(recurrent.elman, SGD(0.01)))
    state = kind.init(backend, recurrent.params(rng), PLAIN)
    state = state._replace(clock=state.clock._replace(batch=7))

    def one(backend, rules, state, window):
        seen.append((state.clock.batch, state.clock.update))
        return step(backend, rules, state, window)

    state, _ = tbptt(backend, PLAIN, state, pieces_of(data.sequences(rng, 2, 10), 2), 2, one)
    assert seen == [(7, 0), (7, 1), (7, 2)]
    assert state.clock[1:3] == (8, 3)


@on_every_backend
def test_the_hidden_state_starts_empty_and_is_forgotten(kind):
    rng = np.random.default_rng(3)
    backend = kind.backend(Part(recurrent.elman, AdamW(0.01)))
    start, pieces = recurrent.params(rng), pieces_of(data.sequences(rng, 2, 6), 3)
    clean, _ = tbptt(backend, PLAIN, kind.init(backend, start, PLAIN), pieces)
    left = kind.init(backend, start, PLAIN)._replace(hidden=np.ones((2, 3)))
    dirty, _ = tbptt(backend, PLAIN, left, pieces)
    assert clean.hidden is None
    assert bits_of(kind, clean) == bits_of(kind, dirty)


@on_every_backend
def test_one_piece_is_the_whole_sequence_in_one_step(kind):
    rng = np.random.default_rng(4)
    backend = kind.backend(Part(recurrent.elman, AdamW(0.01)))
    start, batch = recurrent.params(rng), data.sequences(rng, 2, 6)
    cut, _ = tbptt(backend, PLAIN, kind.init(backend, start, PLAIN), [batch])
    whole, _ = step(backend, PLAIN, kind.init(backend, start, PLAIN), [batch])
    assert bits(params(cut)) == bits(params(whole))


def test_truncation_shows():
    """The hidden state is carried, so pieces are no strangers; it is cut off, so the whole is more."""
    rng = np.random.default_rng(5)
    backend = NumpyBackend(Part(recurrent.elman, SGD(0.1)))
    params, batch = recurrent.params(rng), data.sequences(rng, 1, 4)
    pieces = pieces_of(batch, 2)
    cut, [(in_two,)] = tbptt(backend, PLAIN, backend.init(params, PLAIN), pieces, window=2)
    whole, [(in_one,)] = tbptt(backend, PLAIN, backend.init(params, PLAIN), [batch])
    np.testing.assert_allclose(in_two.loss, in_one.loss, rtol=1e-12)
    strange = backend.init(params, PLAIN)
    for piece in pieces:
        strange = backend.accumulate(strange._replace(hidden=None), piece, 0)
    assert strange.players[0].acc.loss != pytest.approx(in_two.loss_sum)
    assert not np.allclose(cut.params["w"], whole.params["w"])


def test_a_window_of_no_pieces_is_an_error():
    backend = NumpyBackend(Part(recurrent.elman, SGD(0.1)))
    state = backend.init(recurrent.params(np.random.default_rng(0)), PLAIN)
    with pytest.raises(ValueError, match="window size 0"):
        tbptt(backend, PLAIN, state, [], window=0)
