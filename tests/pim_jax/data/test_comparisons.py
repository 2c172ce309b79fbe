import numpy as np
import pytest
import small_bapps

from pim_jax.data import clic, comparisons

HEADER = "reference,a,b,votes_b,votes\n"


def test_rows_are_read(tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text("votes,reference,a,b,votes_b,rater\n3, r.png,a.png, b.png ,1,x\n")
    (row,) = comparisons.read_comparisons(path)
    assert row == ("r.png", "a.png", "b.png", 1, 3)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_what_excel_writes(tmp_path, delimiter):
    """It begins with a mark of the encoding; some countries separate by semicolons."""
    path = tmp_path / "votes.csv"
    text = (HEADER + "r.png,ä.png,b.png,1,3\n").replace(",", delimiter)
    path.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert comparisons.read_comparisons(path) == [("r.png", "ä.png", "b.png", 1, 3)]
    path.write_bytes(b"o.png,a.png,b.png,1\r\n".replace(b"o", b"\xef\xbb\xbfo", 1))
    assert clic.read_oracle(path) == [("o.png", "a.png", "b.png", "1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference,a,b\nr,a,b\n", r"lacks the columns \['votes_b', 'votes'\]"),
        ("", "lacks the columns"),
        (HEADER, "found none"),
        (HEADER + "r,a,b,0,1\nr,a,b,2,1\n", "row 2 of .*found 2 of 1"),
        (HEADER + "r,a,b,0,0\n", "found 0 of 0"),
        (HEADER + "r,a,b,0.5,1\n", "two whole numbers of votes in row 1"),
        (HEADER + "r,a,b,-1,1\n", "two whole numbers"),
        (HEADER + "r,a,b\n", "two whole numbers"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    path = tmp_path / "votes.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        comparisons.read_comparisons(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of comparisons"):
        comparisons.read_comparisons(tmp_path / "votes.csv")
    rows = [comparisons.Comparison("r.png", "a.png", "b.png", 0, 1)]
    with pytest.raises(FileNotFoundError, match=r"3 of 3 images .* a\.png"):
        comparisons.Versions(rows, tmp_path)


def test_each_version_is_there_once(tmp_path):
    for k, name in enumerate("rabc"):
        pixels = np.full((5, 6, 3), k, np.uint8)
        small_bapps.save_image(tmp_path / f"{name}.png", pixels)
    rows = [
        comparisons.Comparison("r.png", "a.png", "b.png", 0, 1),
        comparisons.Comparison("r.png", "c.png", "a.png", 1, 1),
    ]
    versions = comparisons.Versions(rows, tmp_path)
    assert [image for _, image in versions.pairs] == ["a.png", "b.png", "c.png"]
    assert len(versions) == 3
    assert versions[1]["reference"].max() == 0
    assert versions[1]["image"].max() == 2
