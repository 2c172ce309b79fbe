import json
import math

import numpy as np
import pytest
import small_bapps

from pim_jax.data import bapps as bapps_dataset
from pim_jax.data import clic, comparisons, distortions
from pim_jax.evaluation import judgements, tables
from pim_jax.metrics import METRICS


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return small_bapps.write(tmp_path_factory.mktemp("dataset"))


def test_two_afc_table_by_hand(official):
    metrics = {"psnr": METRICS["psnr"]()}
    table = judgements.two_afc_table(
        metrics, bapps_dataset.two_afc(official), resamples=200
    )
    assert list(table.columns) == ["traditional", "cnn", "mean"]
    row = table.rows["psnr"]
    assert {k: v.value for k, v in row.items()} == pytest.approx(small_bapps.TWO_AFC)
    human = table.rows[judgements.HUMAN]
    assert human["traditional"].value == pytest.approx((0.68 + 1 + 0.52) / 3)
    assert table.rows[judgements.LIMIT]["traditional"].value == pytest.approx(0.8)
    assert "only" not in table.notes[0]
    assert "not the official set (missing ['color'" in table.notes[1]
    # All resamples of three triplets lie between the worst and the best one.
    low, high = row["traditional"][1:]
    assert 0.599 < low < 0.8 < high < 1.001


def test_an_opposite_metric_scores_the_complement(official):
    metric = METRICS["psnr"]()
    opposite = metric.replace(function=lambda p, a, b: -metric.function(p, a, b))
    table = judgements.two_afc_table(
        {"far": opposite}, bapps_dataset.two_afc(official), resamples=10
    )
    assert table.rows["far"]["mean"].value == pytest.approx(0.15)


def test_jnd_table_by_hand(official):
    table = judgements.jnd_table(
        {name: METRICS[name]() for name in ("psnr", "ssim")},
        bapps_dataset.jnd(official),
        resamples=1000,
    )
    for name in ("psnr", "ssim"):
        values = {k: v.value for k, v in table.rows[name].items()}
        expected = {"cnn": small_bapps.JND, "mAP": small_bapps.JND}
        assert values == pytest.approx(expected)


def test_the_limit_is_noted(official):
    table = judgements.two_afc_table(
        {"psnr": METRICS["psnr"]()},
        bapps_dataset.two_afc(official),
        resamples=10,
        limit=2,
    )
    assert table.rows["psnr"]["traditional"].value == pytest.approx(0.9)
    assert "only the first 2" in table.notes[0]


def test_nan_distances_are_an_error(official):
    broken = METRICS["psnr"]().replace(function=lambda p, a, b: np.nan * a[:, 0, 0, 0])
    with pytest.raises(ValueError, match="distance_0: 3 of 3 values are NaN"):
        judgements.two_afc_table(
            {"broken": broken}, bapps_dataset.two_afc(official), resamples=10
        )


def test_clic_by_hand(tmp_path):
    patch = small_bapps.patches()[0][:40]
    for name, strength in (("o", 0), ("a", 5), ("b", 25), ("c", 10)):
        noisy = distortions.noise(patch, strength, 0)
        small_bapps.save_image(tmp_path / "images" / f"{name}.png", noisy)
    oracle = tmp_path / "oracle.csv"
    oracle.write_text(
        "o.png,a.png,b.png,1\n"  # repeated below with another label
        "o.png,b.png,c.png,1\n"  # right
        "o.png,a.png,b.png,0\n"  # right
        "o.png,c.png,a.png,0\n"  # wrong
    )
    source = judgements.clic_oracle(oracle, tmp_path / "images")
    table = judgements.clic_table({"psnr": METRICS["psnr"]()}, source, resamples=10)
    assert table.rows["psnr"]["accuracy"].value == pytest.approx(2 / 3)
    assert "4 rows, 3 distinct" in table.notes[0]
    (tmp_path / "images" / "c.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 images .* c\.png"):
        clic.Oracle(source.rows, tmp_path / "images")


def test_tables_are_written_and_shown(tmp_path, capsys):
    score = tables.Score(0.5, 0.25, 0.75)
    table = tables.Table(
        "Agreement",
        {"traditional": "%", "bound": "nats"},
        {"ssim": {"traditional": score}, "pim": {"bound": tables.Score(math.nan)}},
        ("a note",),
    )
    paths = tables.save([table, table], tmp_path / "new", "scores", {"config": {}})
    assert [p.name for p in paths] == ["scores.json", "scores.csv", "scores.png"]
    content = json.loads(paths[0].read_text())
    assert content["tables"][0]["results"]["ssim"]["traditional"]["low"] == 0.25
    assert content["tables"][0]["results"]["pim"]["bound"]["value"] is None
    assert "Agreement,ssim,traditional,0.5,0.25,0.75" in paths[1].read_text()
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    tables.show(table)
    printed = capsys.readouterr().out
    for text in ("Agreement", "traditional %", "50.00", "25.0..75.0", "a note"):
        assert text in printed


