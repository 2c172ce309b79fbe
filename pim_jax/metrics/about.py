"""What is known of each metric without loading it; written by hand, one entry each."""

from typing import NamedTuple


class About(NamedTuple):
    """One row of `pim-jax metrics`.

    Attributes:
      reference: what the values are equal to, or the paper.
      smallest, largest: bounds of the distance.
      minimum_size: least height and width in pixels.
      version: changes whenever values do, so that tables can be compared.
      differentiable: False where the gradient is zero or undefined almost everywhere.
      thresholded: differences below a threshold have distance and gradient 0.
      sees_negative: False where an image and its negative are at distance 0.
      backbone: the classifier whose weights it needs, a key of `pretrained.FILES`; None
        where it needs none.
      published: its weights are another project's, fetched on first use.
      file: the file with another project's weights, which is not fetched: it is to be
        given; empty where there is none.
    """

    reference: str
    smallest: float = 0.0
    largest: float = float("inf")
    minimum_size: int = 1
    version: str = "1"
    differentiable: bool = True
    thresholded: bool = False
    sees_negative: bool = True
    backbone: str | None = None
    published: bool = False
    file: str = ""

    @property
    def needs_download(self) -> bool:
        """Whether its weights are elsewhere until they are fetched."""
        return self.published or self.backbone is not None or bool(self.file)


ABOUT = {
    "mse": About("mean squared error, images in [0, 1]", largest=1.0),
    "psnr": About("10^(-PSNR / 10), the mean squared error", largest=1.0),
    "ssim": About("1 - tf.image.ssim (Wang 2004), RGB", largest=2.0, minimum_size=11),
    "ssim-luma": About("1 - SSIM of Rec. 601 luma", largest=2.0, minimum_size=11),
    "ms-ssim": About(
        "1 - tf.image.ssim_multiscale (Wang 2003), RGB; fewer scales below 161 px",
        largest=1.0,
        minimum_size=11,
    ),
    "ms-ssim-luma": About(
        "1 - MS-SSIM of Rec. 601 luma; fewer scales below 161 px",
        largest=1.0,
        minimum_size=11,
    ),
    "nlpd": About(
        "perceptual_quality.nlpd (Laparra 2017), mean of R, G, B; fewer levels below "
        "65 px",
        minimum_size=5,
    ),
    "nlpd-fast": About(
        "perceptual_quality.nlpd_fast, mean of R, G, B; fewer levels below 65 px",
        minimum_size=5,
    ),
    "nlpd-gray": About("pyiqa's NLPD (Laparra 2016), Rec. 601 luma"),
    "vif": About(
        "1 - piq.vif_p (Sheikh 2006), luma; the first image is the reference, negative "
        "where contrast is raised",
        smallest=-float("inf"),
        largest=1.0,
        minimum_size=41,
    ),
    "pamse": About(
        "PAMSE (Xue 2013), luma in [0, 1] after a Gaussian of 0.8 px",
        largest=1.0,
        minimum_size=7,
    ),
    "sff": About(
        "1 - SFF (Chang 2013), features learned anew; the first image is the reference",
        largest=2.0,
        minimum_size=17,
    ),
    "cw-ssim": About(
        "1 - pyiqa's CW-SSIM (Sampat 2009), luma not rounded",
        largest=1.0,
        minimum_size=64,
        sees_negative=False,
    ),
    "gmsd": About(
        "GMSD (Xue 2014) of Rec. 601 luma, piq.gmsd", largest=0.5, minimum_size=3
    ),
    "ms-gmsd": About(
        "MS-GMSD (Zhang 2017) of Rec. 601 luma, piq.multi_scale_gmsd",
        largest=0.5,
        minimum_size=17,
    ),
    "mad": About(
        "pyiqa's MAD (Larson 2010), luma not rounded; the first image is the reference; "
        "no official code",
        minimum_size=16,
        thresholded=True,
    ),
    "ifc": About(
        "share of IFC (Sheikh 2005) that is lost, luma; the first image is the reference",
        largest=1.0,
        minimum_size=65,
    ),
    "fsim": About(
        "1 - FSIM (Zhang 2011) of Rec. 601 luma, piq.fsim(chromatic=False)",
        largest=1.0,
        minimum_size=2,
    ),
    "fsimc": About("1 - FSIMc (Zhang 2011), piq.fsim", largest=1.0, minimum_size=2),
    "vsi": About("1 - VSI (Zhang 2014), piq.vsi", largest=2.0, minimum_size=2),
    **{
        f"lpips-{network}{suffix}": About(
            f"LPIPS (Zhang 2018), {backbone}, {weights}",
            minimum_size=smallest,
            version=version,
            backbone=backbone,
        )
        for suffix, version, weights in (
            ("", "0.1", "weights 0.1, the package's default"),
            ("-v0.0", "0.0", "weights 0.0, images not normalised"),
            ("-baseline", "baseline", "all weights 1, without judgements"),
        )
        for network, backbone, smallest in (
            ("alex", "alexnet", 31),
            ("vgg", "vgg16", 16),
            ("squeeze", "squeezenet", 17),
        )
    },
    "dists": About(
        "DISTS (Ding 2020) of images as they are, not resized",
        largest=1.0,
        backbone="vgg16",
    ),
    "pieapp": About(
        "PieAPP (Prashnani 2018) of an image, compared with a reference; piq.PieAPP",
        smallest=float("-inf"),
        minimum_size=64,
        version="0.1",
        file="PieAPPv0.1.pth",
    ),
    "deepiqa": About(
        "DeepIQA, or WaDIQaM-FR (Bosse 2018), on the scale of its model",
        smallest=float("-inf"),
        minimum_size=32,
        file="a model of its authors",
    ),
    "pim-1": About(
        "PIM, one Gaussian (Bhardwaj 2020), trained by this project",
        minimum_size=8,
        version="1dc253e7",
    ),
    "pim-5": About(
        "PIM, five Gaussians (Bhardwaj 2020), trained by this project",
        minimum_size=8,
        version="c1263241",
    ),
    "pim-1-small": About(
        "PIM-1 at a quarter of its width, trained by this project",
        minimum_size=8,
        version="db6b8a37",
    ),
    "pim-1-published": About(
        "PIM, one Gaussian (Bhardwaj 2020), released weights",
        minimum_size=8,
        version="published",
        published=True,
    ),
    "pim-5-published": About(
        "PIM, five Gaussians (Bhardwaj 2020), released weights",
        minimum_size=8,
        version="published",
        published=True,
    ),
}
