"""Crops of images: which files, which windows, and that every batch can be made again."""

import io
import itertools
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from pim_jax.data import image_crops


def gradient_image(height, width, seed=0):
    """Smooth, and unlike its mirror image."""
    rows, columns = np.mgrid[:height, :width]
    first = (3 * rows + 5 * columns + 40 * seed) % 256
    return np.stack([first, columns * 255 // max(width - 1, 1), 0 * rows + seed], -1)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Ten images in three folders, and a text."""
    names = [*"abcd", "sub/deep/e", "sub/deep/f", "sub/g", "sub/h", "z/i", "z/j"]
    for seed, name in enumerate(names):
        suffix = (".png", ".PNG", ".bmp")[seed % 3]
        save(tmp_path / f"{name}{suffix}", gradient_image(40, 50, seed))
    (tmp_path / "sub" / "read me.txt").write_text("not an image")
    return tmp_path


def seeds(images):
    """Which images these are: their third channel says."""
    return [int(image[0, 0, 2]) for image in images]


def images_of(count, height=40, width=50):
    return [
        gradient_image(height, width, seed).astype(np.uint8) for seed in range(count)
    ]


def take(count, images, **options):
    options = {"crop": 16, "batch_size": 4, "seed": 0} | options
    batches = image_crops.batches(images, **options)
    try:
        return [batch["image"] for batch in itertools.islice(batches, count)]
    finally:
        batches.close()


def test_folders_are_searched_with_their_subfolders(folder):
    found = image_crops.find_images(str(folder))
    assert [path.stem for path in found] == list("abcdefghij")
    two = image_crops.find_images(f"{folder / 'z'},{folder / 'sub' / 'deep'}")
    assert [path.stem for path in two] == list("ijef")


def test_a_file_in_two_of_the_folders_is_one_file(folder):
    """Or it could be trained on and held out."""
    (folder / "link").symlink_to(folder / "z")
    names = f"{folder},{folder / 'sub'},{folder / 'link'}"
    assert len(image_crops.find_images(names)) == 10


@pytest.mark.parametrize(("fraction", "held_out"), [(0.0, 1), (0.05, 1), (0.3, 3)])
def test_files_are_held_out(folder, fraction, held_out):
    """Always the same, spread over the names; every file is in one part."""
    parts = image_crops.read_folders(str(folder), fraction)
    assert len(parts["validation"]) == held_out
    assert sorted(seeds(parts["train"]) + seeds(parts["validation"])) == list(range(10))
    again = image_crops.read_folders(str(folder), fraction)
    assert seeds(again["validation"]) == seeds(parts["validation"])
    for image in parts["train"]:
        expected = gradient_image(40, 50, int(image[0, 0, 2]))
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("fraction", [-0.1, 0.96, 1.0, 2.0, float("nan")])
def test_fractions_that_leave_nothing(folder, fraction):
    with pytest.raises(ValueError, match=r"validation_fraction|NaN"):
        image_crops.read_folders(str(folder), fraction)


def test_wrong_folders(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*none"):
        image_crops.read_folders(str(tmp_path / "none"), 0.1)
    for name in ("", f"{folder},"):
        with pytest.raises(ValueError, match=r"data.image_dir: expected folders"):
            image_crops.read_folders(name, 0.1)
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no image file .* in .*empty"):
        image_crops.read_folders(f"{folder},{folder / 'empty'}", 0.1)
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*a\.png"):
        image_crops.read_folders(str(folder / "a.png"), 0.1)


def add_odd_files(folder):
    """Files that no training can use, among them in the order of names; their names."""
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "sub" / "text.png").write_text("not an image")
    PIL.Image.new("F", (40, 50)).save(folder / "zz floats.tif")
    clear = np.zeros((40, 50, 4), np.uint8)
    PIL.Image.fromarray(clear).save(folder / "clear.webp", lossless=True)
    (folder / "folder.png").mkdir()
    (folder / "nowhere.png").symlink_to(folder / "no such.png")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    return (
        "broken.png",
        "empty.jpg",
        "text.png",
        "zz floats.tif",
        "clear.webp",
        "folder.png",
        "nowhere.png",
        "itself.png",
    )


@pytest.fixture
def warnings(monkeypatch):
    """What is logged as a warning."""
    said = []
    monkeypatch.setattr(
        image_crops.logging, "warning", lambda text, *values: said.append(text % values)
    )
    return said


def test_odd_files_are_named_counted_and_skipped(folder, warnings):
    """All others are trained on and held out as if those were not there."""
    expected = image_crops.read_folders(str(folder), 0.3)
    assert not warnings
    odd = add_odd_files(folder)
    found = image_crops.read_folders(str(folder), 0.3)
    for part, images in expected.items():
        assert seeds(found[part]) == seeds(images)
    *named, counted = warnings
    assert counted == "8 of 18 images skipped"
    for name in odd:
        assert [name in text for text in named].count(True) == 1, name


def test_only_odd_files_are_an_error(folder, tmp_path):
    (tmp_path / "odd" / "sub").mkdir(parents=True)
    save(tmp_path / "odd" / "a.png", gradient_image(8, 8))
    add_odd_files(tmp_path / "odd")
    with pytest.raises(ValueError, match="1 images leaves none for training"):
        image_crops.read_folders(str(tmp_path / "odd"), 0.1)
    (tmp_path / "odd" / "a.png").unlink()
    with pytest.raises(
        ValueError, match=r"none of the 8 images can be read: .*broken\.png.*floats"
    ):
        image_crops.read_folders(str(tmp_path / "odd"), 0.1)


def test_one_image_cannot_be_split(tmp_path):
    save(tmp_path / "a.png", gradient_image(8, 8))
    with pytest.raises(ValueError, match="leaves none for training"):
        image_crops.read_folders(str(tmp_path), 0.1)


def test_batches_depend_on_seed_and_step_alone():
    images = images_of(7)
    first = take(9, images)
    assert all(b.shape == (4, 16, 16, 3) and b.dtype == np.uint8 for b in first)
    np.testing.assert_array_equal(first, take(9, images))
    np.testing.assert_array_equal(first[5:], take(4, images, start_step=5))
    assert not np.array_equal(first, take(9, images, seed=1))
    assert not np.array_equal(first[0], first[1])


def test_processes_share_a_batch():
    images = images_of(7)
    whole = take(3, images)
    parts = [take(3, images, process_index=i, process_count=2) for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)
    for index, count in ((0, 3), (2, 2), (-1, 2)):
        with pytest.raises(ValueError, match=r"multiple|process_index"):
            take(1, images, process_index=index, process_count=count)


def test_every_epoch_visits_every_image_once_in_a_new_order():
    images = images_of(12)
    shown = [seeds(batch) for batch in take(6, images)]
    epochs = [[*itertools.chain(*part)] for part in (shown[:3], shown[3:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_fewer_images_than_rows_recur():
    (batch,) = take(1, images_of(3), batch_size=8)
    assert set(seeds(batch)) == {0, 1, 2}


def test_crops_at_their_own_scale_are_windows():
    """Half of them mirrored, at many places, none outside."""
    image = images_of(1)[0]
    windows = {
        image[top : top + 16, left : left + 16].tobytes(): (top, left)
        for top in range(40 - 15)
        for left in range(50 - 15)
    }
    crops = np.concatenate(take(50, [image], scale=(1.0, 1.0)))
    plain = [windows.get(crop.tobytes()) for crop in crops]
    mirrored = [windows.get(crop[:, ::-1].tobytes()) for crop in crops]
    assert all((a is None) != (b is None) for a, b in zip(plain, mirrored, strict=True))
    assert 70 <= sum(place is None for place in plain) <= 130
    places = np.array([a or b for a, b in zip(plain, mirrored, strict=True)])
    assert (places.min(0) <= 1).all()
    assert (places.max(0) >= (23, 33)).all()


def test_larger_windows_are_shrunk_with_antialiasing():
    """Of stripes as fine as pixels nothing is left but their mean."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2] = 255
    (batch,) = take(1, [image], scale=(2.0, 2.0))
    inner = batch[:, 2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 128).max() < 30
    assert take(1, [image], scale=(1.0, 1.0))[0].std() > 120


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 60), (16, 15), (300, 2)])
def test_small_images_are_enlarged(height, width):
    image = gradient_image(height, width, 9).astype(np.uint8)
    (batch,) = take(1, [image])
    assert batch.shape == (4, 16, 16, 3)
    assert (batch[..., 2] == 9).all()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"scale": (0.0, 1.0)}, "data.scale must be 0 < low <= high"),
        ({"scale": (2.0, 1.0)}, "data.scale"),
        ({"crop": 0}, "data.crop is 0"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_bad_options(changes, text):
    with pytest.raises(ValueError, match=text):
        take(1, images_of(2), **changes)


def test_windows_of_less_than_a_pixel_are_a_pixel():
    (batch,) = take(1, images_of(1), scale=(0.001, 0.001))
    assert (batch == batch[:, :1, :1]).all()


def test_validation_crops_are_fixed_windows():
    images = images_of(3)
    crops = image_crops.validation_crops(images, 5, 16)
    assert crops.shape == (5, 16, 16, 3)
    np.testing.assert_array_equal(crops, image_crops.validation_crops(images, 5, 16))
    assert seeds(crops) == [0, 1, 2, 0, 1]
    # Neither scaled nor mirrored: the second channel rises by five a column.
    rise = np.diff(crops[..., 1].astype(int), axis=2)
    assert set(np.unique(rise)) <= {5, 6}
    np.testing.assert_array_equal(
        image_crops.validation_crops(images, 2, 16), crops[:2]
    )
    for n, crop in ((0, 16), (3, 0)):
        with pytest.raises(ValueError, match=r"data.validation_crop.* is 0"):
            image_crops.validation_crops(images, n, crop)


class TinyPictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Three images of different sizes to train on, one to hold out."""

    VERSION = tfds.core.Version("1.0.0")
    CHANNELS, KEY = 3, "image"

    def _info(self):
        image = tfds.features.Image(shape=(None, None, self.CHANNELS))
        features = tfds.features.FeaturesDict({self.KEY: image})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(range(3)),
            "validation": self._generate_examples([3]),
        }

    def _generate_examples(self, numbers):
        for number in numbers:
            pixels = gradient_image(30 + number, 40, number).astype(np.uint8)
            yield number, {self.KEY: self.encoded(pixels[..., -self.CHANNELS :])}

    @staticmethod
    def encoded(pixels):
        """PNG by Pillow: tfds would use TensorFlow."""
        buffer = io.BytesIO()
        PIL.Image.fromarray(pixels.squeeze()).save(buffer, "png")
        buffer.seek(0)
        return buffer


class TinyGrey(TinyPictures, skip_registration=True):
    """Of one channel."""

    CHANNELS = 1


class TinyAlpha(TinyPictures, skip_registration=True):
    """Of four channels."""

    CHANNELS = 4


class TinyFrames(TinyPictures, skip_registration=True):
    """With another name for its images."""

    KEY = "frame"


class TinyRegistered(TinyPictures):
    """Known to tfds by its name."""


@pytest.fixture
def prepared(tmp_path):
    """prepared(builder) -> (name, data_dir) of its files in the ArrayRecord format."""

    def prepare(builder):
        made = builder(data_dir=tmp_path, file_format="array_record")
        made.download_and_prepare()
        return made.name, str(tmp_path)

    return prepare


@pytest.mark.parametrize("before", [True, False])
def test_a_data_set_of_tfds_by_name(prepared, tmp_path, before):
    """Read where its files are there, prepared where only its program is."""
    loaded_before = "tensorflow" in sys.modules
    if before:
        name, data_dir = prepared(TinyPictures)
    else:
        name, data_dir = "tiny_registered", str(tmp_path)
    train = image_crops.TfdsImages(name, "train", data_dir)
    assert len(train) == 3
    found = sorted(train, key=lambda image: int(image[0, 0, 2]))
    for seed, image in enumerate(found):
        np.testing.assert_array_equal(image, gradient_image(30 + seed, 40, seed))
    assert seeds(image_crops.TfdsImages(name, "validation", data_dir)) == [3]
    batches = take(3, train, batch_size=3, scale=(1.0, 2.5))
    assert [sorted(seeds(batch)) for batch in batches] == [[0, 1, 2]] * 3
    if not loaded_before:
        assert "tensorflow" not in sys.modules


def test_grey_data_sets_get_three_channels(prepared):
    name, data_dir = prepared(TinyGrey)
    for image in image_crops.TfdsImages(name, "train", data_dir):
        assert image.shape[2] == 3
        assert (image == image[..., :1]).all()


def test_data_sets_that_cannot_be_used(prepared, tmp_path):
    with pytest.raises(ValueError, match=r"data.tfds: .*no_such_pictures"):
        image_crops.TfdsImages("no_such_pictures", "train", str(tmp_path))
    name, data_dir = prepared(TinyPictures)
    with pytest.raises(ValueError, match=r"no split 'test', only .*'train'"):
        image_crops.TfdsImages(name, "test", data_dir)
    for builder in (TinyFrames, TinyAlpha):
        name, data_dir = prepared(builder)
        with pytest.raises(
            ValueError, match=f"data.tfds: '{name}' has .* expected 'image'"
        ):
            image_crops.TfdsImages(name, "train", data_dir)
