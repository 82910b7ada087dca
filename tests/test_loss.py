"""The GRPO loss and its gradient against a slow scalar reference, and the pitfalls around it."""

import math

import pytest
import torch
from conftest import random_model
from hypothesis import given
from hypothesis import strategies as st

import grpo
from grpo import (
    counted_tokens,
    group_advantages,
    grpo_loss,
    token_logprobs,
    token_weights,
    update_policy,
)  # fmt: skip
from plumbing import memory
from plumbing.config import Config, RolloutConfig, UpdateConfig
from rollout import Group, generate

G, L = 4, 6
LENGTHS = [6, 3, 1, 5]
ADVANTAGES = [1.5, -0.7, 0.4, -1.2]


def case(seed=0):
    g = torch.Generator().manual_seed(seed)
    old = -torch.rand(G, L, generator=g, dtype=torch.float64) * 3
    # ratios from about .55 to 1.8: some clipped above, some below, some free, for either sign of A
    logp = old + (torch.rand(G, L, generator=g, dtype=torch.float64) - 0.5) * 1.2
    ref = logp + torch.randn(G, L, generator=g, dtype=torch.float64) * 0.3
    mask = (torch.arange(L) < torch.tensor(LENGTHS)[:, None]).double()
    return logp, old, ref, torch.tensor(ADVANTAGES, dtype=torch.float64), mask


def reference(logp, old, ref, advantages, lengths, aggregate, kl_coef, low, high):
    """Loss and d loss / d logp with plain floats, one token at a time, derived by hand."""
    loss, gradient = 0.0, [[0.0] * L for _ in range(G)]
    for g in range(G):
        for t in range(lengths[g]):
            weight = {
                "token": 1 / sum(lengths),
                "sequence": 1 / (lengths[g] * G),
                "constant": 1 / (G * L),
            }[aggregate]
            A, ratio = advantages[g], math.exp(logp[g][t] - old[g][t])
            if A > 0:
                value, slope = (ratio * A, ratio * A) if ratio < 1 + high else ((1 + high) * A, 0.0)
            else:
                value, slope = (ratio * A, ratio * A) if ratio > 1 - low else ((1 - low) * A, 0.0)
            d = ref[g][t] - logp[g][t]
            loss -= weight * (value - kl_coef * (math.exp(d) - d - 1))
            gradient[g][t] = -weight * (slope - kl_coef * (1 - math.exp(d)))
    return loss, gradient


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
@pytest.mark.parametrize("kl_coef", [0.0, 0.3])
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_and_gradient_equal_the_scalar_reference(aggregate, kl_coef, seed):
    logp, old, ref, A, mask = case(seed)
    ratios = (logp - old).exp()[mask.bool()]
    assert (ratios > 1.28).any() and (ratios < 0.8).any()
    logp.requires_grad_()
    loss, stats = grpo_loss(logp, old, A, mask, aggregate=aggregate, kl_coef=kl_coef, ref_logp=ref)
    loss.backward()
    expected, gradient = reference(
        logp.tolist(),
        old.tolist(),
        ref.tolist(),
        ADVANTAGES,
        LENGTHS,
        aggregate,
        kl_coef,
        0.2,
        0.28,
    )
    assert loss.item() == pytest.approx(expected, abs=1e-7)
    torch.testing.assert_close(logp.grad, torch.tensor(gradient).double(), atol=1e-7, rtol=0)
    assert ("kl" in stats) == (kl_coef > 0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [
        (1.5, 1, False),
        (1.5, -1, True),
        (0.5, 1, True),
        (0.5, -1, False),
        (1.1, 1, True),
        (0.9, -1, True),
    ],
)
def test_which_side_is_clipped(ratio, advantage, moves):
    """For A < 0 it is the low side; the inverted clip is the classic mistake."""
    logp = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss, stats = grpo_loss(logp, torch.zeros(1, 1), torch.tensor([advantage]), torch.ones(1, 1))
    loss.backward()
    assert (logp.grad.item() != 0) == moves
    assert stats["clip_fraction"] == (0.0 if moves else 1.0)


@pytest.mark.parametrize("d", [3e-4, 1e-2, 1.0])
def test_k3_of_a_small_difference_is_not_rounded_away(d):
    """exp(d) - d - 1 is 0 in float32 at d = 3e-4; d^2 / 2 + d^3 / 6 + ... is not."""
    zeros, one = torch.zeros(1, 1), torch.ones(1, 1)
    _, stats = grpo_loss(zeros, zeros, torch.ones(1), one, kl_coef=1.0, ref_logp=d * one)
    exact = sum(d**n / math.factorial(n) for n in range(2, 20))
    assert stats["kl"] == pytest.approx(exact, rel=2e-3)


