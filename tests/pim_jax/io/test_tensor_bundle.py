"""TensorFlow checkpoints without TensorFlow: what it writes, and hostile files."""

import numpy as np
import pytest

from pim_jax.io import tensor_bundle
from pim_jax.io.tensor_bundle import read_bundle

ARRAYS = {
    "a/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "b/bias": np.array([1.5, -2.5]),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.int64(7),
    "switch": np.array([True, False]),
    "half": np.arange(5, dtype=np.float16),
}
INDEX, DATA = "weights.index", "weights.data-00000-of-00001"


@pytest.fixture
def prefix(tmp_path, write_bundle):
    write_bundle(tmp_path / "weights", ARRAYS)
    return tmp_path / "weights"


def assert_same(found, expected):
    assert list(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


def test_reads_what_was_written(prefix):
    assert_same(read_bundle(prefix), ARRAYS)


def test_reads_many_blocks(tmp_path, write_bundle):
    arrays = {f"variable/{i:04d}": np.full(3, i, np.float32) for i in range(300)}
    write_bundle(tmp_path / "weights", arrays)
    assert_same(read_bundle(tmp_path / "weights"), arrays)


@pytest.mark.tensorflow
def test_reads_what_tensorflow_reads(tmp_path):
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    # Enough names for several blocks of the index.
    tensors = {f"v{i:04d}/{'x' * 150}": np.float32(i) for i in range(1500)}
    for dtype in ("float32", "float64", "float16", "int8", "uint8", "int16", "int32"):
        tensors[f"{dtype}"] = (100 * random.random((7, 300))).astype(dtype)
    tensors |= {"empty": np.zeros((3, 0, 2), np.float32), "flag": np.array([True])}
    tensors["bfloat16"] = tf.cast(random.random(5), tf.bfloat16)
    tensors["text"] = np.array([b"not numeric"])
    prefix = str(tmp_path / "weights")
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    reader = tf.train.load_checkpoint(prefix)
    names = set(reader.get_variable_to_shape_map()) - {"text"}
    assert len(names) == len(tensors) - 1
    assert_same(read_bundle(prefix), {name: reader.get_tensor(name) for name in names})


@pytest.mark.tensorflow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["tiny-1", "tiny-5"])
def test_reads_published_models_as_tensorflow_does(shared, name):
    tf = pytest.importorskip("tensorflow")
    prefix = shared / "fixtures" / "pim" / name / "weights"
    reader = tf.train.load_checkpoint(str(prefix))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    assert_same(read_bundle(prefix), {name: reader.get_tensor(name) for name in names})


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 63, 1000, 4097])
def test_checksum_is_that_of_the_definition(size):
    data = np.random.default_rng(size).bytes(size)
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    assert tensor_bundle._crc32c(data) == crc ^ 0xFFFFFFFF


def test_checksum_of_the_standard_example():
    assert tensor_bundle._crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("missing", [INDEX, DATA])
def test_missing_file(prefix, missing):
    (prefix.parent / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        read_bundle(prefix)


@pytest.mark.parametrize("name", [INDEX, DATA])
def test_every_single_truncation_is_an_error(prefix, name):
    path = prefix.parent / name
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=name):
            read_bundle(prefix)


@pytest.mark.parametrize("name", [INDEX, DATA])
def test_flipped_bits_are_found(prefix, name):
    path = prefix.parent / name
    data = path.read_bytes()
    # The last 48 bytes of the index are its footer: handles without a checksum.
    for position in range(0, len(data) - (48 if name == INDEX else 0), 3):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        try:
            found = read_bundle(prefix)
        except ValueError as error:
            assert name in str(error)  # noqa: PT017
        else:
            assert_same(found, ARRAYS)  # an unused part of the file


def test_random_bytes_with_valid_checksums(tmp_path, bundle_table, bundle_message):
    random = np.random.default_rng(0)
    (tmp_path / DATA).write_bytes(bytes(64))
    header = (b"", bundle_message((1, 1)))
    errors = 0
    for _ in range(300):
        value = random.bytes(random.integers(1, 30))
        (tmp_path / INDEX).write_bytes(bundle_table([header, (b"v", value)]))
        try:
            read_bundle(tmp_path / "weights")
        except (ValueError, FileNotFoundError):
            errors += 1
    assert errors > 200


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"size": 12}, "takes 16 bytes, found 12"),
        ({"offset": 100}, "truncated"),
        ({"offset": 2**64 - 8}, "non-negative"),
        ({"shard": 1}, "shard 1 of 1"),
        ({"slices": b""}, "partitioned"),
        ({"checksum": 1}, "checksum"),
        ({"shape": (2**40, 2**40)}, "takes"),
        ({"shape": (2**64 - 1,)}, "non-negative"),
    ],
)
def test_entries_that_lie(tmp_path, bundle_table, bundle_message, fields, complaint):
    shape = bundle_message(
        *[(2, bundle_message((1, n))) for n in fields.pop("shape", (4,))]
    )
    numbers = {"shard": 3, "offset": 4, "size": 5, "checksum": 6, "slices": 7}
    values = {"size": 16, **fields}
    entry = bundle_message(
        (1, 1), (2, shape), *[(numbers[name], value) for name, value in values.items()]
    )
    header = bundle_message((1, 1))
    (tmp_path / INDEX).write_bytes(bundle_table([(b"", header), (b"v", entry)]))
    (tmp_path / DATA).write_bytes(bytes(64))
    with pytest.raises(ValueError, match=complaint):
        read_bundle(tmp_path / "weights")


def test_compressed_and_big_endian_tables_are_refused(
    tmp_path, bundle_table, bundle_message
):
    (tmp_path / DATA).write_bytes(b"")
    header = bundle_message((1, 1), (2, 1))
    (tmp_path / INDEX).write_bytes(bundle_table([(b"", header)]))
    with pytest.raises(ValueError, match="big-endian"):
        read_bundle(tmp_path / "weights")
    table = bytearray(bundle_table([(b"", bundle_message((1, 1)))]))
    table[table.index(b"\0\0\0\0\x01\0\0\0") + 8] = 1
    (tmp_path / INDEX).write_bytes(table)
    with pytest.raises(ValueError, match="compressed"):
        read_bundle(tmp_path / "weights")


def test_another_kind_of_file(tmp_path):
    (tmp_path / INDEX).write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(ValueError, match=r"weights\.index.*magic number"):
        read_bundle(tmp_path / "weights")
