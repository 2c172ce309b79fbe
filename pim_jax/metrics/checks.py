"""What metrics that are ordinary functions ask of two images."""

from jaxtyping import Array, Float


def check_pair(
    image_a: Float[Array, "n h w c"],
    image_b: Float[Array, "n h w c"],
    name: str,
    minimum: int = 1,
) -> None:
    """Raises ValueError unless both have one shape, with sides of `minimum` pixels.

    Args:
      image_a, image_b: what is compared.
      name: of the metric, for the message.
      minimum: least height and width.
    """
    if image_a.shape != image_b.shape:
        raise ValueError(
            f"image_a and image_b must have one shape, found {image_a.shape} and "
            f"{image_b.shape}"
        )
    if min(image_a.shape[1:3]) < minimum:
        raise ValueError(
            f"{name} needs images of at least {minimum}x{minimum} pixels, found "
            f"{image_a.shape[1]}x{image_a.shape[2]}"
        )