def test_what_stands_outside_the_mask_does_not_matter():
    """-inf from an impossible token, times a weight of 0, would be NaN."""
    logp, old, ref, A, mask = case()
    for junk in (logp, old, ref):
        junk[mask == 0] = -torch.inf
    logp.requires_grad_()
    loss, _ = grpo_loss(logp, old, A, mask, kl_coef=0.1, ref_logp=ref)
    loss.backward()
    assert loss.isfinite() and logp.grad.isfinite().all()


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
def test_empty_responses_are_no_division_by_zero(aggregate):
    logp = torch.zeros(2, 3, requires_grad=True)
    mask = torch.tensor([[0.0, 0, 0], [1, 1, 0]])
    loss, _ = grpo_loss(
        logp, torch.zeros(2, 3), torch.tensor([1.0, 1.0]), mask, aggregate=aggregate
    )
    loss.backward()
    assert loss.isfinite() and logp.grad.isfinite().all()
    assert token_weights(torch.zeros(2, 3), aggregate).sum() == 0


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="aggregate"):
        token_weights(torch.ones(1, 1), "mean")
    with pytest.raises(ValueError, match="normalize"):
        group_advantages([0, 1], "max")
    with pytest.raises(ValueError, match="ref_logp"):
        grpo_loss(
            torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), kl_coef=0.1
        )


# ---- advantages


def test_advantages_by_hand():
    torch.testing.assert_close(
        group_advantages([1, 0, 0, 0]), torch.tensor([3, -1, -1, -1]) / 3**0.5
    )
    torch.testing.assert_close(group_advantages([1, 0], "none"), torch.tensor([0.5, -0.5]))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("normalize", ["std", "none"])
def test_equal_rewards_give_exactly_zero(value, normalize):
    """The mean of seven times 0.1 is not 0.1 in floats, and 1e-9 / 1e-9 is not small."""
    assert not group_advantages([value] * 7, normalize).any()
    assert not group_advantages([value], normalize).any()


GRADED = st.lists(st.integers(-50, 50).map(lambda n: n / 8), min_size=2, max_size=9)


@given(GRADED, st.integers(-120, 60))
def test_graded_and_negative_rewards_have_the_advantages_of_the_definition(rewards, power):
    """Times any power of two: the squares of 1e-30 are 0 in float32, and those of 1e20 infinite."""
    mean = math.fsum(rewards) / len(rewards)
    std = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / len(rewards))
    scaled = [r * 2.0**power for r in rewards]
    expected = [(r - mean) / std if std else 0.0 for r in rewards]
    assert group_advantages(scaled).tolist() == pytest.approx(expected, abs=1e-5)
    centred = [(r - mean) * 2.0**power for r in rewards]
    found = group_advantages(scaled, "none").tolist()
    assert found == pytest.approx(centred, rel=1e-4, abs=1e-5 * 2.0**power)


def test_a_spread_near_the_smallest_number_is_a_spread():
    torch.testing.assert_close(group_advantages([0.0, 3e-45]), torch.tensor([-1.0, 1.0]))
    assert not group_advantages([0.3, 0.1 + 0.2]).any()  # equal but for the last bit of float64


# ---- log-probabilities and the update


@pytest.fixture
def group(tiny):
    return generate(
        tiny, [3, 7, 1], 8, max_new_tokens=10, temperature=0.7, stop_ids=[2, 5, 9],
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


@pytest.mark.parametrize("logits_at_once", [1, 23 * 8 * 3, 2**24])
def test_the_first_ratio_is_one(tiny, group, monkeypatch, logits_at_once):
    """Off by one in the shift, or another temperature than the sampler's, and it is not."""
    monkeypatch.setattr(memory, "LOGITS_AT_ONCE", logits_at_once)
    logp = token_logprobs(tiny, group.tokens, group.prompt_len, 0.7)
    assert logp.shape == group.logprobs.shape
    ratio = ((logp - group.logprobs) * group.mask).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)
    other = token_logprobs(tiny, group.tokens, group.prompt_len, 1.0)
    assert ((other - group.logprobs) * group.mask).abs().max() > 0.05


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("length", [1, 2, 10])
def test_computing_the_prompt_once_is_exact(monkeypatch, family, length, whole):
    """Values and gradients beside a plain forward pass over whole rows, as a GPU takes them too."""
    monkeypatch.setattr(memory, "reads_rows_whole", lambda *_: whole)
    model, other = random_model(model_type=family), random_model(model_type=family)
    tokens = torch.randint(0, 23, (4, 5 + length), generator=torch.Generator().manual_seed(2))
    tokens[:, :5] = tokens[0, :5]
    logits = other(tokens[:, :-1])[:, 4:] / 0.7  # (4, L, V)
    plain = logits.log_softmax(-1).gather(2, tokens[:, 5:, None])[..., 0]
    shared = token_logprobs(model, tokens, 5, 0.7)
    torch.testing.assert_close(shared, plain, atol=1e-5, rtol=1e-5)
    factor = torch.linspace(-1, 1, plain.numel()).view_as(plain)
    (plain * factor).sum().backward()
    (shared * factor).sum().backward()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-4)


