"""The metrics of a comparison: what each measures, which way is better, and where it is from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """`better`: which way; `digits` after the point are shown; `percent`: a rate in 0..1, shown in percent."""

    title: str
    better: Literal["higher", "lower", "neither"]
    about: str
    digits: int = 2
    percent: bool = False

    @property
    def arrow(self) -> str:
        return {"higher": "↑", "lower": "↓", "neither": ""}[self.better]

    @property
    def unit(self) -> str:
        return " %" if self.percent else ""

    def show(self, value: float) -> str:
        """The number as a table shows it; percents without their sign."""
        return f"{100 * value:.0f}" if self.percent else f"{value:.{self.digits}f}"


METRICS = {
    "color_correct": Metric(
        "Caption of 286, %",
        "higher",
        "Whether the Toybox scorer finds the prompt among all 286 colour x category captions, on 4 colour renders "
        "at 30 degrees elevation (CLIP R-Precision, Park et al. 2021, as DreamFusion uses it). 0 or 1.",
        percent=True,
    ),
    "geometry_correct": Metric(
        "Shape of 26, %",
        "higher",
        "Whether it finds the category among all 26 on textureless renders (DreamFusion's geometry score). 0 or 1.",
        percent=True,
    ),
    "color_similarity": Metric(
        "Similarity",
        "higher",
        "The cosine of the Toybox scorer's embeddings of the 4 renders and of the prompt, in -1..1.",
    ),
    "r_precision": Metric(
        "R-Prec. colour, %",
        "higher",
        "Whether the judge finds the prompt among the comparison's prompts and distractors, on the turntable's 8 "
        "colour views (CLIP R-Precision, Park et al. 2021). 0 or 1; by chance, one in their number.",
        percent=True,
    ),
    "r_precision_geometry": Metric(
        "R-Prec. geometry, %",
        "higher",
        "The same on the turntable's 8 textureless views (DreamFusion, table 1). 0 or 1.",
        percent=True,
    ),
    "similarity": Metric(
        "Similarity",
        "higher",
        "The mean cosine of the judge's embeddings of the 8 colour views and of the prompt (CLIP score, Hessel et "
        "al. 2021, unscaled), in -1..1.",
        digits=3,
    ),
    "consistent": Metric(
        "Consistent, %",
        "higher",
        "Whether 24 views tell of one object with one front (see evaluate/janus); only prompts whose object "
        "has a front. 0 or 1.",
        percent=True,
    ),
    "consistency_margin": Metric(
        "Margin, nats",
        "higher",
        "How much likelier one front is than the best other story, in nats a view; consistent above 0.",
    ),
    "saturation": Metric(
        "Saturation",
        "neither",
        "The mean HSV saturation of the object's pixels on 8 views, in 0..1: it should be the truth's.",
    ),
    "saturation_error": Metric(
        "Saturation error", "lower", "How far that is from the mean of true toys of the prompt, in 0..1."
    ),
    "diversity": Metric(
        "Diversity",
        "higher",
        "The mean distance, in the judge's features averaged over 8 views, from this result to the method's "
        "others for the same prompt (other seeds and particles), from 0 up.",
    ),
    "frechet": Metric(
        "Fréchet",
        "lower",
        "Between the judge's features of all of the method's views and of the reference's (Heusel et al. 2017), "
        "from 0 up; small sets are told apart too easily, so compare methods of one comparison only. Its interval and "
        "tests draw the prompts, or exchange the runs, and take the distance anew.",
        digits=1,
    ),
    "psnr": Metric("PSNR, dB", "higher", "Peak signal-to-noise ratio of views against the truth, from 0 up.", digits=1),
    "ssim": Metric(
        "SSIM", "higher", "Structural similarity of views to the truth (Wang et al. 2004), at most 1.", digits=3
    ),
    "lpips": Metric(
        "LPIPS", "lower", "Learned perceptual distance of views to the truth (Zhang et al. 2018), from 0 up.", digits=3
    ),
    "chamfer": Metric(
        "Chamfer",
        "lower",
        "The mean distance between the surfaces, both directions averaged, in scene units, from 0 up.",
        digits=3,
    ),
    "f_score": Metric(
        "F-score",
        "higher",
        "The harmonic mean of the shares of surface points within 0.05 of the other surface (Tatarchenko et al. "
        "2019), in 0..1.",
        digits=3,
    ),
    "volume_iou": Metric(
        "Volume IoU", "higher", "Intersection over union of the insides of both shapes, in 0..1.", digits=3
    ),
    "mesh_watertight": Metric(
        "Watertight, %",
        "higher",
        "Whether the exported mesh is closed: every edge has two faces (trimesh). 0 or 1.",
        percent=True,
    ),
    "mesh_components": Metric(
        "Parts", "neither", "Connected components of the exported mesh; 0 where there is no surface.", digits=1
    ),
    "mesh_faces": Metric("Faces", "neither", "Triangles of the exported mesh.", digits=0),
    "object_seconds": Metric(
        "Seconds an object",
        "lower",
        "Wall time to make an object once all is loaded and compiled: all of a per-scene method's stages, or one pass of a feed-forward "
        "one, the image of the prompt included.",
        digits=1,
    ),
    "train_seconds": Metric(
        "Seconds",
        "lower",
        "Wall time of the optimisation, all stages, without start-up and evaluation; a first step counts as the others' mean, as "
        "kernels may be compiled in it.",
        digits=0,
    ),
    "seconds_per_step": Metric("Seconds a step", "lower", "The same by optimisation step.", digits=3),
    "peak_memory_mib": Metric(
        "Memory, MiB", "lower", "Peak of device memory on CUDA, else of the process's resident memory.", digits=0
    ),
}
