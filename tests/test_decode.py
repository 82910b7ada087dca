"""decode.py: one token a row at a time, the same function as the model's own forward pass."""

import pytest
import torch
from conftest import random_model

import decode
import graphs
from decode import Decoder
from graphs import Static
from model import KVCache

FAMILIES = {
    "qwen2": {},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "llama": {"model_type": "llama", "num_key_value_heads": 4, "tie_word_embeddings": False},
    "biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
}
LENGTH, STEPS = 5, 6


def tokens(rows):
    return torch.randint(0, 23, (rows, LENGTH + STEPS), generator=torch.Generator().manual_seed(1))


def stepped(model, prompt, rest, start=None, width=0):
    """Logits after each token of `rest` (n, STEPS), which continue one prompt or one each.

    With a width the decoder is static and reads so many own tokens, and more once they are said.
    """
    cache = KVCache(start)
    model(prompt, cache)
    step = (Static if width else Decoder)(model, cache, len(rest), STEPS)
    if width:
        wide = []
        for t, token in enumerate(rest.T):
            step.width = min(STEPS, width * (t // width + 1))
            wide.append(step(token))
        return torch.stack(wide, dim=1)
    return torch.stack([step(token) for token in rest.T], dim=1)  # (n, STEPS, V)


@torch.no_grad()
@pytest.mark.parametrize("packed_from", [0, 10**9], ids=["packed", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_equal_the_forward_pass(family, packed_from, monkeypatch):
    """For rows that share a prompt, whose keys and values are there but once."""
    monkeypatch.setattr(decode, "SMALL", packed_from)
    model, rows = random_model(**FAMILIES[family]), tokens(3)
    rows[:, :LENGTH] = rows[0, :LENGTH]
    logits = stepped(model, rows[:1, :LENGTH], rows[:, LENGTH:])
    torch.testing.assert_close(logits, model(rows)[:, LENGTH:], atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_every_row_may_have_its_own_padded_prompt(family):
    model, rows, start = random_model(**FAMILIES[family]), tokens(3), torch.tensor([0, 2, 4])
    logits = stepped(model, rows[:, :LENGTH], rows[:, LENGTH:], start)
    for row, first, ours in zip(rows, start, logits, strict=True):
        alone = model(row[None, first:])[0, LENGTH - first :]
        torch.testing.assert_close(ours, alone, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("shared", [True, False])
def test_keep_goes_on_with_the_right_rows(tiny, shared):
    rows, kept = tokens(4), torch.tensor([1, 3])
    start = None if shared else torch.tensor([0, 1, 3, 2])
    if shared:
        rows[:, :LENGTH] = rows[0, :LENGTH]
    prompt, rest = rows[: 1 if shared else 4, :LENGTH], rows[:, LENGTH:]
    cache = KVCache(start)
    tiny(prompt, cache)
    step = Decoder(tiny, cache, 4, STEPS)
    step(rest[:, 0])
    step.keep(kept)
    logits = torch.stack([step(token) for token in rest[kept, 1:].T], dim=1)
    torch.testing.assert_close(
        logits, stepped(tiny, prompt, rest, start)[kept, 1:], atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_scores_are_not_rounded_in_low_precision(tiny):
    """Products in bfloat16 come as near to the exact logits as the forward pass does."""
    rows = tokens(3)
    rows[:, :LENGTH] = rows[0, :LENGTH]
    exact = tiny(rows)[:, LENGTH:]
    tiny.low_precision = torch.bfloat16
    with tiny.autocast():
        forward = tiny(rows)[:, LENGTH:].float()
        cache = KVCache()
        tiny(rows[:1, :LENGTH], cache)
    step = Decoder(tiny, cache, 3, STEPS)
    ours = torch.stack([step(token) for token in rows[:, LENGTH:].T], dim=1).float()
    assert 0 < (ours - exact).abs().mean() < 1.2 * (forward - exact).abs().mean()


@torch.no_grad()
@pytest.mark.parametrize("kind", [Decoder, Static])
def test_a_cache_in_low_precision_costs_no_more_than_that_of_the_forward_pass(kind, monkeypatch):
    """As on CUDA, whose products of bfloat16 are float32; here these are made by hand."""
    monkeypatch.setattr(decode, "LOW_CACHE", {"cpu"})
    monkeypatch.setattr(decode, "scores", lambda q, k: torch.bmm(q.float(), k.float()))
    model, rows = random_model(), tokens(3)
    rows[:, :LENGTH] = rows[0, :LENGTH]
    exact = model(rows)[:, LENGTH:]
    model.low_precision = torch.bfloat16
    with model.autocast():
        forward = model(rows)[:, LENGTH:].float()
        cache = KVCache()
        model(rows[:1, :LENGTH], cache)
    step = kind(model, cache, 3, STEPS)
    ours = torch.stack([step(token) for token in rows[:, LENGTH:].T], dim=1).float()
    assert {step.layers[0].own_k.dtype, step.layers[0].prompt_v.dtype} == {torch.bfloat16}
    assert 0 < (ours - exact).abs().mean() < 1.3 * (forward - exact).abs().mean()


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", [Decoder, Static])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_is_asked_for_types_and_shapes_that_fit(family, kind, padded, monkeypatch):
    """On the device "meta", which computes nothing and refuses what does not fit."""
    monkeypatch.setattr(decode, "LOW_CACHE", {"meta"})
    model = random_model(**FAMILIES[family]).to("meta")
    model.low_precision, config = torch.bfloat16, model.config
    cache = KVCache(torch.zeros(2, dtype=torch.long, device="meta") if padded else None)
    past = torch.empty(2, config.n_kv_heads, LENGTH, config.head_dim, device="meta").bfloat16()
    cache.layers = [(past, past)] * config.n_layers
    step = kind(model, cache, 6, STEPS)
    for rows in (6, 3, 2):
        some = torch.zeros(rows, dtype=torch.long, device="meta")
        if rows < 6:
            step.keep(some)
        assert step(some).shape == (rows, config.vocab_size)
        assert step.layers[0].own_k.dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_in_bfloat16_are_decoded_too(family):
    """In training they stay in float32; `model.load(folder, dtype=...)` may read them so."""
    model, rows = random_model(**FAMILIES[family]).bfloat16(), tokens(3)
    rows[:, :LENGTH] = rows[0, :LENGTH]
    logits = stepped(model, rows[:1, :LENGTH], rows[:, LENGTH:]).float()
    plain = model(rows)[:, LENGTH:].float()
    assert (logits - plain).abs().mean() < 0.05 * plain.abs().mean()


def test_a_decoder_is_of_the_weights_that_it_was_made_of(tiny):
    """An update between two rollouts must not be missed: each rollout makes its own."""
    with torch.no_grad():
        cache = KVCache()
        tiny(tokens(1), cache)
        before = Decoder(tiny, cache, 1, 2)(torch.tensor([3]))
        for parameter in tiny.parameters():
            parameter.mul_(1.1)
        after = Decoder(tiny, cache, 1, 2)(torch.tensor([3]))
    assert not torch.allclose(before, after)


@torch.no_grad()
def test_without_rotation_both_are_without_it(tiny, monkeypatch):
    """What model.py suggests to try: in `Transformer.rotary` one change serves both."""
    rows = tokens(3)
    rows[:, :LENGTH] = rows[0, :LENGTH]
    rotated = tiny(rows)[:, LENGTH:]
    monkeypatch.setattr(tiny, "frequencies", 0 * tiny.frequencies)
    tiny.rotary_table = None
    still = tiny(rows)[:, LENGTH:]
    assert not torch.allclose(still, rotated, atol=0.1)
    logits = stepped(tiny, rows[:1, :LENGTH], rows[:, LENGTH:])
    torch.testing.assert_close(logits, still, atol=1e-4, rtol=0)


# ---- steps that are all alike, as a CUDA graph needs them


@torch.no_grad()
@pytest.mark.parametrize("filled", [1, 64])
@pytest.mark.parametrize("width", [1, 2, 4, STEPS])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_static_step_equals_the_growing_one(family, padded, width, filled, monkeypatch):
    """Whatever its prompts are filled up to, and however many own tokens it reads in vain."""
    monkeypatch.setattr(graphs, "PROMPT", filled)
    model, rows = random_model(**FAMILIES[family]), tokens(3)
    start = torch.tensor([0, 2, 4]) if padded else None
    prompt = rows[:, :LENGTH] if padded else rows[:1, :LENGTH]
    growing = stepped(model, prompt, rows[:, LENGTH:], start)
    static = stepped(model, prompt, rows[:, LENGTH:], start, width)
    torch.testing.assert_close(static, growing, atol=1e-5, rtol=0)
    if width == filled == 1:  # nothing is hidden: the same sums in the same order
        assert torch.equal(static, growing)


@torch.no_grad()
def test_what_is_hidden_may_be_anything_finite(tiny):
    """A row that was kept from a longer one has left its keys behind."""
    rows = tokens(3)
    cache = KVCache()
    tiny(rows[:1, :LENGTH], cache)
    steps = [Static(tiny, cache, 3, STEPS) for _ in range(2)]
    for layer in steps[1].layers:
        layer.own_k[..., 1:], layer.own_v[:, 1:] = 1e4, -1e4
    assert torch.equal(*(step(rows[:, LENGTH]) for step in steps))