def config(**update):
    """That of the group above, with keys of the update changed."""
    rollout = RolloutConfig(max_new_tokens=10, temperature=0.7)
    return Config(rollout=rollout, update=UpdateConfig(**update))


def gradients(group, advantages, other=None, **changes):
    """The gradient that an update applies, seen through SGD's first step."""
    model = random_model()
    before = [p.detach().clone() for p in model.parameters()]
    groups = [group] if other is None else [group, other]
    A = [torch.tensor(advantages)] * len(groups)
    cfg = config(grad_clip=1e9, **changes)
    update_policy(model, torch.optim.SGD(model.parameters(), lr=1.0), groups, A, cfg)
    return [b - p.detach() for b, p in zip(before, model.parameters(), strict=True)]


ROW_ADVANTAGES = [1.0, -0.5, 0.3, 0.0, -1.0, 2.0, -1.5, -0.3]


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
@pytest.mark.parametrize("size", [1, 3])
def test_micro_batches_do_not_change_the_gradient(tiny, group, aggregate, size):
    other = generate(
        tiny, [4] * 6, 8, max_new_tokens=10, temperature=0.7, stop_ids=[2],
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert len(set(group.lengths.tolist())) > 2
    whole = gradients(group, ROW_ADVANTAGES, other, aggregate=aggregate)
    parts = gradients(group, ROW_ADVANTAGES, other, aggregate=aggregate, micro_batch=size)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_few_rows_are_cut_to_the_longest_of_them(monkeypatch, tiny, group):
    """Sorted by length, so that short responses are not padded to the longest of the group."""
    widths = []
    genuine = grpo.token_logprobs

    def watched(model, tokens, prompt_len, temperature):
        widths.append(tokens.shape[1] - prompt_len)
        return genuine(model, tokens, prompt_len, temperature)

    monkeypatch.setattr(grpo, "token_logprobs", watched)
    gradients(group, ROW_ADVANTAGES, micro_batch=2)
    assert widths == sorted(group.lengths.tolist())[1::2] and widths[0] < widths[-1]


def test_the_stop_token_is_trained(group):
    """Where it is cut off the loss, a model never learns to end."""
    assert group.finished.any()
    for row in group.finished.nonzero()[:, 0].tolist():
        last = group.prompt_len + int(group.lengths[row]) - 1
        assert group.tokens[row, last] in (2, 5, 9)
        assert group.mask[row, last - group.prompt_len] == 1


def test_an_update_moves_probability_towards_what_was_rewarded(tiny, group):
    A = [1.0 if g == 0 else -1 / 7 for g in range(8)]
    before = (token_logprobs(tiny, group.tokens, 3, 0.7) * group.mask).sum(1)[0].item()
    optimizer = torch.optim.SGD(tiny.parameters(), lr=1e-3)
    update_policy(tiny, optimizer, [group], [torch.tensor(A)], config())
    assert (token_logprobs(tiny, group.tokens, 3, 0.7) * group.mask).sum(1)[0].item() > before


def test_the_kl_term_pulls_back_to_the_reference(tiny, group):
    stats = []
    for kl_coef in (0.0, 0.5):
        model, reference = random_model(), random_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        cfg = config(kl_coef=kl_coef or 1e-12, updates_per_group=15)
        A = [torch.tensor(ROW_ADVANTAGES)]
        stats.append(update_policy(model, optimizer, [group], A, cfg, reference)["kl"])
    assert 0 < stats[1] < stats[0]


def test_the_kl_term_alone_mends_what_drifted_on_a_group_of_equal_rewards(group):
    """Without an advantage the gradient is the penalty's only."""
    model, reference = random_model(), random_model()
    with torch.no_grad():
        model.model["embed_tokens"].weight[7] += 0.5  # a token of the prompt
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    A = [torch.zeros(8)]
    drifts = [
        update_policy(model, optimizer, [group], A, config(kl_coef=0.5), reference)["kl"]
        for _ in range(30)
    ]
    assert drifts[0] > 0 and drifts[-1] < 0.8 * drifts[0]


# ---- responses that were cut off


def cut_off():
    """The group of above with rows that a limit ended, some of them long and some short."""
    group = generate(
        random_model(), [3, 7, 1], 8, max_new_tokens=10, temperature=0.7, stop_ids=[2, 5, 9],
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    group.finished = torch.tensor([True, False, True, True, False, True, True, False])
    assert group.lengths[group.finished].sum() < group.lengths.sum()
    return group


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
def test_the_weights_without_what_was_cut_off_by_hand(aggregate):
    """Lengths 2, 3 and 1, of which the second was cut off: what each token is divided by."""
    finished = torch.tensor([True, False, True])
    group = Group(torch.zeros(3, 5), 2, torch.tensor([2, 3, 1]), torch.zeros(3, 3), finished)
    cfg = Config(
        rollout=RolloutConfig(group_size=3, max_new_tokens=4),
        update=UpdateConfig(mask_truncated=True, aggregate=aggregate),
    )
    first, last = {
        "token": (1 / 3, 1 / 3),  # three tokens are left of six
        "sequence": (1 / 2 / 3, 1 / 1 / 3),  # three responses, of which one counts as 0
        "constant": (1 / 3 / 4, 1 / 3 / 4),  # three responses, four tokens at most
    }[aggregate]
    expected = torch.tensor([[first, first, 0, 0], [0, 0, 0, 0], [last, 0, 0, 0]])
    torch.testing.assert_close(grpo.weights_of([group], cfg)[0], expected)
    assert counted_tokens(group, True).tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert counted_tokens(group, False).tolist() == group.mask.tolist()


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
@pytest.mark.parametrize("micro_batch", [0, 3])
def test_the_gradient_is_that_of_the_responses_that_ended(aggregate, micro_batch):
    """Against the sum over them by hand; their advantages are those of the whole group."""
    group, A = cut_off(), ROW_ADVANTAGES
    found = gradients(group, A, aggregate=aggregate, micro_batch=micro_batch, mask_truncated=True)
    model = random_model()
    logp = token_logprobs(model, group.tokens, group.prompt_len, 0.7)
    ended = [g for g in range(8) if group.finished[g]]
    n = {g: int(group.lengths[g]) for g in ended}
    weight = {
        "token": {g: 1 / sum(n.values()) for g in ended},
        "sequence": {g: 1 / n[g] / 8 for g in ended},
        "constant": {g: 1 / 8 / 10 for g in ended},
    }[aggregate]
    # at the first update the ratio is 1, and its gradient that of log pi
    (-sum(weight[g] * A[g] * logp[g, : n[g]].sum() for g in ended)).backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=1e-5, rtol=1e-4)
    everything = gradients(group, A, aggregate=aggregate)
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(found, everything, strict=True))


