"""Files of JAX checkpoints: hostile ones reach nothing outside and take no memory; a full disk is said in words."""

import json
import os
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import functrain_jax as ft
from functrain import files
from functrain_jax.checkpoint import ARRAYS, REST, SUMS, read, write

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "here" / "a.ckpt"
    write(path, {"w": jnp.arange(300.0), "n": 1})
    return path


def listed(path, **names):
    """Put files into the list, as an attacker would; None: as they are."""
    sums = json.loads((path / SUMS).read_text())
    for name, sum_ in names.items():
        content = None if sum_ is not None else (path / name).read_bytes()
        sums[name] = sum_ if content is None else [len(content), zlib.crc32(content)]
    (path / SUMS).write_text(json.dumps(sums))


def test_a_list_that_names_a_file_outside_the_checkpoint(saved, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    for name in ("../../outside", str(outside)):
        listed(saved, **{name: [6, zlib.crc32(b"secret")]})
        with pytest.raises(ft.CheckpointError, match=r"a\.ckpt: damaged: .*outside"):
            read(saved)


@pytest.mark.parametrize("kind", ["link", "directory link", "pipe", "list"])
def test_a_checkpoint_with_something_else_than_files_in_it(saved, tmp_path, kind):
    rest, arrays = saved / REST, saved / ARRAYS
    if kind == "link":
        rest.rename(tmp_path / "outside")
        rest.symlink_to(tmp_path / "outside")
    elif kind == "directory link":
        arrays.rename(tmp_path / "outside")
        arrays.symlink_to(tmp_path / "outside")
    elif kind == "pipe":
        rest.unlink()
        os.mkfifo(rest)
    else:
        (saved / SUMS).unlink()
        os.mkfifo(saved / SUMS)
    with pytest.raises(ft.CheckpointError, match=r"a\.ckpt: damaged or not a checkpoint \(.* is (a link|neither)"):
        read(saved)


def test_a_file_that_is_longer_than_the_list_says_is_not_read(saved):
    os.truncate(saved / REST, 1 << 40)
    with pytest.raises(ft.CheckpointError, match=r"rest\.json is not as it was written"):
        read(saved)


@pytest.mark.parametrize("name", [REST, "mark.json", "more", f"{ARRAYS}/d/more", f"{ARRAYS}/manifest.ocdbt"])
def test_a_file_of_a_terabyte_of_nothing_is_refused_before_it_is_read(saved, name):
    with open(saved / name, "ab") as file:
        file.truncate(1 << 40)
    listed(saved, **{name: [1 << 40, 0]})
    with pytest.raises(ft.CheckpointError, match=r"a\.ckpt: .*(more|1099511)"):
        read(saved)


def test_a_file_of_a_terabyte_that_declares_an_array_of_it_is_refused_before_it_is_read(saved):
    with open(saved / ARRAYS / "more", "wb") as file:
        file.truncate(1 << 43)
    declared = (saved / REST).read_text().replace("[300]", f"[{1 << 41}]")
    assert str(1 << 41) in declared
    (saved / REST).write_text(declared)
    listed(saved, **{REST: None, f"{ARRAYS}/more": [1 << 43, 0]})
    with pytest.raises(ft.CheckpointError, match=rf"declares {(1 << 43) + 4} bytes of arrays, and"):
        read(saved)


def test_what_is_no_array_is_not_written_where_it_could_not_be_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr("functrain_jax.checkpoint.LONGEST_REST", 1000)
    with pytest.raises(ft.ConfigurationError, match=r"a\.ckpt: .*beside its arrays.*as arrays"):
        write(tmp_path / "a.ckpt", {"notes": "x" * 1000})
    assert not (tmp_path / "a.ckpt").exists()


@pytest.mark.parametrize("content", ["[]", '{"rest.json": 3}', '{"rest.json": [1]}', '{"rest.json": ["1", 2]}', "["])
def test_a_list_that_is_none(saved, content):
    (saved / SUMS).write_text(content)
    with pytest.raises(ft.CheckpointError, match=r"a\.ckpt: damaged or not a checkpoint"):
        read(saved)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (["w", "float32", [1 << 40]], "declares 4398046511"),
        (["w", "float32", [1 << 40, 1 << 40, 1 << 40]], "declares"),
        (["w", "float32", [-300]], "no shape"),
        (["w", "float32", [300.5]], "no shape"),
        (["w", "float32", 300], ""),
        (["w", "S1000000000", [1]], "no type of numbers"),
        (["w", "O", [300]], "no type of numbers"),
        (["w", "int8", [300]], "stored as float32 .* declared as int8"),
        (["w", "float32", [3]], "stored as float32 .*300.* declared as float32"),
        (["v", "float32", [3]], ""),
        (["../../w", "float32", [3]], ""),
        (["w"], ""),
    ],
)
def test_arrays_that_are_not_what_is_declared(saved, array, said):
    rest = json.loads((saved / REST).read_text())
    (saved / REST).write_text(json.dumps({**rest, "w": {"$array": array}}))
    listed(saved, **{REST: None})
    with pytest.raises(ft.CheckpointError, match=rf"a\.ckpt: not a checkpoint of this version .*{said}"):
        read(saved)


