"""The pretended device against what a real one does: where it computes, what it refuses, what it waits for."""

import copy
import io
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save

from tests.pretended_cuda.tensors import MixedDevicesError
from threestudio_like.kernels.composite import composite
from threestudio_like.kernels.hashgrid import HashGrid, encode
from threestudio_like.utils import seeding
from threestudio_like.utils.seeding import generator, on_the_cpu

pytestmark = pytest.mark.usefixtures("one_thread")


def model():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))


def test_results_are_those_of_the_cpu_and_say_that_they_are_on_the_gpu(noted):
    x, here = torch.randn(5, 3), model()
    there = copy.deepcopy(here).to("cuda")
    found = there(x.to("cuda"))
    assert found.device == torch.device("cuda", 0) and found.is_cuda
    assert torch.equal(found.cpu(), here(x))
    found.square().sum().backward(), here(x).square().sum().backward()
    for one, other in zip(there.parameters(), here.parameters(), strict=True):
        assert one.grad.is_cuda and torch.equal(one.grad.cpu(), other.grad)


def test_training_takes_the_same_steps(noted):
    x, here = torch.randn(5, 3), model()
    there = copy.deepcopy(here).to("cuda")
    for one, data in ((here, x), (there, x.to("cuda"))):
        optimizer = torch.optim.AdamW(one.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            one(data).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(there.parameters(), here.parameters(), strict=True))


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
        lambda x: x @ torch.ones(3, 3),
        lambda x: F.linear(x, torch.ones(2, 3)),
        lambda x: torch.ones(4)[x.long()],
        lambda x: x.index_put_((torch.zeros(1, dtype=torch.long),), torch.ones(1)),
        lambda x: x.index_select(0, torch.zeros(1, dtype=torch.long)),
        lambda x: torch.optim.AdamW([torch.nn.Parameter(x)]) and torch.cat([x, torch.ones(3)]),
        lambda x: torch.rand(3, generator=torch.Generator(), device="cuda"),
        lambda x: torch.rand(3, generator=torch.Generator("cuda")),
        lambda x: torch.empty(3, device="cuda").normal_(generator=torch.Generator()),
    ],
)
def test_devices_do_not_mix(noted, mixed):
    with pytest.raises(MixedDevicesError):
        mixed(torch.zeros(3, device="cuda"))


def test_a_number_of_the_cpu_meets_the_gpu_as_on_a_real_one(noted):
    x = torch.ones(3, device="cuda")
    assert (x * torch.tensor(2.0)).tolist() == [2, 2, 2]
    assert x[torch.tensor([0, 1])].is_cuda
    x[0] = torch.tensor(5.0)
    assert x.tolist() == [5, 1, 1]


@pytest.mark.parametrize("outside", [lambda x: x.numpy(), lambda x: memoryview(x.numpy())])
def test_numpy_sees_no_tensor_on_the_gpu(noted, outside):
    with pytest.raises((RuntimeError, TypeError)):
        outside(torch.zeros(3, device="cuda"))
    assert torch.zeros(3, device="cuda").cpu().numpy().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: bool(x[0] > 0),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.tolist(),
        lambda x: torch.zeros(3).copy_(x),
        lambda x: torch.equal(x, x),
        lambda x: torch.repeat_interleave(x.long()),
    ],
)
def test_what_waits_is_noted(noted, waits):
    x = torch.arange(3.0, device="cuda")
    noted.waits.clear()
    waits(x)
    assert noted.waits.total() == 1


@pytest.mark.parametrize(
    "does_not_wait",
    [
        lambda x: x + 1,
        lambda x: x[0],
        lambda x: x[x.long()],
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: torch.repeat_interleave(x.long(), output_size=3),
        lambda x: x.half().float(),
        lambda x: F.scaled_dot_product_attention(x[None, :, None], x[None, :, None], x[None, :, None]),
    ],
)
def test_what_does_not_wait_is_not_noted(noted, does_not_wait):
    x = torch.arange(3.0, device="cuda")
    noted.waits.clear(), noted.uploads.clear()
    does_not_wait(x)
    assert not noted.waits and not noted.uploads


def test_copies_to_the_gpu_are_noted(noted):
    torch.tensor([1.0, 2.0], device="cuda"), torch.ones(3).to("cuda")
    torch.zeros(2, device="cuda").copy_(torch.ones(2))
    assert noted.uploads.total() == 3 and not noted.waits


def test_the_line_of_the_project_that_waits_is_named(noted):
    on_the_cpu(generator("cuda", 0))
    lines = Path(seeding.__file__).read_text().splitlines()
    line = next(i for i, line in enumerate(lines, 1) if "int(torch.randint" in line)
    assert list(noted.waits) == [f"aten._local_scalar_dense.default at threestudio_like/utils/seeding.py:{line}"]


def test_autocast_acts(noted):
    linear = torch.nn.Linear(3, 3).to("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        assert linear(torch.ones(1, 3, device="cuda")).dtype == torch.bfloat16
        assert linear(torch.ones(1, 3, device="cuda")).softmax(-1).dtype == torch.float32


def test_a_generator_is_where_it_was_made(noted):
    there, again = (torch.Generator("cuda").manual_seed(3) for _ in range(2))
    assert there.device == torch.device("cuda", 0) and torch.Generator().device.type == "cpu"
    assert torch.equal(torch.rand(3, generator=there, device="cuda"), torch.rand(3, generator=again, device="cuda"))


def test_files_keep_what_is_there(noted):
    there = model().to("cuda")
    file = io.BytesIO()
    torch.save(there.state_dict(), file)
    file.seek(0)
    back = torch.load(file, map_location=torch.device("cuda", 0), weights_only=True)
    assert all(value.is_cuda and torch.equal(value, there.state_dict()[name]) for name, value in back.items())
    weights = load(save({"w": there[0].weight.detach()}))["w"]
    assert torch.equal(weights, there[0].weight.cpu())


def test_modules_move_and_change_their_precision(noted):
    there = model().to("cuda").half()
    assert {p.dtype for p in there.parameters()} == {torch.float16} and all(p.is_cuda for p in there.parameters())
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in there.parameters())
    back = there.float().cpu()
    assert type(back[0].weight) is torch.nn.Parameter and back(torch.ones(1, 3)).shape == (1, 2)


def test_kernels_compute_as_on_the_cpu_and_refuse_two_devices(noted):
    grid = HashGrid(n_levels=2, n_features_per_level=2, log2_hashmap_size=6, base_resolution=2, max_resolution=4)
    x, table = torch.rand(7, 3), torch.randn(grid.total_entries, 2, requires_grad=True)
    there = table.detach().to("cuda").requires_grad_()
    here, found = encode(x, table, grid), encode(x.to("cuda"), there, grid)
    assert found.is_cuda and torch.equal(found.cpu(), here)
    here.sum().backward(), found.sum().backward()
    torch.testing.assert_close(there.grad.cpu(), table.grad)
    with pytest.raises(ValueError, match="share a device"):
        composite(torch.ones(2, device="cuda"), 0.1, torch.tensor([0, 2]))


def test_nothing_is_left_when_it_ends():
    """The process' other tests see no CUDA."""
    assert not torch.cuda.is_available() and torch._C._accelerator_getAccelerator() is None
    assert torch.Generator.__name__ == "Generator" and torch.Generator().device.type == "cpu"
    with pytest.raises((RuntimeError, AssertionError)):
        torch.zeros(1, device="cuda")
    x = torch.ones(2, requires_grad=True)
    x.square().sum().backward()
    assert x.grad.tolist() == [2, 2]
