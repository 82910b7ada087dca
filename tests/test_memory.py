"""memory.py and what saves memory: the prediction is near, and the update stays the same."""

import pytest
import torch
from conftest import random_model

from grpo import token_logprobs, update_policy
from plumbing import memory
from plumbing.config import Config, build
from plumbing.memory import OffloadedAdamW
from rollout import generate

SHAPE = {
    "hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32,
}  # fmt: skip
TEN_TOKENS = build(Config, {"rollout": {"max_new_tokens": 10}})


def kept(family, low, layers, length, recompute=False):
    """Bytes that autograd holds between the way there and the way back, weights aside."""
    model = random_model(model_type=family, num_hidden_layers=layers, **SHAPE)
    model.low_precision = torch.bfloat16 if low else None
    model.recompute = recompute
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held = {}

    def hold(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage
        return tensor

    tokens = torch.zeros((2, length), dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda t: t), model.autocast():
        out = model(tokens, logits=False)
    assert out.requires_grad
    return sum(storage.nbytes() for storage in held.values())


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_what_a_layer_keeps_is_as_predicted(family, low):
    """The difference of differences: neither what is kept once nor what is kept per model."""
    growth = [kept(family, low, n, 128) - kept(family, low, n, 64) for n in (4, 2)]
    measured = (growth[0] - growth[1]) / 2 / 128  # two layers, two rows of 64 tokens
    config = random_model(model_type=family, **SHAPE).config
    assert memory.kept_for_backward(config, low) == pytest.approx(measured, rel=0.05)


def test_recomputing_keeps_the_inputs_of_the_layers_alone():
    growth = [
        kept("qwen2", False, n, 128, True) - kept("qwen2", False, n, 64, True) for n in (4, 2)
    ]
    assert (growth[0] - growth[1]) / 2 / 128 == pytest.approx(4 * 128, rel=0.05)


def test_the_parts_of_the_prediction_by_hand():
    """n = 1,000,000 weights: 4 MB each for weights and gradients, 8 MB for AdamW."""
    model = random_model(**SHAPE).config
    cfg = build(Config, {"eval_batch": 1, "rollout": {"group_size": 2, "max_new_tokens": 5}})
    parts = memory.predict(model, 1_000_000, cfg, 3)
    assert (parts["weights"], parts["AdamW"], parts["gradients"]) == (4e6, 8e6, 4e6)
    kept_tokens = (3 + 2 * 5) * 2 * memory.kept_for_backward(model, False)  # prompt, rows; layers
    prompt_keys = 2 * 2 * 3 * (2 * 32) * 4 * 2  # k and v, rows, P, K*D, bytes, layers
    assert parts["activations"] == kept_tokens + prompt_keys + 4 * 4 * 2 * 5 * 23
    assert "reference" not in parts
    cfg = build(Config, {
        "device": "cuda", "update": {"offload": True, "kl_coef": 0.1},
        "rollout": {"group_size": 2, "max_new_tokens": 1_000_000},
    })  # fmt: skip
    parts = memory.predict(model, 1000, cfg, 3)
    assert parts["AdamW"] == 0 and parts["reference"] == 4000
    assert memory.describe({"weights": 5.4e8, "AdamW": 0.0, "gradients": 5.4e8}) == (
        "about 1.1 GB at the peak: weights 0.54, gradients 0.54"
    )


def test_a_full_batch_is_predicted_for_as_many_rows_as_go_together():
    model, V, per_token = random_model(**SHAPE).config, 23, 2 * 2 * 2 * 32 * 4

    def sampling(prompt, **keys):
        selector = {"name": "full_batch", "candidates": 64}
        rollout = {"group_size": 8, "max_new_tokens": 5000, **keys}
        cfg = build(Config, {"eval_batch": 1, "selector": selector, "rollout": rollout})
        return memory._sampling(model, 0, cfg, prompt, 8) / per_token

    each = (4 * 3 + 8 * 2) * V / per_token  # a row's logits and what is made of them
    assert sampling(30) == 16 * 30 + 128 * 5000 + 128 * each  # 16 problems of 8 rows
    assert sampling(30, at_once=20) == 2 * 30 + 16 * 5000 + 16 * each
    assert sampling(30, at_once=1) == 30 + 8 * 5000 + 8 * each
    assert sampling(30, at_once=1000) == 64 * 30 + 512 * 5000 + 512 * each
    # once half of the rows have left, each has its prompt for itself
    assert sampling(9000) == 64 * (9000 + 5000) + 128 * each


def test_on_cuda_the_cache_is_in_the_precision_of_products():
    model, V, per_token = random_model(**SHAPE).config, 23, 2 * 2 * 2 * 32
    keys = {"eval_batch": 1, "rollout": {"group_size": 8, "max_new_tokens": 5000}}
    for device, precision, size in (
        ("cuda", "bfloat16", 2), ("cuda:1", "float32", 4), ("cpu", "bfloat16", 4),
    ):  # fmt: skip
        cfg = build(Config, {"device": device, "precision": precision, **keys})
        found = memory._sampling(model, 0, cfg, 30, 8)
        assert found == (30 + 8 * 5000) * per_token * size + 8 * (4 * 3 + 8 * 2) * V


def test_one_position_of_all_rows_is_the_least_that_the_loss_computes(monkeypatch):
    """Where it has more than LOGITS_AT_ONCE entries, the prediction must say so."""
    model = random_model(**SHAPE).config
    cfg = build(Config, {"eval_batch": 1, "rollout": {"group_size": 2, "max_new_tokens": 5}})
    found = {}
    for limit in (1, 2 * 23, 3 * 2 * 23, 2**24):
        monkeypatch.setattr(memory, "LOGITS_AT_ONCE", limit)
        found[limit] = memory.predict(model, 1_000_000, cfg, 3)["activations"]
    assert found[1] == found[2 * 23]
    assert found[3 * 2 * 23] - found[2 * 23] == 4 * 4 * 2 * 2 * 23  # two positions more
    assert found[2**24] - found[2 * 23] == 4 * 4 * 4 * 2 * 23  # all five


@pytest.fixture
def group(tiny):
    return generate(
        tiny, [3, 7, 1], 8, max_new_tokens=10, stop_ids=[2, 5, 9],
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def updated(group, optimizer_class=torch.optim.AdamW, n=3, **switches):
    model = random_model()
    for name, value in switches.items():
        setattr(model, name, value)
    optimizer = optimizer_class(model.parameters(), lr=1e-3, fused=True)
    A = [torch.tensor([1.0, -0.5, 0.3, 0.0, -1.0, 2.0, -1.5, -0.3])]
    for _ in range(n):
        update_policy(model, optimizer, [group], A, TEN_TOKENS)
    return model.state_dict()


@pytest.mark.parametrize(
    "switches", [{"recompute": True}, {"optimizer_class": OffloadedAdamW}], ids=str
)
def test_saving_memory_changes_no_bit(group, switches):
    plain, saving = updated(group), updated(group, **switches)
    assert all(torch.equal(plain[name], saving[name]) for name in plain)


def test_gradients_are_let_go_after_the_update(tiny, group):
    optimizer = torch.optim.SGD(tiny.parameters(), lr=1e-3)
    A = [torch.tensor([1.0, -1.0] * 4)]
    update_policy(tiny, optimizer, [group], A, TEN_TOKENS)
    assert all(parameter.grad is None for parameter in tiny.parameters())


def test_low_precision_keeps_the_weights_and_small_updates(group):
    """A step of 1e-6 is lost on a weight in bfloat16; here it is not, and the products are."""
    before = random_model().state_dict()
    model = random_model()
    model.low_precision = torch.bfloat16
    exact = token_logprobs(random_model(), group.tokens, 3, 1.0)
    low = token_logprobs(model, group.tokens, 3, 1.0)
    assert low.dtype == torch.float32
    assert 1e-4 < (low - exact).abs().max() < 1.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0)
    A = [torch.tensor([1.0, -1.0] * 4)]
    update_policy(model, optimizer, [group], A, TEN_TOKENS)
    for name, weight in model.state_dict().items():
        assert weight.dtype == torch.float32
        moved = (weight - before[name]).abs()
        assert 0 < moved.max() < 5e-6, name


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_low_precision_samples_as_it_scores(family):
    """The recorded log-probabilities are those of the update's forward pass, up to bfloat16."""
    model = random_model(model_type=family)
    model.low_precision = torch.bfloat16
    group = generate(
        model, [3, 7, 1], 8, max_new_tokens=10, stop_ids=[],
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    with torch.no_grad():
        again = token_logprobs(model, group.tokens, 3, 1.0)
    assert (again - group.logprobs).abs().mean() < 0.1


@pytest.mark.parametrize(
    ("device", "rows", "prompt", "new", "whole"),
    [
        ("cuda", 8, 256, 1024, True),  # 10,240 tokens, and 2.4 times 8,448
        ("cuda", 8, 512, 32, False),  # 4,352 tokens, and 2.4 times 768
        ("cuda", 1, 512, 32, True),
        ("cpu", 8, 256, 1024, False),
        ("mps", 8, 256, 1024, False),
    ],
)
def test_rows_are_read_whole_where_that_was_measured_to_be_faster(device, rows, prompt, new, whole):
    assert memory.reads_rows_whole(device, rows, prompt, new) == whole


def test_whole_rows_keep_the_prompt_of_each_and_no_copies_of_its_keys(monkeypatch):
    model = random_model(**SHAPE).config
    keys = {"eval_batch": 1, "rollout": {"group_size": 2, "max_new_tokens": 5}}
    logits = 4 * 4 * 2 * 5 * 23
    on_gpu = memory.predict(model, 1_000_000, build(Config, {"device": "cuda:0", **keys}), 3)
    tokens = 2 * (3 + 5)
    assert on_gpu["activations"] == tokens * 2 * memory.kept_for_backward(model, False) + logits
    monkeypatch.setattr("plumbing.device.best", lambda: "cuda")
    auto = memory.predict(model, 1_000_000, build(Config, {"device": "auto", **keys}), 3)
    assert auto == on_gpu
