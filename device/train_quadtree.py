"""Trains `codec_jax.models.quadtree` on one accelerator within a given time.

    python device/train_quadtree.py --images DIR --out OUT --seconds 500

Photographs lie on the device as bytes, with copies at smaller scales; crops are cut,
flipped and turned there, and many steps are one dispatch. The learning rate follows the
clock: constant, then a straight line to zero over the last part of the time. `--start`
goes on from averaged weights that an earlier piece has written (`weights-*.npy`).
"""

import argparse
import concurrent.futures
import functools
import json
import sys
import time
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import PIL.Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from codec_jax import objective, ops
from codec_jax.models import quadtree
from codec_jax.models.quadtree import QuadtreeConfig
from pim_jax import losses
from pim_jax.training.stacked_muon import scale_by_stacked_muon

SCALES = (1.0, 0.75, 0.5625)
CROP = 256
HELD_OUT_EVERY = 16
WEIGHT_FILE_BYTES = 15 * 2**20


def read(path):
    """An image file in RGB."""
    with PIL.Image.open(path) as image:
        return image.convert("RGB")


def scaled_copies(path):
    """Bytes of an image at each scale that still holds a crop."""
    image = read(path)
    found = []
    for scale in SCALES:
        size = tuple(round(side * scale) for side in image.size)
        if min(size) >= CROP:
            copy = image if scale == 1 else image.resize(size, PIL.Image.LANCZOS)
            found.append(np.asarray(copy))
    return found


def load(folders):
    """Training pixels with their index, and held-out crops of 384 x 384."""
    paths = sorted(p for f in folders for p in Path(f).rglob("*.jpg"))
    held_out = paths[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY]
    training = [p for p in paths if p not in set(held_out)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        images = [x for copies in pool.map(scaled_copies, training) for x in copies]
        crops = list(pool.map(lambda p: np.asarray(read(p)), held_out))
    side = 384
    validation = np.stack(
        [
            x[(x.shape[0] - side) // 2 :][:side, (x.shape[1] - side) // 2 :][:, :side]
            for x in crops
            if min(x.shape[:2]) >= side
        ]
    )
    sizes = np.array([x.shape[:2] for x in images])
    areas = sizes.prod(1)
    data = {
        "pixels": np.concatenate([x.reshape(-1, 3) for x in images]),
        "offset": np.concatenate([[0], np.cumsum(areas)[:-1]]).astype(np.int32),
        "height": sizes[:, 0].astype(np.int32),
        "width": sizes[:, 1].astype(np.int32),
        "share": (np.cumsum(areas) / areas.sum()).astype(np.float32),
    }
    return data, validation


def crops_of(data, key, count, side):
    """Random crops, flipped and transposed at random: uint8 (count, side, side, 3)."""
    which, row, column, turn = jax.random.split(key, 4)
    number = jnp.searchsorted(data["share"], jax.random.uniform(which, (count,)))
    number = jnp.minimum(number, len(data["share"]) - 1)
    height, width = data["height"][number], data["width"][number]

    def start(k, length):
        free = (length - side + 1).astype(jnp.float32)
        return (jax.random.uniform(k, (count,)) * free).astype(jnp.int32)

    turns = jax.random.bernoulli(turn, 0.5, (3, count))
    places = jnp.arange(side)
    rows = jnp.where(turns[0][:, None], side - 1 - places, places)
    columns = jnp.where(turns[1][:, None], side - 1 - places, places)
    rows = rows + start(row, height)[:, None]
    columns = columns + start(column, width)[:, None]
    straight = rows[:, :, None] * width[:, None, None] + columns[:, None, :]
    turned = rows[:, None, :] * width[:, None, None] + columns[:, :, None]
    index = jnp.where(turns[2][:, None, None], turned, straight)
    return jnp.take(
        data["pixels"], index + data["offset"][number][:, None, None], axis=0
    )


def labels(params):
    """Which optimizer moves which parameter: Muon the kernels of 1 x 1."""
    flat = flax.traverse_util.flatten_dict(params)
    kinds = {
        name: "muon" if name[-1] == "kernel" and leaf.ndim == 2 else "adam"
        for name, leaf in flat.items()
    }
    return flax.traverse_util.unflatten_dict(kinds)


def optimizer(options):
    """Muon for matrices, Adam for all else; both for a learning rate of one."""
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b1=0.9, b2=0.99),
        optax.scale(options.adam_factor),
    )
    muon = scale_by_stacked_muon(0.95, jnp.bfloat16)
    return optax.partition({"muon": muon, "adam": adam}, labels)


