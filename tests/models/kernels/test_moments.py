"""MobileOne's training form from moments against its branches, and the moments against their definition."""

from __future__ import annotations

import copy
import io
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import phonecv
from conftest import TINY
from phonecv.errors import UserError
from phonecv.models.kernels import branch_sum
from phonecv.models.kernels.conv_relu import convolve_relu, patch_convolve_relu
from phonecv.models.kernels.moments import depthwise_moments, output_moments, patch_moments, pointwise_moments
from phonecv.models.mobileone import MobileOneBlock

LAST = torch.channels_last

#: Name -> in, out, kernel, stride, groups, branches.
LAYERS = {
    "depthwise k=4": (8, 8, 3, 1, 8, 4),
    "depthwise k=1": (8, 8, 3, 1, 8, 1),
    "depthwise stride 2 k=4": (8, 8, 3, 2, 8, 4),
    "depthwise stride 2 k=1": (8, 8, 3, 2, 8, 1),
    "dense k=4, skip": (8, 8, 1, 1, 1, 4),
    "dense k=4": (8, 12, 1, 1, 1, 4),
    "dense k=1, skip": (8, 8, 1, 1, 1, 1),
    "stem": (3, 8, 3, 2, 1, 1),
    "stem k=3": (3, 8, 3, 2, 1, 3),
}
SIZES = [(4, 8, 8), (3, 7, 9), (1, 5, 6), (5, 1, 1), (4, 1, 5), (4, 5, 1), (4, 2, 3)]