def test_a_group_that_was_all_cut_off_is_not_read_and_moves_nothing():
    """An update without a gradient would move the weights by AdamW's momentum."""
    group, A, none = cut_off(), torch.tensor(ROW_ADVANTAGES), torch.zeros(8)
    masked, penalised = UpdateConfig(mask_truncated=True), UpdateConfig(kl_coef=0.1)
    assert grpo.is_used(group, A, masked) and grpo.is_used(group, none, penalised)
    assert not grpo.is_used(group, none, UpdateConfig())
    group.finished[:] = False
    assert not grpo.is_used(group, A, masked) and grpo.is_used(group, A, UpdateConfig())
    both = UpdateConfig(mask_truncated=True, kl_coef=0.1)
    assert not grpo.is_used(group, A, both)


def test_beside_another_group_one_that_was_all_cut_off_counts_for_nothing():
    group, other = cut_off(), cut_off()
    other.finished[:] = False
    alone = gradients(group, ROW_ADVANTAGES, mask_truncated=True)
    both = gradients(group, ROW_ADVANTAGES, other, mask_truncated=True)
    for a, b in zip(alone, both, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


# ---- the policy before the update, as the loss computes it


def seen_by_the_loss(monkeypatch, model, group, **changes):
    """What `grpo_loss` was given in each backward pass of an update: ratio, weights, statistics."""
    genuine, seen = grpo.grpo_loss, []

    def watched(logp, old_logp, advantages, mask, **more):
        seen.append(((logp - old_logp).exp().detach()[mask.bool()], more["weights"]))
        return genuine(logp, old_logp, advantages, mask, **more)

    monkeypatch.setattr(grpo, "grpo_loss", watched)
    A = [torch.tensor(ROW_ADVANTAGES)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    return seen, update_policy(model, optimizer, [group], A, config(**changes))


def sampled_in(dtype):
    """A model that computes in a type, and a group that it sampled."""
    model = random_model()
    model.low_precision = dtype
    draw = torch.Generator().manual_seed(0)
    group = generate(
        model, [3, 4, 5], 8, max_new_tokens=10, temperature=0.7, stop_ids=[2], generator=draw
    )
    return model, group


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("micro_batch", [0, 3])
def test_the_ratio_begins_at_exactly_one(monkeypatch, dtype, micro_batch):
    """In bfloat16 the sampler's log-probabilities are others than those of the loss."""
    model, group = sampled_in(dtype)
    seen, stats = seen_by_the_loss(monkeypatch, model, group, micro_batch=micro_batch)
    assert len(seen) == (3 if micro_batch else 1)
    assert all((ratio == 1).all() for ratio, _ in seen)
    with torch.no_grad():
        of_loss = token_logprobs(sampled_in(dtype)[0], group.tokens, group.prompt_len, 0.7)
    gap = (of_loss - group.logprobs).abs()[group.mask.bool()]
    assert stats["sampler_gap"] == pytest.approx(gap.mean().item(), rel=0.1, abs=1e-7)
    assert stats["sampler_gap_max"] == pytest.approx(gap.max().item(), rel=0.1, abs=1e-6)
    assert stats["sampler_gap"] > 1e-4 if dtype else stats["sampler_gap_max"] < 1e-4


def test_later_updates_compare_with_the_policy_before_the_first(monkeypatch):
    model, group = sampled_in(torch.bfloat16)
    with torch.no_grad():
        old = token_logprobs(model, group.tokens, group.prompt_len, 0.7)
    seen, _ = seen_by_the_loss(monkeypatch, model, group, updates_per_group=3, micro_batch=4)
    assert len(seen) == 6 and all((ratio == 1).all() for ratio, _ in seen[:2])
    assert all((ratio != 1).any() for ratio, _ in seen[2:])
    genuine = [torch.cat([ratio for ratio, _ in seen[i : i + 2]]) for i in (2, 4)]
    far = [(ratio.log().abs().mean()).item() for ratio in genuine]
    assert far[1] > far[0] > 0, "each update moves further away from the first policy"
    assert old.isfinite().all()


@pytest.mark.parametrize("cap", [0.0, 1.0, 2.0])
def test_the_weight_against_the_sampler_is_capped(monkeypatch, cap):
    model, group = sampled_in(None)
    group.logprobs += torch.linspace(-1, 1, group.logprobs.numel()).view_as(group.logprobs)
    seen, stats = seen_by_the_loss(monkeypatch, model, group, sampler_cap=cap)
    plain = token_weights(group.mask, "token")
    real = group.mask.bool()
    found = (seen[0][1] / plain.clamp(min=1e-12))[real]
    with torch.no_grad():
        old = token_logprobs(sampled_in(None)[0], group.tokens, group.prompt_len, 0.7)
    expected = (old - group.logprobs).exp().clamp(max=cap)[real] if cap else torch.ones_like(found)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert stats["sampler_gap_max"] > 0.5


def test_the_gradient_of_k3_is_that_of_the_other_divergence():
    """Over all three answers of a policy, each weighted by its probability: KL(ref || pi)."""
    z = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([0.6, 0.1, 0.3], dtype=torch.float64)
    logp = z.log_softmax(0)
    weights = logp.exp().detach()[:, None]
    loss, _ = grpo_loss(
        logp[:, None], logp.detach()[:, None], torch.zeros(3), torch.ones(3, 1), kl_coef=1.0,
        ref_logp=ref.log()[:, None], weights=weights,
    )  # fmt: skip
    (found,) = torch.autograd.grad(loss, z)
    other = (ref * (ref.log() - z.log_softmax(0))).sum()
    own = (z.log_softmax(0).exp() * (z.log_softmax(0) - ref.log())).sum()
    (backward,), (forward,) = (torch.autograd.grad(divergence, z) for divergence in (other, own))
    assert torch.allclose(found, backward) and not torch.allclose(found, forward, atol=0.02)