@pytest.mark.parametrize("form", ["huge chunks", "compressed"])
def test_a_store_that_would_inflate(saved, form):
    import tensorstore as ts

    chunks, compressor = ([1 << 40], None) if form == "huge chunks" else ([300], {"id": "zstd", "level": 1})
    metadata = {"shape": [300], "chunks": chunks, "dtype": "<f4", "compressor": compressor}
    base = {"driver": "file", "path": f"{saved}/{ARRAYS}/"}
    kvstore = {"driver": "ocdbt", "base": base, "path": "w/"}
    ts.open({"driver": "zarr", "kvstore": kvstore, "metadata": metadata}, create=True, delete_existing=True).result()
    listed(saved, **{str(path.relative_to(saved)): None for path in (saved / ARRAYS).rglob("*") if path.is_file()})
    with pytest.raises(ft.CheckpointError, match=r"a\.ckpt: .*the array 'w' is stored as"):
        read(saved)


def test_the_store_of_arrays_reaches_nothing_outside(saved):
    import tensorstore as ts

    store = ts.KvStore.open({"driver": "file", "path": f"{saved}/{ARRAYS}/"}).result()
    with pytest.raises(ValueError, match="Invalid key"):
        store.read(f"../{REST}").result()


def test_empty_arrays_and_long_integers_come_back(tmp_path):
    value = {"none": jnp.zeros((0, 3), jnp.bfloat16), "long": np.array([2**40, -1])}
    write(tmp_path / "a.ckpt", value)
    back = read(tmp_path / "a.ckpt")
    for name, want in value.items():
        assert (back[name].shape, back[name].dtype) == (want.shape, want.dtype)
    assert back["long"].tolist() == [2**40, -1]


def test_orbax_reads_the_arrays(saved):
    import orbax.checkpoint as ocp

    names = ("", "w")
    args = ocp.args.PyTreeRestore(
        item=dict.fromkeys(names, 0), restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    )
    found = ocp.PyTreeCheckpointer().restore(str(saved / ARRAYS), args)
    np.testing.assert_array_equal(found["w"], np.arange(300.0))


def test_a_checkpoint_that_a_cut_replacement_has_moved_aside_is_read(saved):
    saved.rename(saved.with_name(".a.ckpt.12345678.old"))
    assert read(saved)["n"] == 1
    assert files.sweep(saved.parent) == [".a.ckpt.12345678.old"]
    assert read(saved)["n"] == 1


FULL = """
    import ctypes, resource, signal, sys
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.argv[2] == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    elif libc.unshare(0x00020000) or libc.mount(b"none", b"/", None, (1 << 18) | (1 << 14), None):
        sys.exit(77)
    elif libc.mount(b"tmpfs", sys.argv[1].encode(), b"tmpfs", 0, b"size=300k"):
        sys.exit(77)
    import os
    import numpy as np
    from functrain_jax.checkpoint import read, write
    path = sys.argv[1] + "/last.ckpt"
    write(path, {"n": 1})
    try:
        write(path, {"w": np.ones(200_000, np.float32)})
    except OSError as error:
        print(error)
    assert os.listdir(sys.argv[1]) == ["last.ckpt"], os.listdir(sys.argv[1])
    assert read(path)["n"] == 1
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("limit", "File too large; what was there before is untouched. What to do: raise the limit"),
        ("disk", "No space left on device (0.3 MB of 0.3 MB are free without it); what was there before is untouched."),
    ],
)
def test_a_full_disk_is_told_in_a_sentence(tmp_path, how, said):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path), how],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("this user cannot mount a tmpfs in a namespace of its own")
    assert done.returncode == 0, done.stderr
    assert f"cannot write the directory '{tmp_path}/last.ckpt': " in done.stdout
    assert said in done.stdout