def make_step(model, moves, data_side, batch):
    """A compiled function of many steps: crops, gradients, moves, averages."""
    lambdas = model.lambdas
    middle = float(np.exp(np.mean(np.log(lambdas))))

    def loss(params, images, key):
        rate_key, noise_key = jax.random.split(key)
        # One of equal parts of the range for each image: every step sees all rates.
        part = (jnp.arange(batch) + jax.random.uniform(rate_key, (batch,))) / batch
        rate = part * (len(lambdas) - 1)
        passed = model.apply(
            {"params": params}, images, rate, jax.random.split(noise_key, batch)
        )
        bpp = passed.bits / data_side**2
        error = losses.squared_error(images, passed.images)
        weight = objective.lambda_at(rate, lambdas)
        value = objective.lagrangian(bpp, error, weight, 0.5, middle)
        scores = {
            "bpp": jnp.mean(bpp),
            "hyper_bpp": jnp.mean(passed.hyper_bits) / data_side**2,
            "psnr": jnp.mean(losses.psnr(error)),
        }
        return value, scores

    def step(state, data, rate, key):
        crop_key, loss_key = jax.random.split(jax.random.fold_in(key, state["step"]))
        images = crops_of(data, crop_key, batch, data_side).astype(jnp.float32) / 255
        (value, scores), gradient = jax.value_and_grad(loss, has_aux=True)(
            state["params"], images, loss_key
        )
        norm = optax.global_norm(gradient)
        good = jnp.isfinite(norm)
        updates, moments = moves.update(gradient, state["moments"], state["params"])
        params = optax.apply_updates(
            state["params"], jax.tree.map(lambda u: -rate * u, updates)
        )
        t = state["step"].astype(jnp.float32)
        decay = jnp.minimum(0.999, (1 + t) / (10 + t))
        average = jax.tree.map(
            lambda a, p: decay * a + (1 - decay) * p, state["average"], params
        )
        new = {"params": params, "moments": moments, "average": average}
        old = {name: state[name] for name in new}
        # A step that is not finite is skipped.
        kept = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
        scores |= {"loss": value, "norm": norm, "skipped": 1.0 - good}
        return {**kept, "step": state["step"] + 1}, scores

    @functools.partial(jax.jit, static_argnums=4, donate_argnums=0)
    def run(state, data, rate, key, count):
        def body(state, _):
            return step(state, data, rate, key)

        state, scores = jax.lax.scan(body, state, None, length=count)
        return state, jax.tree.map(lambda x: jnp.nanmean(x), scores)

    return run


def make_validation(model, crops):
    """Rounded, not coded: bpp and PSNR of held-out crops at each rate."""

    @jax.jit
    def measure(params, images, rate):
        x = images.astype(jnp.float32) / 255
        passed = model.apply({"params": params}, x, jnp.full(len(x), rate))
        error = losses.squared_error(x, ops.eight_bits(passed.images) / 255)
        return passed.bits / (x.shape[1] * x.shape[2]), error

    def validate(params):
        lagrangians, points = [], []
        for rate, weight in enumerate(model.lambdas):
            bpp, error = (np.asarray(v) for v in measure(params, crops, 1.0 * rate))
            lagrangians.append(np.log(np.mean(bpp + weight * error)))
            quality = np.mean(10 * np.log10(255**2 / error))
            points.append([round(float(bpp.mean()), 4), round(float(quality), 3)])
        return {"log_lagrangian": float(np.mean(lagrangians)), "points": points}

    return validate


