import hashlib
import io
import sys
import tarfile

import numpy as np
import PIL.Image
import pytest
import skimage.data

from pim_jax.data import bapps, bapps_folder, clic


def write_example(folder, index, images, label_folder, label):
    for name, pixels in images.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels).save(folder / name / f"{index:06d}.png")
    (folder / label_folder).mkdir(exist_ok=True)
    np.save(folder / label_folder / f"{index:06d}.npy", np.array([label]))


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Two subsets of two triplets and one of two pairs, from photographs."""
    root = tmp_path_factory.mktemp("dataset")
    photo = skimage.data.astronaut()
    for subset in ("traditional", "cnn"):
        for index in range(2):
            patch = photo[64 * index : 64 * index + 64, :64]
            images = {"ref": patch, "p0": patch // 2, "p1": 255 - patch}
            write_example(
                root / "2afc" / "val" / subset, index, images, "judge", 0.2 * index
            )
    for index in range(2):
        patch = photo[64 * index : 64 * index + 64, :64]
        images = {"p0": patch, "p1": patch}
        write_example(root / "jnd" / "val" / "cnn", index, images, "same", index / 3)
    return root


def test_the_official_layout_is_read_in_order(official):
    triplets = bapps.two_afc(official)
    assert list(triplets) == ["traditional", "cnn"]  # the customary order
    assert len(triplets["cnn"]) == 2
    example = triplets["cnn"][1]
    reference = skimage.data.astronaut()[64:128, :64]
    np.testing.assert_array_equal(example["reference"], reference)
    np.testing.assert_array_equal(example["image_0"], reference // 2)
    np.testing.assert_array_equal(example["image_1"], 255 - reference)
    assert example["judge"] == np.float32(0.2)
    pair = bapps.jnd(official)["cnn"][1]
    np.testing.assert_array_equal(pair["image_0"], pair["image_1"])
    assert pair["same"] == np.float32(1 / 3)


def test_larger_patches_are_resized_with_antialiasing(tmp_path):
    photo = skimage.data.astronaut()[:256, :256]
    images = {"p0": photo, "p1": photo[:64, :64]}
    write_example(tmp_path / "jnd" / "val" / "cnn", 0, images, "same", 1.0)
    example = bapps_folder.jnd_folder(tmp_path)["cnn"][0]
    expected = PIL.Image.fromarray(photo).resize((64, 64), PIL.Image.BILINEAR)
    np.testing.assert_array_equal(example["image_0"], np.asarray(expected))
    np.testing.assert_array_equal(example["image_1"], photo[:64, :64])
    # An antialiased quarter is near the mean of 4x4 pixels, a sampled one is not.
    boxes = photo.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(example["image_0"] - boxes).mean() < 4


def test_builders_write_what_the_folder_holds(official, tmp_path):
    loaded_before = "tensorflow" in sys.modules
    config = bapps.tfds.download.DownloadConfig(manual_dir=str(official))
    for builder, folder in (
        (bapps.Bapps2afc(data_dir=tmp_path), bapps_folder.two_afc_folder),
        (bapps.BappsJnd(data_dir=tmp_path), bapps_folder.jnd_folder),
    ):
        builder.download_and_prepare(download_config=config)
        for subset, source in folder(official).items():
            prepared = builder.as_data_source(split=f"val_{subset}")
            assert len(prepared) == len(source)
            found = sorted((prepared[i] for i in range(2)), key=str)
            expected = sorted((source[i] for i in range(2)), key=str)
            for a, b in zip(found, expected, strict=True):
                for key in b:
                    np.testing.assert_array_equal(a[key], b[key])
    assert set(bapps.two_afc(tmp_path)) == {"traditional", "cnn"}
    assert set(bapps.jnd(tmp_path)) == {"cnn"}
    if not loaded_before:
        assert "tensorflow" not in sys.modules


class FakeManager(bapps.tfds.download.DownloadManager):
    """A download manager that hands out one local archive."""

    download_dir = None  # a property

    def __init__(self, archive, folder):
        self.archive = archive
        self.download_dir = folder
        self.urls = []

    def download(self, url):
        self.urls.append(url)
        return self.archive


def test_a_downloaded_archive_is_verified_and_unpacked(official, tmp_path, monkeypatch):
    archive = tmp_path / "twoafc_val.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(official / "2afc" / "val", "val")
    entry = bapps.ARCHIVES["2afc/val"]
    manager = FakeManager(archive, tmp_path)
    with pytest.raises(ValueError, match=f"expected SHA-256 {entry.sha256}, found"):
        bapps._fetch(manager, "2afc/val", tmp_path / "bapps")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(bapps.ARCHIVES, "2afc/val", entry._replace(sha256=digest))
    folder = bapps._fetch(manager, "2afc/val", tmp_path / "bapps")
    assert set(bapps_folder.two_afc_folder(folder)) == {"traditional", "cnn"}
    assert manager.urls[-1].endswith("amazonaws.com/dataset/twoafc_val.tar.gz")


def test_an_archive_without_known_checksum_is_reported(tmp_path, caplog):
    archive = tmp_path / "jnd.tar.gz"
    with tarfile.open(archive, "w") as file:
        file.addfile(tarfile.TarInfo("jnd/val/cnn/p0/empty"), io.BytesIO())
    with caplog.at_level("WARNING"):
        bapps._fetch(FakeManager(archive, tmp_path), "jnd/val", tmp_path / "out")
    assert "No SHA-256 is known for jnd.tar.gz" in caplog.text
    assert (tmp_path / "out/jnd/val/cnn/p0/empty").exists()


def test_missing_and_mismatched_files_are_named(official, tmp_path):
    with pytest.raises(FileNotFoundError, match="official layout"):
        bapps.two_afc(tmp_path)
    with pytest.raises(FileNotFoundError, match="2afc/val"):
        bapps_folder.two_afc_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no_such"):
        bapps_folder.two_afc_folder(official, subsets=["no_such"])
    folder = tmp_path / "jnd" / "val" / "cnn"
    patch = np.zeros((64, 64, 3), np.uint8)
    write_example(folder, 0, {"p0": patch, "p1": patch}, "same", 1.5)
    with pytest.raises(ValueError, match=r"one number in \[0, 1\] .* found \[1.5\]"):
        bapps_folder.jnd_folder(tmp_path)["cnn"][0]
    (folder / "same" / "000000.npy").write_bytes(b"broken")
    with pytest.raises(ValueError, match="cannot read the label"):
        bapps_folder.jnd_folder(tmp_path)["cnn"][0]
    (folder / "p0" / "000000.png").unlink()
    with pytest.raises(ValueError, match="equally many files"):
        bapps_folder.jnd_folder(tmp_path)


def test_clic_oracle(tmp_path):
    path = tmp_path / "oracle.csv"
    path.write_text("o.png,a.png,b.png,0\no.png,a.png,b.png,1\n")
    rows = clic.read_oracle(path)
    assert rows[1] == clic.Triplet("o.png", "a.png", "b.png", "1")
    path.write_text("o.png,a.png,b.png,0\no.png,a.png,2\n")
    with pytest.raises(ValueError, match="row 2"):
        clic.read_oracle(path)
    path.write_text("")
    with pytest.raises(ValueError, match="found none"):
        clic.read_oracle(path)
    with pytest.raises(FileNotFoundError):
        clic.read_oracle(tmp_path / "none.csv")
