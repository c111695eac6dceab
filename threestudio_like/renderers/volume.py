"""Volume rendering of a field; an occupancy grid skips empty space (Instant-NGP, section 5.2 and appendix E)."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from threestudio_like.cameras import Cameras, Rays
from threestudio_like.config.ranges import Cells, Count, Share, StepLength
from threestudio_like.config.registry import configure
from threestudio_like.kernels.composite import accumulate, composite
from threestudio_like.kernels.march import Samples, march
from threestudio_like.renderers.base import ALBEDO, DEFAULT_MESH, RaySamples, Render, Renderer, single_precision
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.base import MeshSettings, VolumeScene
from threestudio_like.scenes.visible import VisibleVolume

CHUNK = 1 << 19
EVERY = 17
"""Of so many rays one is looked at to estimate how many samples all have; odd, so that neighbouring rows differ."""
UNSEEN = 4
"""Samples that are looked at for each that `max_samples` lets be drawn, at most."""
FAINT_TO_MEAN = 0.1


class VolumeRenderer(Renderer[VolumeScene]):
    """Quadrature of the volume rendering integral: `C = sum_i T_i (1 - exp(-tau_i step)) c_i`.

    Built as `cls(config)`.
    """

    scene_type, draws = VolumeScene, "volume"

    @dataclass
    class Config:
        """Configures the quadrature, and the occupancy grid that skips empty space."""

        render_step_size: StepLength = 0.03
        """Length of a sample along the ray, in scene units."""
        resolution: Cells = 32
        """Cells along each axis of the occupancy grid."""
        refresh_every: Count = 16
        """Steps between updates of the occupancy grid."""
        decay: Share = 0.9
        """Factor of a cell's old density at each update."""
        empty_below: Share = 0.01
        """The opacity of one sample below which a cell counts as empty.

        At most the cells' mean, as in Instant-NGP, or a thin scene would never be seen again.
        """
        stop_at: Share = 1e-3
        """Samples behind this much remaining transmittance are dropped."""
        faint_below: Share = 1e-3
        """Samples of less opacity are dropped: they hardly count in the image, nor in its gradient.

        At most a tenth of the cells' mean opacity.
        """
        max_samples: Count | None = None
        """About as many samples as are drawn at once, at most, whatever the fog: where there would be more, each is
        longer. Bounds the memory of a step; null bounds nothing."""

    density: Tensor
    config: Config

    def __init__(self, config: Config | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        cells = (config.resolution,) * 3
        self.register_buffer("density", torch.full(cells, torch.inf))

    @property
    def opacity(self) -> Tensor:
        """`[R, R, R]` of one sample in each cell."""
        return 1 - torch.exp(-self.density * self.config.render_step_size)

    @property
    def opacity_threshold(self) -> Tensor:
        """The opacity of one sample below which a cell counts as empty."""
        return self.opacity.mean().clamp(max=self.config.empty_below)

    @property
    def density_threshold(self) -> float:
        """The density of such a sample."""
        return (-torch.log1p(-self.opacity_threshold) / self.config.render_step_size).item()

    def visible(self, scene: VolumeScene, settings: MeshSettings = DEFAULT_MESH) -> VisibleVolume:
        """Returns the scene without the fog that is not drawn."""
        return VisibleVolume(scene, self.density_threshold, settings)

    def start_from(self, previous: Renderer) -> None:
        """Takes over the occupancy grid of a volume renderer of the same resolution."""
        if isinstance(previous, VolumeRenderer) and previous.density.shape == self.density.shape:
            self.density.copy_(previous.density)

    @property
    def occupancy(self) -> Tensor:
        """`[R, R, R]` bool: cells in which one sample may be visible, and their neighbours."""
        opaque = (self.opacity > self.opacity_threshold).float()
        return F.max_pool3d(opaque[None, None], 3, stride=1, padding=1)[0, 0] > 0

    @torch.no_grad()
    def refresh(self, scene: VolumeScene, step: int, generator: torch.Generator) -> None:
        """Every `refresh_every` steps: the decayed grid, or the density at a random point of each cell, if larger."""
        if step % self.config.refresh_every:
            return
        n = self.config.resolution
        axis = torch.arange(n, device=self.density.device)
        corner = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        jitter = torch.rand(corner.shape, generator=generator, device=corner.device)
        density = scene.density(2 * (corner + jitter) / n - 1).view_as(self.density)
        old = torch.where(self.density.isinf(), 0.0, self.density)
        self.density.copy_(torch.maximum(self.config.decay * old, density))

    def forget(self) -> None:
        self.density.fill_(torch.inf)

    @single_precision
    def forward(
        self,
        scene: VolumeScene,
        cameras: Cameras,
        shading: Shading = ALBEDO,
        generator: torch.Generator | None = None,
        normals: bool = False,
    ) -> Render:
        """With a generator (training) the samples are jittered and the background may be random."""
        rays = cameras.rays()
        count, pixels = len(rays.origins), cameras.height * cameras.width
        jitter = torch.zeros(count, device=rays.origins.device)
        if generator is not None:
            jitter = torch.rand(count, generator=generator, device=rays.origins.device)
        step = self.step_size(scene, rays, jitter)
        samples = self._visible(scene, march(rays.origins, rays.directions, self.occupancy, step, jitter))
        points = scene.at(samples.position, normals=normals or shading.needs_normals)
        weights = composite(points.density, step, samples.offsets)
        image_of = torch.repeat_interleave(samples.offsets[::pixels].diff(), output_size=len(samples.ray))
        color = shading(points.features, points.normal, samples.position, image_of)
        depth = accumulate(weights, samples.t[:, None], samples.offsets)
        opacity = accumulate(weights, None, samples.offsets)
        xyz = 0.5 * (opacity * rays.origins + depth * rays.directions) + 0.5 * opacity  # sum_i w_i (o + t_i d)
        behind = scene.background(rays.directions.view(len(cameras), pixels, 3), generator).reshape(count, 3)

        def image(values):
            return values.view(len(cameras), cameras.height, cameras.width, -1)

        return Render(
            rgb=image(accumulate(weights, color, samples.offsets) + (1 - opacity) * behind),
            opacity=image(opacity),
            depth=image(depth),
            xyz=image(xyz),
            normal=None if points.normal is None else image(accumulate(weights, points.normal, samples.offsets)),
            samples=RaySamples(weights, rays.directions, samples.ray, points.normal),
        )

    @torch.no_grad()
    def step_size(self, scene: VolumeScene, rays: Rays, jitter: Float[Tensor, "N"]) -> float:
        """Returns the length of a sample: the recipe's, or with `max_samples` as much longer as a part of the rays
        asks for.
        """
        step, most = self.config.render_step_size, self.config.max_samples
        if most is None:
            return step
        few = march(rays.origins[::EVERY], rays.directions[::EVERY], self.occupancy, step, jitter[::EVERY])
        drawn = len(self._visible(scene, few).t)
        return step * max(1.0, drawn * EVERY / most, len(few.t) * EVERY / (UNSEEN * most))

    @property
    def faint_opacity(self) -> Tensor:
        """The opacity of samples that may be dropped."""
        return (FAINT_TO_MEAN * self.opacity.mean()).clamp(max=self.config.faint_below)

    @torch.no_grad()
    def _visible(self, scene: VolumeScene, samples: Samples) -> Samples:
        """The samples that are not faint and that light still reaches: transmittance T_i = 1 - sum_{j<i} w_j above
        `stop_at`.

        Their density alone is computed for it, in a fifth of the time of all that a step needs of a sample.
        """
        density = torch.cat([scene.density(chunk) for chunk in samples.position.split(CHUNK)])
        before = composite(density, samples.step, samples.offsets).double().cumsum(0)
        before = torch.cat([before.new_zeros(1), before])
        absorbed = before[:-1] - before[samples.offsets[samples.ray]]
        opacity = -torch.expm1(-density * samples.step)
        return keep(samples, (absorbed < 1 - self.config.stop_at) & (opacity >= self.faint_opacity))


def keep(samples: Samples, chosen: Bool[Tensor, "M"]) -> Samples:
    """Selects the chosen samples of each ray."""
    before = F.pad(chosen.long().cumsum(0), (1, 0))
    kept = chosen.nonzero()[:, 0]  # once: a GPU is waited for to learn how many there are
    return replace(
        samples,
        ray=samples.ray[kept],
        t=samples.t[kept],
        position=samples.position[kept],
        offsets=before[samples.offsets],
    )
