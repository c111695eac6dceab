"""What the costs are reckoned from: counted operations, and how work is shared."""

import pytest
import torch

from benchmarks import costs, flops
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe


def test_a_product_and_a_sum_are_two_operations():
    layer = torch.nn.Linear(8, 16, bias=False)
    x = torch.rand(4, 8, requires_grad=True)
    assert flops.flops_of(lambda: layer(x)) == 2 * 4 * 8 * 16
    assert flops.flops_of(lambda: flops.loss_of(layer(x)).backward()) == 3 * 2 * 4 * 8 * 16


def test_attention_counts_with_its_weights():
    query, key = torch.rand(1, 2, 5, 8), torch.rand(1, 2, 7, 8)
    counted = flops.flops_of(lambda: torch.nn.functional.scaled_dot_product_attention(query, key, key))
    assert counted == 2 * (2 * 2 * 5 * 7 * 8)


@pytest.mark.slow
def test_stable_diffusion_takes_what_is_known_of_it():
    """0.80 TFLOP for one latent of 64 x 64, and 1.12 for the encoding of 512 x 512 pixels."""
    assert flops.network_flops("sd21")["predict"] == pytest.approx(0.80e12, rel=0.01)
    assert flops.vae_flops("sd21")["encode"] == pytest.approx(1.12e12, rel=0.01)


def model(predict: int, adapt: int = 0, learn: int = 0, encode: int = 0) -> dict[str, dict[str, int]]:
    return {"network": {"predict": predict, "adapt": adapt}, "vae": {"learn": learn, "encode": encode}}


COUNTS = {"sd21": model(1, 10, 100, 1000), "agp": model(10_000), "if": model(100_000)}


def stage(recipe: str, name: str, *keys: str):
    return parse_recipe(load(f"{recipe}.yaml", ["memory=80gb", *keys]), recipe).stages[name]


def test_sds_predicts_twice_and_goes_through_the_vae():
    assert costs.step_flops(stage("dreamfusion-sd", "main"), 0, COUNTS) == 4 * (2 * 1 + 100)
    sliced = stage("dreamfusion-sd", "main", "backbone.vae_slicing=true")
    assert costs.step_flops(sliced, 0, COUNTS) == 4 * (2 * 1 + 100 + 1000)


def test_vsd_learns_as_well():
    assert costs.step_flops(stage("prolificdreamer-sd", "nerf"), 0, COUNTS) == 2 * 1 + 100 + 1 + 10


def test_a_term_counts_while_it_has_a_weight():
    nerf = stage("sweetdreamer-nerf-sd", "coarse")
    assert costs.step_flops(nerf, 0, COUNTS) == 8 * 2 * 10_000
    assert costs.step_flops(nerf, 1500, COUNTS) == 8 * 2 * (10_000 + 100_000)


def test_gpus_share_a_step_or_its_batch_grows():
    second = costs.PEAK * costs.USED
    work = costs.Work("a training", part=second, parts=64 * 3600, batch=8)
    assert [work.on(gpus) for gpus in (1, 8, 64)] == ["64", "8", "8 (batch 64)"]
    exchanging = costs.Work("another", second, 64 * 3600, 8, exchanged=costs.BETWEEN / 2)
    assert exchanging.on(64) == "16 (batch 64)"
    alone = costs.Work("images", second, 64 * 3600)
    assert [alone.on(gpus) for gpus in (1, 8, 64)] == ["64", "8", "1"]