def layer(name: str, *, se: bool = False, dtype: torch.dtype = torch.float64) -> MobileOneBlock:
    """A layer in branches with random values everywhere, its running statistics included."""
    inner, outer, kernel, stride, groups, branches = LAYERS[name]
    torch.manual_seed(3)
    block = MobileOneBlock(
        inner, outer, kernel, stride=stride, groups=groups, branches=branches, se=se, training_form="branches"
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block.to(dtype).train()


def picture(block: MobileOneBlock, size: tuple[int, int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    batch, height, width = size
    channels = block.linear_branches()[0].conv.in_channels
    return torch.randn(batch, channels, height, width, dtype=dtype, generator=torch.Generator().manual_seed(5))


def in_form(block: MobileOneBlock, form: branch_sum.TrainingForm) -> MobileOneBlock:
    other = copy.deepcopy(block)
    other.training_form = form
    return other


def step(block: MobileOneBlock, x: Tensor, wants_x: bool, amp: bool = False) -> dict[str, Tensor]:
    """Everything a training step gives: output, gradients, buffers."""
    x = x.detach().requires_grad_(wants_x)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
        y = block(x)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(y.dtype))
    found = {"output": y.detach()} | ({"input": x.grad} if x.grad is not None else {})
    found |= {f"gradient {name}": p.grad for name, p in block.named_parameters() if p.grad is not None}
    return found | {f"buffer {name}": value.clone() for name, value in block.named_buffers()}


def differences(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, float]:
    """Largest difference by kind, relative to the largest value of that kind: single gradients are zero by nature."""
    assert a.keys() == b.keys()
    worst: dict[str, float] = {}
    for kind in {key.split()[0] for key in a}:
        keys = [key for key in a if key.split()[0] == kind]
        scale = max(a[key].abs().max().item() for key in keys)
        worst[kind] = max((a[key].double() - b[key].double()).abs().max().item() for key in keys) / scale
    return worst


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small maps are summed, too."""
    monkeypatch.setattr(branch_sum, "LEAST_MAP", 0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_step_equals_that_of_the_branches(name: str, size: tuple[int, int, int], layout: torch.memory_format) -> None:
    block = layer(name)
    x = picture(block, size).contiguous(memory_format=layout)
    summed = in_form(block, "moments")
    wants_x = not name.startswith("stem")
    expected, found = step(block, x, wants_x), step(summed, x, wants_x)
    # The gradient of a BatchNorm over few values cancels; what remains of it is rounding.
    bound = 1e-11 if x.numel() // x.shape[1] >= 8 * block.stride**2 else 1e-9
    assert max(differences(expected, found).values()) < bound, differences(expected, found)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("name", LAYERS)
def test_float32_step(name: str) -> None:
    block = layer(name, dtype=torch.float32)
    x = picture(block, (8, 14, 14), torch.float32).relu()
    exact = step(in_form(block, "branches").double(), x.double(), not name.startswith("stem"))
    for form in ("moments", "auto"):
        summed = in_form(block, form)
        assert branch_sum.sum_branches(in_form(block, form), x) is not None
        found = differences(exact, step(summed, x, not name.startswith("stem")))
        assert max(found.values()) < 2e-5, (form, found)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_summed_and_not_silently_left_as_branches(name: str) -> None:
    block = layer(name)
    x = picture(block, (4, 8, 8))
    assert branch_sum.sum_branches(block, x) is None
    y = branch_sum.sum_branches(in_form(block, "moments"), x)
    assert y is not None
    assert (y >= 0).all(), "ReLU is part of it"


def test_odd_strides_of_the_input() -> None:
    block = layer("depthwise k=4")
    wide = torch.randn(3, 9, 20, 16, dtype=torch.float64).permute(0, 3, 1, 2)
    for x in (wide[:, ::2, :, ::2], wide[:, :8].transpose(2, 3), wide[:1, :8].expand(4, -1, -1, -1)):
        expected, found = step(in_form(block, "branches"), x, True), step(in_form(block, "moments"), x, True)
        assert max(differences(expected, found).values()) < 1e-11


@pytest.mark.parametrize("name", ["depthwise k=4", "dense k=4, skip"])
def test_squeeze_excite_follows_unchanged(name: str) -> None:
    inner, outer, kernel, stride, groups, branches = LAYERS[name]
    torch.manual_seed(0)
    block = MobileOneBlock(16, 16, kernel, groups=16 if groups > 1 else 1, branches=branches, se=True).double()
    x = torch.randn(4, 16, 8, 8, dtype=torch.float64)
    expected, found = step(in_form(block, "branches"), x, True), step(in_form(block, "moments"), x, True)
    assert max(differences(expected, found).values()) < 1e-11
    assert inner == outer
    assert stride == 1


def unfolded(x: Tensor, stride: int) -> Tensor:
    """Every 3x3 neighbourhood: ``patches C 9``, by PyTorch's im2col."""
    return F.unfold(x, 3, padding=1, stride=stride).unflatten(1, (-1, 9)).permute(0, 3, 1, 2).flatten(0, 1)


@pytest.mark.parametrize("size", [*SIZES, (2, 3, 3), (2, 1, 2)], ids=str)
def test_moments_are_those_of_the_patches(size: tuple[int, int, int]) -> None:
    batch, height, width = size
    x = torch.randn(batch, 4, height, width, dtype=torch.float64).contiguous(memory_format=LAST)
    taps = unfolded(x, 1)
    moments = depthwise_moments(x)
    torch.testing.assert_close(moments.mean, taps.mean(0))
    torch.testing.assert_close(moments.second, torch.einsum("pca,pcb->cab", taps, taps) / len(taps))
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    moments = pointwise_moments(x)
    torch.testing.assert_close(moments.mean, pixels.mean(0))
    torch.testing.assert_close(moments.second, pixels.T @ pixels / len(pixels))
    for stride in (1, 2):
        every = unfolded(x, stride).flatten(1)
        moments = patch_moments(x, stride)
        assert moments.count == len(every)
        torch.testing.assert_close(moments.mean, every.mean(0))
        torch.testing.assert_close(moments.covariance, torch.cov(every.T, correction=0).reshape(36, 36))
        kernels = torch.randn(3, 4, 1, 3, 3, dtype=torch.float64)
        mean, variance = output_moments(x, kernels, stride)
        outputs = [F.conv2d(x, kernel, None, stride, 1, 1, 4) for kernel in kernels] + [x[:, :, ::stride, ::stride]]
        torch.testing.assert_close(mean, torch.stack([y.mean((0, 2, 3)) for y in outputs]))
        torch.testing.assert_close(variance, torch.stack([y.var((0, 2, 3), correction=0) for y in outputs]))


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).contiguous(memory_format=LAST).requires_grad_()


@pytest.mark.parametrize(("height", "width"), [(4, 5), (1, 3), (2, 2)])
def test_gradients_of_moments_by_finite_differences(height: int, width: int) -> None:
    torch.manual_seed(0)
    x = double(2, 2, height, width)
    kernels = torch.randn(2, 2, 1, 3, 3, dtype=torch.float64, requires_grad=True)

    def parts(found: object) -> tuple[Tensor, Tensor]:
        assert isinstance(found, branch_sum.Moments)
        return found.mean, found.second

    assert torch.autograd.gradcheck(lambda x: parts(depthwise_moments(x)), x)
    assert torch.autograd.gradcheck(lambda x: parts(pointwise_moments(x)), x)
    assert torch.autograd.gradcheck(lambda x, k: output_moments(x, k, 2), (x, kernels))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("inner", "outer", "kernel", "stride", "groups"), [(2, 3, 1, 1, 1), (2, 2, 3, 1, 2)])