def votes_by_hand(folder):
    """Three versions of two photographs; PSNR ranks a before b before c."""
    for i, patch in enumerate(small_bapps.patches()[:2]):
        small_bapps.save_image(folder / f"{i}.png", patch)
        for name, strength in (("a", 4), ("b", 10), ("c", 30)):
            noisy = distortions.noise(patch, strength, 1)
            small_bapps.save_image(folder / f"{i}{name}.png", noisy)
    return [
        comparisons.Comparison("0.png", "0a.png", "0b.png", 1, 3),  # 2 of 3 agree
        comparisons.Comparison("0.png", "0c.png", "0b.png", 1, 1),  # 1 of 1
        comparisons.Comparison("1.png", "1b.png", "1c.png", 2, 2),  # 0 of 2
    ]


def test_votes_by_hand(tmp_path):
    metric = METRICS["psnr"]()
    metrics = {
        "psnr": metric,
        "opposite": metric.replace(function=lambda p, a, b: -metric.function(p, a, b)),
        "blind": metric.replace(function=lambda p, a, b: 0 * metric.function(p, a, b)),
    }
    rows = votes_by_hand(tmp_path)
    table = judgements.comparisons_table(metrics, rows, tmp_path, "psnr", resamples=300)
    values = {
        name: {measure: score.value for measure, score in scores.items()}
        for name, scores in table.rows.items()
    }
    assert values["psnr"] == pytest.approx({"agreement": 3 / 6, "minus psnr": 0})
    assert values["opposite"] == pytest.approx({"agreement": 3 / 6, "minus psnr": 0})
    assert values["blind"] == pytest.approx({"agreement": 3 / 6, "minus psnr": 0})
    assert values[judgements.LIMIT]["agreement"] == pytest.approx(5 / 6)
    # Three raters make three pairs, of which one agrees; two raters one pair.
    assert values[judgements.RATERS]["agreement"] == pytest.approx(2 / 4)
    # Whole pictures are drawn: both times the first, 3 of 4; both times the second, 0.
    assert table.rows["psnr"]["agreement"][1:] == pytest.approx((0.0, 0.75))
    assert table.rows["psnr"]["minus psnr"][1:] == (0, 0)
    assert table.rows["opposite"]["minus psnr"][1:] == pytest.approx((-0.5, 1.0))
    with pytest.raises(ValueError, match="baseline 'ssim' is not among"):
        judgements.comparisons_table(metrics, rows, tmp_path, "ssim")


def test_odd_files_are_left_out_of_votes_and_triplets(tmp_path):
    rows = votes_by_hand(tmp_path)
    (tmp_path / "0c.png").write_bytes(b"")
    small_bapps.save_image(tmp_path / "1c.png", small_bapps.patches()[0][:40])
    metrics = {"psnr": METRICS["psnr"]()}
    seen = []
    table = judgements.comparisons_table(
        metrics, rows, tmp_path, "psnr", resamples=10, done=seen.append
    )
    # Of the first photograph two votes of three; the other pairs have an odd image.
    assert table.rows["psnr"]["agreement"].value == pytest.approx(2 / 3)
    assert table.notes[-1] == "Left out, as they cannot be read: pairs 2."
    assert seen == [table]
    triplets = [
        clic.Triplet("0.png", "0a.png", name, "0") for name in ("0b.png", "0c.png")
    ]
    oracle = clic.Oracle(triplets, tmp_path)
    table = judgements.clic_table(metrics, oracle, resamples=10)
    assert "1 rows" in table.notes[0]
    assert table.notes[1] == "Left out, as they cannot be read: rows 1."
    (tmp_path / "0a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of 2 comparisons can be used"):
        judgements.clic_table(metrics, oracle, resamples=10)


def test_flips_are_counted_by_subset(official):
    sources = bapps_dataset.two_afc(official)
    table = judgements.flips_table(
        {"psnr": METRICS["psnr"]()}, sources, 2, resamples=10
    )

    def nearer(example, shift):
        window = slice(shift, shift + 62)
        error = [
            np.mean((example[k][:, window] / 1.0 - example["reference"][:, :62]) ** 2)
            for k in ("image_0", "image_1")
        ]
        return error[0] < error[1]

    for name in ("traditional", "cnn"):
        examples = [sources[name][i] for i in range(len(sources[name]))]
        flips = [nearer(example, 0) != nearer(example, 2) for example in examples]
        assert table.rows["psnr"][name].value == pytest.approx(np.mean(flips))


def test_a_shift_against_the_reference_is_what_is_said():
    ramp = np.arange(12, dtype=np.uint8)[None, :, None].repeat(3, 0).repeat(3, 2)
    example = {"reference": ramp, "image_0": ramp, "image_1": ramp}
    shifted = judgements._Shifted([example], 2, 3)[0]
    assert shifted["reference"][0, :, 0].tolist() == list(range(9))
    assert shifted["image_1"][0, :, 0].tolist() == list(range(2, 11))


def test_clic_goes_beside_bapps():
    score = tables.Score(0.5)
    bapps = tables.Table("BAPPS", {"mean": "%"}, {"psnr": {"mean": score}, "human": {}})
    clic_scores = tables.Table("CLIC", {"accuracy": "%"}, {"psnr": {"accuracy": score}})
    merged = judgements.with_clic(bapps, clic_scores)
    assert list(merged.columns) == ["mean", "CLIC"]
    assert merged.rows == {"psnr": {"mean": score, "CLIC": score}, "human": {}}