def save(params, out, config):
    """Averaged weights in 16 bits, in files of bounded size, and their order."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    names = sorted(flat)
    whole = np.concatenate([np.asarray(flat[n], np.float16).ravel() for n in names])
    step = WEIGHT_FILE_BYTES // 2
    for number, start in enumerate(range(0, len(whole), step)):
        np.save(out / f"weights-{number}.npy", whole[start : start + step])
    (out / "config.json").write_text(json.dumps(config))


def restore(folder, params):
    """What `save` has written."""
    files = sorted(Path(folder).glob("weights-*.npy"))
    whole = np.concatenate([np.load(file) for file in files]).astype(np.float32)
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    at, found = 0, {}
    for name in sorted(flat):
        shape = flat[name].shape
        size = int(np.prod(shape))
        found[name] = jnp.asarray(whole[at : at + size].reshape(shape))
        at += size
    if at != len(whole):
        raise ValueError(f"{folder} holds {len(whole)} weights, expected {at}")
    return flax.traverse_util.unflatten_dict(found, sep="/")


def learning_rate(progress, done, options):
    """Constant after a warm-up, then straight to zero at the end of the time."""
    if done < options.warmup:
        return options.learning_rate * (done + 1) / options.warmup
    left = (1 - progress) / options.decay
    return options.learning_rate * float(np.clip(left, 0.0, 1.0))


def main():
    """Trains, or compares learning rates with `--probe`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True, help="folders with commas")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--start", default="")
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--latents", type=int, default=192)
    parser.add_argument("--analysis_blocks", type=int, default=4)
    parser.add_argument("--synthesis_blocks", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--crop", type=int, default=CROP)
    parser.add_argument("--learning_rate", type=float, default=1.5e-3)
    parser.add_argument("--adam_factor", type=float, default=1.0)
    parser.add_argument("--decay", type=float, default=0.4, help="part of the time")
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--chunk", type=int, default=100, help="steps in a dispatch")
    parser.add_argument("--validate_every", type=float, default=60.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compute", default="bfloat16")
    parser.add_argument("--probe", default="", help="learning rates to compare")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log = (options.out / "log.jsonl").open("a")
    began = time.time()

    def say(**values):
        values = {"t": round(time.time() - began, 1), **values}
        print(json.dumps(values), flush=True)
        log.write(json.dumps(values) + "\n")
        log.flush()

    config = QuadtreeConfig(
        features=options.features,
        latents=options.latents,
        analysis_blocks=options.analysis_blocks,
        synthesis_blocks=options.synthesis_blocks,
    )
    model = quadtree.networks(config, jnp.dtype(options.compute))
    data, validation = load(options.images.split(","))
    say(
        device=str(jax.devices()[0].device_kind),
        images=len(data["offset"]),
        megapixels=len(data["pixels"]) / 1e6,
        held_out=len(validation),
    )
    data = jax.device_put(data)
    validate = make_validation(model, jax.device_put(validation))
    key = jax.random.key(options.seed)
    example = jnp.zeros((1, 64, 64, 3)), jnp.zeros(1)
    fresh = jax.jit(model.init)(key, *example)["params"]
    count = sum(x.size for x in jax.tree.leaves(fresh))
    moves = optimizer(options)

    def begin():
        params = restore(options.start, fresh) if options.start else fresh
        params = jax.tree.map(jnp.array, params)
        average = jax.tree.map(jnp.array, params)
        step = jnp.int32(10_000 if options.start else 0)
        return {
            "params": params,
            "moments": moves.init(params),
            "average": average,
            "step": step,
        }

    run = make_step(model, moves, options.crop, options.batch)
    state = begin()
    compiled = run.lower(state, data, 0.0, key, options.chunk).compile()
    say(parameters=count, compiled=True)
    validate(state["average"])
    say(validation_compiled=True)

    def train(state, seconds, peak):
        options.learning_rate = peak
        start, next_validation, done = time.time(), options.validate_every, 0
        while (elapsed := time.time() - start) < seconds:
            rate = learning_rate(elapsed / seconds, done, options)
            state, scores = compiled(state, data, jnp.float32(rate), key)
            scores = {k: round(float(v), 5) for k, v in scores.items()}
            done += options.chunk
            elapsed = time.time() - start
            say(step=done, rate=rate, per_second=round(done / elapsed, 2), **scores)
            if elapsed > next_validation:
                next_validation += options.validate_every
                say(step=done, **validate(state["average"]))
                save(state["average"], options.out, vars(config))
        return state, done

    if options.probe:
        for peak in map(float, options.probe.split(",")):
            state, done = train(begin(), options.seconds, peak)
            say(probe=peak, step=done, **validate(state["average"]))
        return
    left = options.seconds - (time.time() - began)
    state, done = train(state, left, options.learning_rate)
    say(step=done, final=True, **validate(state["average"]))
    save(state["average"], options.out, vars(config))


if __name__ == "__main__":
    main()