def test_gradients_of_the_convolution(
    inner: int, outer: int, kernel: int, stride: int, groups: int, relu: bool
) -> None:
    torch.manual_seed(0)
    weight, bias = double(outer, inner // groups, kernel, kernel), torch.randn(outer).double().requires_grad_()
    for step_ in (1, 2) if kernel == 3 else (1,):
        assert torch.autograd.gradcheck(
            lambda x, w, b, s=step_: convolve_relu(x, w, b, stride=s, groups=groups, relu=relu),
            (double(2, inner, 4, 3), weight, bias),
        )
    assert stride == 1


def test_gradients_of_the_convolution_by_patches() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 5, 6).double(), double(4, 3, 3, 3), torch.randn(4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w, b: patch_convolve_relu(x, w, b, stride=2, relu=True), (weight, bias))


def test_second_derivatives_are_refused_and_not_wrong() -> None:
    x = picture(layer("depthwise k=1"), (2, 4, 4)).requires_grad_()
    y = in_form(layer("depthwise k=1"), "moments")(x).square().sum()
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("name", ["depthwise k=4", "depthwise k=1", "dense k=4, skip", "stem"])
def test_all_but_constant_input_falls_back_to_the_branches(name: str) -> None:
    """Mean 3, standard deviation 0.05: variances from float32 moments would be off by up to 3e-3."""
    block = layer(name, dtype=torch.float32)
    x = picture(block, (32, 14, 14), torch.float32) * 0.05 + 3
    summed = in_form(block, "moments")
    before = {key: value.clone() for key, value in summed.named_buffers()}
    assert branch_sum.sum_branches(summed, x) is None
    assert all(torch.equal(value, before[key]) for key, value in summed.named_buffers())
    wants_x = name != "stem"
    assert max(differences(step(block, x, wants_x), step(summed, x, wants_x)).values()) == 0, "exactly the branches"
    # In float64 the moments have digits enough.
    assert branch_sum.sum_branches(summed.double(), x.double()) is not None


@pytest.mark.parametrize("name", ["depthwise k=4", "dense k=4, skip"])
def test_few_doubtful_channels_are_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    kernel = LAYERS[name][2]
    block = MobileOneBlock(
        64, 64, kernel, groups=64 if kernel == 3 else 1, branches=4, training_form="branches"
    ).train()
    x = torch.randn(16, 64, 14, 14).relu()
    x[:, 5] = 10 + 0.01 * torch.randn(16, 14, 14)
    if kernel == 1:
        with torch.no_grad():
            for branch in block.linear_branches():
                branch.conv.weight[:, 5] *= 1e-3  # else every output were doubtful
    exact = step(in_form(block, "branches").double(), x.double(), True)
    buffers = [key for key in exact if "running_var" in key]
    error = {}
    for tolerance in (branch_sum.VARIANCE_TOLERANCE, float("inf")):
        monkeypatch.setattr(branch_sum, "VARIANCE_TOLERANCE", tolerance)
        summed = in_form(block, "moments")
        assert branch_sum.sum_branches(in_form(summed, "moments"), x) is not None
        found = step(summed, x, True)
        error[tolerance] = max(((found[key].double() - exact[key]) / exact[key]).abs().max().item() for key in buffers)
    # A tenth of the new variance goes into the running one, which began at one.
    guarded, unguarded = error.values()
    assert guarded < 2e-5
    assert unguarded >= guarded


