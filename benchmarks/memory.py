"""Peak memory of a training step against the number of micro-batches in its window: it must not grow.

Each K runs in a process of its own; the window's micro-batches are made one at a time, so that only the step's own
memory counts.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from benchmarks.measure import machine

COUNTS = (1, 2, 8, 32)


def peak() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def torch_step(k: int) -> None:
    import torch

    from functrain_torch import make_step

    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(1024, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 1024))
    step = make_step(lambda model, x: model(x).square().mean(), lambda params: torch.optim.SGD(params, 1e-3))
    state = step.init(net)
    micro = torch.randn(256, 1024)
    for _ in range(2):
        state, _ = step.step(state, [micro] * k)


def jax_step(k: int) -> None:
    import jax
    import jax.numpy as jnp
    import optax

    from functrain_jax import make_step

    key = jax.random.key(0)
    params = {"a": jax.random.normal(key, (1024, 4096)) * 0.01, "b": jax.random.normal(key, (4096, 1024)) * 0.01}
    init, step, _ = make_step(
        lambda p, x: jnp.mean((jax.nn.relu(x @ p["a"]) @ p["b"]) ** 2), optax.sgd(1e-3), accumulate=k
    )
    batch = jnp.ones((256 * k, 1024))
    compiled = jax.jit(step, donate_argnums=0).lower(init(params), batch).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    print(analysis.temp_size_in_bytes / 2**20)


def main() -> None:
    print(machine("torch", "jax"))
    print()
    print(
        "| micro-batches an update | torch: peak of the process, MB | JAX: temporary memory of the compiled step, MB |"
    )
    print("|---|---|---|")
    for k in COUNTS:
        row = []
        for framework in ("torch", "jax"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", framework, str(k)],
                capture_output=True,
                text=True,
                check=True,
            )
            row.append(float(done.stdout.split()[-1]))
        print(f"| {k} | {row[0]:.0f} | {row[1]:.1f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        {"torch": torch_step, "jax": jax_step}[sys.argv[1]](int(sys.argv[2]))
        if sys.argv[1] == "torch":
            print(peak())
    else:
        main()
