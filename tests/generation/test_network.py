"""D-EMO and DiT: published counts, a start that changes nothing, and DiT against diffusers'."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phonecv
from phonecv.benchmarking.count import count_cost, count_parameters
from phonecv.errors import UserError
from phonecv.generation.catalog import GENERATORS
from phonecv.generation.network import Generator

SMALL: dict[str, Any] = {
    "width": 16,
    "depth": 2,
    "size": 16,
    "patch": 2,
    "channels": 3,
    "latent": False,
    "window": 4,
    "head_dim": 8,
}


class OfClassZero(nn.Module):
    """A generator as a function of the noisy picture alone, for the counter."""

    def __init__(self, net: Generator) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.net(x, zeros, zeros)


def awake(net: Generator) -> Generator:
    """The network with every weight at random, also those that start at zero."""
    torch.manual_seed(1)
    for parameter in net.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    return net


def given(net: Generator, count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    noisy = torch.randn(count, net.channels, net.size, net.size)
    return noisy, torch.randint(1000, (count,)), torch.arange(count) % (net.num_classes + 1)


@pytest.mark.parametrize("name", GENERATORS)
def test_counts_are_the_published_ones(name: str) -> None:
    record = GENERATORS[name]
    with torch.device("meta"):
        net = phonecv.create_generator(name)
    assert count_parameters(net) == record.parameters
    if record.flops is not None and record.config["blocks"] == "emov2":
        billions = count_cost(OfClassZero(net), net.size, in_chans=net.channels).flops / 1e9
        # The paper cuts its figures; they hold multiply-adds, those of the attention too, and 5 per normalised value.
        assert math.floor(10 * billions) / 10 == record.flops


@pytest.mark.parametrize("name", ["d_emov2_digits", "dit_digits"])
def test_a_fresh_network_changes_nothing(name: str) -> None:
    net = phonecv.create_generator(name, num_classes=3, **SMALL)
    x, condition = torch.randn(2, 16, 8, 8), torch.randn(2, 16)
    assert torch.equal(net.backbone(x, condition), x)
    out = net(*given(net))
    assert out.shape == (2, 6, 16, 16)
    assert not out.any()


@pytest.mark.parametrize("options", [{"local_norm": "layer"}, {"local_norm": "batch"}, {"blocks": "dit"}], ids=str)
def test_everything_learns(options: dict[str, Any]) -> None:
    net = awake(phonecv.create_generator("d_emov2_digits", num_classes=3, **SMALL | options))
    noisy, timesteps, _ = given(net, 4)
    net(noisy, timesteps, torch.arange(4)).square().mean().backward()
    still = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == ["positions"]


def test_the_block_by_hand() -> None:
    """One block from its formula, windows cut by indexing."""
    net = awake(phonecv.create_generator("d_emov2_digits", **SMALL | {"depth": 1}))
    block: Any = net.backbone.blocks[0]
    x, condition = torch.randn(1, 16, 8, 8), torch.randn(1, 16)
    shift, scale, gate = block.modulation(nn.functional.silu(condition)).view(3, 16, 1, 1)
    t = block.norm(x) * (1 + scale) + shift
    expansion = block.expansion
    qk = expansion.qk.conv(t)[0]
    v = nn.functional.gelu(expansion.v.conv(t))[0]
    mixed = torch.zeros_like(v)
    for a in range(2):
        for b in range(2):
            for rows, columns in ((slice(4 * a, 4 * a + 4), slice(4 * b, 4 * b + 4)), (slice(a, 8, 2), slice(b, 8, 2))):
                q, k = qk[:, rows, columns].reshape(2, 2, 8, 16)  # heads 8 N
                weights = (q.transpose(1, 2) @ k / 8**0.5).softmax(-1)
                own = v[:, rows, columns].reshape(2, 32, 16)
                mixed[:, rows, columns] += (own @ weights.transpose(1, 2)).reshape(64, 4, 4)
    local = nn.functional.gelu(block.conv_local.norm(block.conv_local.conv(mixed[None])))
    wanted = x + gate * block.proj.conv(mixed[None] + local)
    torch.testing.assert_close(block(x, condition), wanted, rtol=1e-4, atol=1e-4)


def test_activations_computed_again_change_no_gradient() -> None:
    net = awake(phonecv.create_generator("d_emov2_digits", num_classes=3, **SMALL))
    gradients = []
    for again in (False, True):
        net.backbone.checkpoint_activations = again
        net.zero_grad()
        net(*given(net)).square().mean().backward()
        gradients.append([value.grad.clone() for value in net.parameters() if value.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_timesteps_may_be_floats_and_classes_short() -> None:
    """As exported files take them."""
    net = awake(phonecv.create_generator("d_emov2_digits", num_classes=3, **SMALL)).eval()
    noisy, timesteps, classes = given(net, 3)
    with torch.no_grad():
        assert torch.equal(net(noisy, timesteps, classes), net(noisy, timesteps.float(), classes.int()))


@pytest.mark.parametrize("options", [{"local_norm": "layer"}, {"local_norm": "batch"}], ids=str)
def test_fused(options: dict[str, Any]) -> None:
    net = awake(phonecv.create_generator("d_emov2_digits", num_classes=3, **SMALL | options))
    net(*given(net, 8))  # statistics of batch norms
    fused = phonecv.fuse(net.eval())
    assert fused.form == "deploy"
    assert not any("running_mean" in name for name in fused.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fused(*given(net)), net(*given(net)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_dit_is_that_of_diffusers() -> None:
    from diffusers import DiTTransformer2DModel

    net = awake(phonecv.create_generator("dit_digits", num_classes=5, **SMALL)).eval()
    theirs: Any = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=3, out_channels=6, num_layers=2, sample_size=16,
        patch_size=2, num_embeds_ada_norm=5, norm_eps=1e-6,
    )  # fmt: skip
    own = net.state_dict()
    names = {"to_q": 0, "to_k": 1, "to_v": 2}
    state = {}
    for name, value in theirs.state_dict().items():
        block = name.removeprefix("transformer_blocks.")[0]
        prefix, tail = f"backbone.blocks.{block}.", name.rpartition(".")[2]
        if "class_embedder" in name:
            state[name] = own["classes.weight"]
        elif "timestep_embedder" in name:
            state[name] = own[f"time.{0 if 'linear_1' in name else 2}.{tail}"]
        elif "norm1.linear" in name:
            state[name] = own[f"{prefix}modulation.{tail}"]
        elif any(one in name for one in names):
            part = next(place for one, place in names.items() if one in name)
            state[name] = own[f"{prefix}qkv.{tail}"].chunk(3)[part]
        elif "to_out" in name:
            state[name] = own[f"{prefix}proj.{tail}"]
        elif "ff.net" in name:
            state[name] = own[f"{prefix}mlp.{0 if 'net.0' in name else 2}.{tail}"]
        elif name == "pos_embed.pos_embed":
            state[name] = own["positions"].flatten(2).transpose(1, 2)
            torch.testing.assert_close(value, state[name])
        else:
            ours = {"pos_embed.proj": "embed", "proj_out_1": "last_modulation", "proj_out_2": "last"}
            state[name] = own[f"{ours[name.rpartition('.')[0]]}.{tail}"]
    theirs.eval().load_state_dict(state)
    for block in theirs.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0  # as in DiT's own code
    noisy, timesteps, classes = given(net, 3)
    with torch.no_grad():
        wanted = theirs(noisy, timesteps, classes).sample
        torch.testing.assert_close(net(noisy, timesteps, classes), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 8}, "did you mean 'width'"),
        ({"width": 20}, "head_dim 8 does not divide the width 20"),
        ({"patch": 3}, "patch 3 does not divide the size 16"),
        ({"num_classes": 0}, "at least 1"),
        ({"depth": 0}, "depth 0 is not"),
        ({"channels": 4}, "channels 4 are not 3"),
        ({"condition_init": "large"}, "is not one of small, unit"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        phonecv.create_generator("d_emov2_digits", **SMALL | options)
    with pytest.raises(UserError, match="did you mean 'd_emov2_s'"):
        phonecv.create_generator("d_emo2_s")


@pytest.mark.parametrize("local_norm", ["layer", "batch"])
def test_fused_weights_begin_another_network(tmp_path: Path, local_norm: str) -> None:
    made = {"num_classes": 3, "width": 32, "depth": 1, "local_norm": local_norm}
    net = phonecv.create_generator("d_emov2_digits", **made)  # type: ignore[arg-type]
    for parameter in net.parameters():  # a fresh one gives zeros
        nn.init.normal_(parameter, std=0.2)
    fused = phonecv.save_checkpoint(phonecv.fuse(net.eval()), tmp_path / "fused.safetensors")
    again = phonecv.create_generator("d_emov2_digits", weights=fused, **made)  # type: ignore[arg-type]
    assert (again.form, again.training) == ("deploy", True)
    given = torch.randn(2, 1, 16, 16), torch.tensor([5, 900]), torch.tensor([0, 2])
    with torch.no_grad():
        wanted = net(*given)
        assert wanted.std() > 0.1
        torch.testing.assert_close(again.eval()(*given), wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="cannot be undone"):
        phonecv.create_generator("d_emov2_digits", weights=fused, form="training", **made)  # type: ignore[arg-type]