def test_values_that_are_not_finite_give_what_the_branches_give() -> None:
    block = layer("dense k=4", dtype=torch.float32)
    x = picture(block, (4, 8, 8), torch.float32)
    x[0, 0, 0, 0] = float("nan")
    assert branch_sum.sum_branches(in_form(block, "moments"), x) is None


def watched(block: MobileOneBlock) -> None:
    block.rbr_conv[0].register_forward_hook(lambda *_: None)


def frozen_norm(block: MobileOneBlock) -> None:
    block.linear_branches()[1].bn.eval()


def synchronised(block: MobileOneBlock) -> None:
    block.linear_branches()[1].bn = nn.SyncBatchNorm(block.linear_branches()[1].bn.num_features).double()  # pyrefly: ignore[bad-assignment]


def without_statistics(block: MobileOneBlock) -> None:
    block.linear_branches()[1].bn = nn.BatchNorm2d(
        block.linear_branches()[1].bn.num_features, track_running_stats=False
    ).double()


def weight_normed(block: MobileOneBlock) -> None:
    nn.utils.parametrizations.weight_norm(block.linear_branches()[1].conv)


def replaced(block: MobileOneBlock) -> None:
    block.rbr_conv[1] = nn.Identity()


def evaluated(block: MobileOneBlock) -> None:
    block.eval()


@pytest.mark.parametrize(
    "change", [watched, frozen_norm, synchronised, without_statistics, weight_normed, replaced, evaluated]
)
def test_branches_run_where_the_sum_would_not_be_theirs(change: object) -> None:
    block = in_form(layer("depthwise k=4"), "moments")
    assert callable(change)
    change(block)
    assert branch_sum.sum_branches(block, picture(block, (4, 8, 8))) is None


def test_input_gradient_of_the_stem_comes_from_the_branches() -> None:
    block = in_form(layer("stem"), "moments")
    x = picture(block, (4, 8, 8)).requires_grad_()
    assert branch_sum.sum_branches(block, x) is None
    with torch.no_grad():
        assert branch_sum.sum_branches(block, x) is not None


def test_one_value_per_channel_is_refused_as_by_batchnorm() -> None:
    for name in ("depthwise k=4", "dense k=4", "depthwise stride 2 k=4"):
        block = in_form(layer(name), "moments")
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            block(picture(block, (1, 1, 1)))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_share_no_memory_and_add_up_over_batches(name: str, dtype: torch.dtype) -> None:
    block = in_form(layer(name, dtype=dtype), "moments")
    x = picture(block, (4, 8, 8), dtype)
    for _ in range(2):
        step(block, x, False)
    gradients = [parameter.grad for parameter in block.parameters() if parameter.grad is not None]
    places = sorted((grad.data_ptr(), grad.data_ptr() + grad.nbytes) for grad in gradients)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))
    once = step(in_form(layer(name, dtype=dtype), "moments"), x, False)
    for key, parameter in block.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 2 * once[f"gradient {key}"])


def test_momentum_none_averages_and_frozen_parameters_get_no_gradient() -> None:
    block = layer("depthwise k=4")
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    block.linear_branches()[1].conv.weight.requires_grad_(False)
    block.linear_branches()[2].bn.requires_grad_(False)
    plain, summed = in_form(block, "branches"), in_form(block, "moments")
    for seed in range(3):
        x = torch.randn(4, 8, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        expected, found = step(plain, x, True), step(summed, x, True)
        assert max(differences(expected, found).values()) < 1e-11
    assert summed.linear_branches()[1].conv.weight.grad is None
    assert summed.linear_branches()[2].bn.weight.grad is None
    assert summed.linear_branches()[0].bn.num_batches_tracked == 3


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("name", LAYERS)
def test_bfloat16_autocast_keeps_moments_in_float32(name: str) -> None:
    block = layer(name, dtype=torch.float32)
    x = (
        picture(block, (8, 14, 14), torch.float32)
        .relu()
        .bfloat16()
        .to(torch.float32 if "stem" in name else torch.bfloat16)
    )
    exact = step(in_form(block, "branches").double(), x.double(), not name.startswith("stem"))
    errors = {}
    for form in ("branches", "moments"):
        found = step(in_form(block, form), x, not name.startswith("stem"), amp=True)
        assert found["output"].dtype == torch.bfloat16
        assert all(value.dtype == torch.float32 for key, value in found.items() if key.startswith("gradient"))
        variances = [key for key in found if key.endswith("running_var")]
        errors[form] = [
            ((found["output"].double() - exact["output"]).norm() / exact["output"].norm()).item(),
            max(((found[key] - exact[key]) / exact[key]).abs().max().item() for key in variances),
        ]
    assert errors["moments"][0] < max(1.5 * errors["branches"][0], 0.02), errors
    assert errors["moments"][1] < max(errors["branches"][1], 0.01), errors


def tiny(form: str) -> nn.Module:
    torch.manual_seed(0)
    options = TINY["mobileone_s0"] | {"branches": 4, "se_pairs": (0, 0, 1, 0)}
    return phonecv.create_model("mobileone_s0", num_classes=5, training_form=form, **options)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("form", ["moments", "auto"])
def test_training_a_network_gives_the_same_weights_and_statistics(form: str) -> None:
    nets = {name: tiny(name).double().train() for name in ("branches", form)}
    for name, net in nets.items():
        optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
        generator = torch.Generator().manual_seed(1)
        for _ in range(4):
            x = torch.randn(6, 3, 40, 56, dtype=torch.float64, generator=generator)
            x = x.contiguous(memory_format=LAST) if name == form else x
            loss = F.cross_entropy(net(x), torch.randint(5, (6,), generator=generator))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    states = [net.state_dict() for net in nets.values()]
    assert list(states[0]) == list(states[1])
    for key, value in states[0].items():
        assert (value - states[1][key]).abs().max() <= 1e-8 * value.abs().max().clamp(min=1), key


def saved_bytes(net: nn.Module, x: Tensor) -> int:
    """Bytes that one forward pass keeps for the backward pass, each storage once, without the network's own."""
    own = {p.untyped_storage().data_ptr() for p in [*net.parameters(), *net.buffers()]}
    storages: dict[int, int] = {}
    alive = []

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
            alive.append(value)  # an address is not used twice while its tensor lives
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        net(x)
    return sum(storages.values())


@pytest.mark.long
def test_saved_activations_of_s0_are_less_than_half() -> None:
    per_picture = {}
    for form in ("branches", "auto"):
        net = phonecv.create_model("mobileone_s0", training_form=form).train()
        # What is kept of the weights does not grow with the batch.
        few, more = (saved_bytes(net, torch.randn(batch, 3, 224, 224)) for batch in (2, 3))
        per_picture[form] = more - few
    assert per_picture["auto"] < 0.5 * per_picture["branches"], per_picture


def test_form_is_an_option_that_leaves_checkpoints_as_they_were() -> None:
    nets = {form: tiny(form) for form in ("auto", "moments", "branches")}
    file = io.BytesIO()
    torch.save(nets["moments"].state_dict(), file)
    file.seek(0)
    nets["branches"].load_state_dict(torch.load(file, weights_only=True))
    assert "training_form" not in phonecv.create_model("mobileone_s0").overrides
    with pytest.raises(UserError, match="training_form 'fast' is not one of auto, moments, branches"):
        tiny("fast")


@pytest.mark.slow
def test_compiled_training_runs_the_branches() -> None:
    block = in_form(layer("depthwise k=4"), "moments")
    x = picture(block, (4, 8, 8))
    expected = step(in_form(block, "branches"), x, True)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x).detach(), expected["output"])


def test_batches_are_cut_into_pieces_without_changing_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    from phonecv.models.kernels import conv_relu

    found: list[dict[str, Tensor]] = []
    for size in (1, 2**30):
        monkeypatch.setattr(conv_relu, "PIECE", size)
        for name in ("depthwise k=4", "depthwise stride 2 k=4", "stem"):
            found.append(step(in_form(layer(name), "moments"), picture(layer(name), (5, 6, 7)), name != "stem"))
    for one, other in zip(found[:3], found[3:], strict=True):
        assert max(differences(one, other).values()) < 1e-11
