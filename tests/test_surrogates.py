"""PPO, GSPO and CISPO against one scalar reference, beside every other key of the update; RLOO."""

import math

import pytest
import torch
from conftest import random_model

import grpo
from grpo import backward, few_rows, group_advantages, grpo_loss, token_logprobs, update_policy
from plumbing.config import Config, RolloutConfig, UpdateConfig
from rollout import generate

SURROGATES = ["ppo", "gspo", "cispo"]
LOW, HIGH = 0.2, 0.28


def together(*rows):
    return zip(*rows, strict=True)


def per_token(surrogate, logp, old, A, low=LOW, high=HIGH):
    """What each token of one response adds to the surrogate, its slope in log pi, and if clipped.

    Lists of plain floats, one per token; A is the response's advantage.
    """
    n = len(logp)
    sequence = math.exp(sum(new - before for new, before in together(logp, old)) / n)
    found = []
    for new, before in together(logp, old):
        ratio = sequence if surrogate == "gspo" else math.exp(new - before)
        inside = min(max(ratio, 1 - low), 1 + high)
        if surrogate == "cispo":  # a clipped token keeps its gradient
            found.append((inside * A * new, inside * A, inside != ratio))
        elif (A > 0 and ratio > 1 + high) or (A < 0 and ratio < 1 - low):
            found.append((inside * A, 0.0, True))
        else:
            found.append((ratio * A, ratio * A, False))
    return found


# log-ratios of five responses of different lengths: by tokens and by responses some are clipped
# above, some below and some not at all, for either sign of the advantage
LOG_RATIOS = [
    [0.5, 0.4, -0.1, 0.3, 0.2, 0.6],  # the mean 0.32 is above log 1.28 = 0.25
    [-0.9, 0.1, -0.3],  # the mean -0.37 is below log 0.8 = -0.22
    [-0.5],  # below as well, but A > 0: it has still to rise
    [0.4, -0.2, 0.5, 0.3, 0.1],  # 0.22
    [0.1, -0.05],
]
A = [1.5, -0.7, 0.4, -1.2, 0.9]
L = 6


def padded(rows, fill=-torch.inf):
    """The rows as a (5, L) tensor; what is behind their ends must not matter."""
    return torch.tensor([row + [fill] * (L - len(row)) for row in rows], dtype=torch.float64)


def case():
    """logp, old_logp, and the mask of the responses above."""
    draw = torch.Generator().manual_seed(0)
    old = [(-3 * torch.rand(len(row), generator=draw)).tolist() for row in LOG_RATIOS]
    logp = [(torch.tensor(o) + torch.tensor(d)).tolist() for o, d in together(old, LOG_RATIOS)]
    return logp, old, padded([[1.0] * len(row) for row in LOG_RATIOS], 0.0)


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_loss_and_gradient_equal_the_scalar_reference(surrogate, aggregate):
    logp, old, mask = case()
    lengths = [len(row) for row in logp]
    weights = {
        "token": [1 / sum(lengths)] * 5,
        "sequence": [1 / n / 5 for n in lengths],
        "constant": [1 / 5 / L] * 5,
    }[aggregate]
    rows = [per_token(surrogate, *each) for each in together(logp, old, A)]
    for sign in (1, -1):  # clipped from above and from below
        clips = [clipped for row, a in together(rows, A) if a * sign > 0 for *_, clipped in row]
        assert set(clips) == {True, False}
    new = padded(logp).requires_grad_()
    loss, stats = grpo_loss(
        new, padded(old), torch.tensor(A, dtype=torch.float64), mask, surrogate=surrogate,
        aggregate=aggregate,
    )  # fmt: skip
    loss.backward()
    value = sum(w * v for w, row in together(weights, rows) for v, _, _ in row)
    share = sum(w * clipped for w, row in together(weights, rows) for *_, clipped in row)
    slopes = [[-w * slope for _, slope, _ in row] for w, row in together(weights, rows)]
    assert loss.item() == pytest.approx(-value, abs=1e-12)
    torch.testing.assert_close(new.grad, padded(slopes, 0.0), atol=1e-12, rtol=0)
    assert stats["clip_fraction"] == pytest.approx(share, abs=1e-6)


def test_by_hand():
    """Two tokens, twice and eight times as likely as before: the ratio of the response is 4."""
    old = torch.tensor([[math.log(0.1), math.log(0.05)]], dtype=torch.float64)
    logp = torch.tensor([[math.log(0.2), math.log(0.4)]], dtype=torch.float64)
    one, mask = torch.ones(1, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)

    def found(surrogate, **clips):
        new = logp.clone().requires_grad_()
        loss, _ = grpo_loss(new, old, one, mask, surrogate=surrogate, **clips)
        loss.backward()
        return [loss.item(), *new.grad[0].tolist()]

    wide = {"clip_high": 9}
    assert found("ppo", **wide) == pytest.approx([-(2 + 8) / 2, -1, -4])
    assert found("gspo", **wide) == pytest.approx([-4, -2, -2])
    cispo = -(2 * math.log(0.2) + 8 * math.log(0.4)) / 2
    assert found("cispo", **wide) == pytest.approx([cispo, -1, -4])
    narrow = {"clip_high": 2}  # both are to rise, and at 3 that is enough
    assert found("ppo", **narrow) == pytest.approx([-(2 + 3) / 2, -1, 0])
    assert found("gspo", **narrow) == pytest.approx([-3, 0, 0])
    cispo = -(2 * math.log(0.2) + 3 * math.log(0.4)) / 2
    assert found("cispo", **narrow) == pytest.approx([cispo, -1, -1.5])


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
def test_gspo_has_the_gradient_of_the_papers_own_formula(aggregate):
    """min[s A, clip(s) A] with s = (pi(y)/pi_old(y))^(1/|y|), differentiated as it stands."""
    logp, old, mask = case()
    rows = [torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in logp]
    total = sum(map(len, rows))
    value = 0.0
    for row, before, a in together(rows, old, A):
        s = (row.sum() - sum(before)).exp() ** (1 / len(row))
        counts = {"token": len(row) / total, "sequence": 1 / 5, "constant": len(row) / 5 / L}
        value += counts[aggregate] * torch.minimum(s * a, s.clamp(1 - LOW, 1 + HIGH) * a)
    value.backward()
    new = padded(logp).requires_grad_()
    loss, _ = grpo_loss(
        new, padded(old), torch.tensor(A, dtype=torch.float64), mask, surrogate="gspo",
        aggregate=aggregate,
    )  # fmt: skip
    loss.backward()
    assert loss.item() == pytest.approx(-value.item(), abs=1e-12)
    torch.testing.assert_close(
        new.grad, padded([(-row.grad).tolist() for row in rows], 0.0), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_an_empty_response_is_no_division_by_zero(surrogate):
    logp = torch.full((2, 3), -torch.inf)
    logp[1, :2] = -1.0
    logp.requires_grad_()
    mask = torch.tensor([[0.0, 0, 0], [1, 1, 0]])
    old, ones = torch.full((2, 3), -torch.inf), torch.ones(2)
    old[1, :2] = -1.5
    loss, _ = grpo_loss(logp, old, ones, mask, surrogate=surrogate)
    loss.backward()
    assert loss.isfinite() and logp.grad.isfinite().all() and not logp.grad[0].any()


def test_an_unknown_surrogate_is_refused():
    with pytest.raises(ValueError, match="surrogate must be 'ppo', 'gspo' or 'cispo', not 'sac'"):
        zeros = torch.zeros(1, 1)
        grpo_loss(zeros, zeros, torch.ones(1), torch.ones(1, 1), surrogate="sac")


# ---- within an update


ROWS = [1.0, -0.5, 0.3, 0.0, -1.0, 2.0, -1.5, -0.3]
EVERY_KEY = [
    {},
    {"micro_batch": 3},
    {"aggregate": "sequence", "micro_batch": 1},
    {"aggregate": "constant", "kl_coef": 0.3},
    {"mask_truncated": True, "sampler_cap": 1.1},
    {
        "mask_truncated": True, "sampler_cap": 1.1, "kl_coef": 0.3, "micro_batch": 3,
        "aggregate": "sequence",
    },
]  # fmt: skip


@pytest.fixture
def group():
    """Eight responses of several lengths, three of them cut off, from a sampler of its own."""
    group = generate(
        random_model(), [3, 7, 1], 8, max_new_tokens=10, temperature=0.7, stop_ids=[2, 5, 9],
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    group.finished = torch.tensor([True, False, True, True, False, True, True, False])
    group.logprobs += torch.linspace(-0.3, 0.3, group.logprobs.numel()).view_as(group.logprobs)
    assert len(set(group.lengths.tolist())) > 2
    return group


def moved(far):
    """The model of above with its weights moved by chance."""
    model = random_model()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += far * torch.randn(parameter.shape, generator=draw)
    return model


def config(**update):
    rollout = RolloutConfig(max_new_tokens=10, temperature=0.7)
    return Config(rollout=rollout, update=UpdateConfig(**update))


def scores(model, group):
    return token_logprobs(model, group.tokens, group.prompt_len, 0.7)


def by_hand(group, model, old, reference, update):
    """Loss of one update and d loss / d logp (G, L), one token at a time with plain floats."""
    logp, ref, mu = scores(model, group).tolist(), scores(reference, group).tolist(), group.logprobs
    n = group.lengths.tolist()
    left = [g for g in range(8) if group.finished[g] or not update.mask_truncated]
    each = {
        "token": {g: 1 / sum(n[g] for g in left) for g in left},
        "sequence": {g: 1 / n[g] / 8 for g in left},
        "constant": {g: 1 / 8 / 10 for g in left},
    }[update.aggregate]
    loss, slopes = 0.0, torch.zeros_like(mu)
    for g in left:
        now, before = logp[g][: n[g]], old[g, : n[g]].tolist()
        for t, (value, slope, _) in enumerate(
            per_token(update.surrogate, now, before, ROWS[g], update.clip_low, update.clip_high)
        ):
            weight = each[g]
            if update.sampler_cap:
                weight *= min(math.exp(before[t] - mu[g, t].item()), update.sampler_cap)
            d = ref[g][t] - now[t]
            loss -= weight * (value - update.kl_coef * (math.exp(d) - d - 1))
            slopes[g, t] = -weight * (slope - update.kl_coef * (1 - math.exp(d)))
    return loss, slopes


@pytest.mark.parametrize("keys", EVERY_KEY, ids=str)
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_later_update_beside_every_other_key_equals_the_scalar_reference(group, surrogate, keys):
    """The policy has moved since the first: tokens and responses are clipped on both sides."""
    cfg = config(surrogate=surrogate, clip_low=0.05, clip_high=0.06, **keys)
    model, plain, reference = moved(0.02), moved(0.02), random_model()
    with torch.no_grad():
        old = scores(moved(0.0), group)
        assert_clipped_on_both_sides(group, scores(plain, group) - old, cfg.update)
        loss, slopes = by_hand(group, plain, old, reference, cfg.update)
    (slopes * scores(plain, group)).sum().backward()
    parts = [old[rows, : int(group.lengths[rows].max())]
             for rows in few_rows(group, cfg.update.micro_batch)]  # fmt: skip
    stats = backward(model, [group], [torch.tensor(ROWS)], parts, cfg,
                     reference if cfg.update.kl_coef else None)  # fmt: skip
    assert stats["loss"] == pytest.approx(loss, abs=1e-5)
    for one, other in together(model.parameters(), plain.parameters()):
        torch.testing.assert_close(one.grad, other.grad, atol=2e-5, rtol=1e-4)


def assert_clipped_on_both_sides(group, log_ratios, update):
    """For tokens and for whole responses, or the test above would compare less than it says."""
    real = [row[:n] for row, n in together(log_ratios, group.lengths.tolist())]
    for ratios in (torch.cat(real).exp(), torch.stack([row.mean() for row in real]).exp()):
        assert (ratios > 1 + update.clip_high).any() and (ratios < 1 - update.clip_low).any()
        inside = (ratios < 1 + update.clip_high) & (ratios > 1 - update.clip_low)
        assert inside.any()


@pytest.mark.parametrize("keys", EVERY_KEY, ids=str)
def test_in_the_first_update_all_three_have_the_same_gradient(group, keys):
    """The ratio is 1: what is left is that of sum_t w_t A log pi(y_t), whatever the surrogate."""
    found = []
    for surrogate in SURROGATES:
        model = random_model()
        stats = backward(model, [group], [torch.tensor(ROWS)], [],
                         config(surrogate=surrogate, **keys),
                         moved(0.01) if "kl_coef" in keys else None)  # fmt: skip
        assert stats["clip_fraction"] == 0
        found.append([parameter.grad for parameter in model.parameters()])
    for ppo, gspo, cispo in together(*found):
        torch.testing.assert_close(gspo, ppo, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(cispo, ppo, atol=1e-6, rtol=1e-5)
    assert max(gradient.abs().max() for gradient in found[0]) > 0.01


def test_ppo_and_cispo_agree_where_nothing_is_clipped():
    """At any ratio: d(rho A) = rho A d(log pi), and this is how CISPO weighs its d(log pi)."""
    found = []
    for surrogate in ("ppo", "cispo"):
        logp, old, mask = case()
        new = padded(logp).requires_grad_()
        loss, stats = grpo_loss(
            new, padded(old), torch.tensor(A, dtype=torch.float64), mask, surrogate=surrogate,
            clip_low=1.0, clip_high=9.0,
        )  # fmt: skip
        loss.backward()
        assert stats["clip_fraction"] == 0
        found.append(new.grad)
    torch.testing.assert_close(*found, atol=1e-12, rtol=0)


def test_in_later_updates_the_three_go_different_ways(group):
    def after(surrogate, n):
        model = random_model()
        cfg = config(surrogate=surrogate, updates_per_group=n, clip_low=0.02, clip_high=0.02)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        stats = update_policy(model, optimizer, [group], [torch.tensor(ROWS)], cfg)
        return torch.cat([p.detach().flatten() for p in model.parameters()]), stats

    one, three = ({s: after(s, n) for s in SURROGATES} for n in (1, 3))
    start = torch.cat([p.detach().flatten() for p in random_model().parameters()])
    for s, other in (("ppo", "gspo"), ("ppo", "cispo"), ("gspo", "cispo")):
        torch.testing.assert_close(one[s][0], one[other][0], atol=1e-6, rtol=1e-5)
        apart = (three[s][0] - three[other][0]).norm() / (three[s][0] - start).norm()
        assert apart > 0.01, (s, other)
    assert all(stats["clip_fraction"] == 0 for _, stats in one.values())
    shares = {s: stats["clip_fraction"] for s, (_, stats) in three.items()}
    assert 0 < shares["ppo"] < shares["cispo"]  # which counts those that moved against A, too
    # the mean of a response moves less than its tokens: hence the paper's narrow clip
    with torch.no_grad():
        drift = scores(moved(0.02), group) - scores(moved(0.0), group)
    real = [row[:n] for row, n in zip(drift, group.lengths.tolist(), strict=True) if n > 3]
    means = torch.stack([row.mean() for row in real]).abs().mean()
    assert means < 0.7 * torch.cat(real).abs().mean()


def test_a_clipped_token_still_teaches_under_cispo_alone():
    """Once as likely as the clip allows, a token has no gradient in PPO; CISPO keeps its own."""
    logp = torch.tensor([[math.log(3.0)]])
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    for surrogate, slope in (("ppo", 0.0), ("gspo", 0.0), ("cispo", -1.28)):
        new = logp.clone().requires_grad_()
        loss, stats = grpo_loss(new, zero, torch.ones(1), one, surrogate=surrogate)
        loss.backward()
        assert new.grad.item() == pytest.approx(slope) and stats["clip_fraction"] == 1


# ---- RLOO


def left_out(rewards):
    """Each reward minus the mean of the others, by a plain loop."""
    return [
        r - math.fsum(rewards[:g] + rewards[g + 1 :]) / (len(rewards) - 1)
        for g, r in enumerate(rewards)
    ]


@pytest.mark.parametrize(
    "rewards", [[1, 0, 0, 0], [1, 0], [0.5, -2.0, 3.25, 0.0, 1.0], [1e6, 0.0, -1e6]]
)
def test_rloo_compares_each_reward_with_the_mean_of_the_others(rewards):
    found = group_advantages(rewards, "rloo").tolist()
    assert found == pytest.approx(left_out(rewards), rel=1e-5)


def test_rloo_by_hand():
    """One right of four: 1 - 0 = 1 for it, and 0 - 1/3 for each of the others."""
    expected = torch.tensor([1, -1 / 3, -1 / 3, -1 / 3])
    torch.testing.assert_close(group_advantages([1, 0, 0, 0], "rloo"), expected)
    torch.testing.assert_close(
        group_advantages([1, 0, 0, 0], "rloo"), group_advantages([1, 0, 0, 0], "none") * 4 / 3
    )


@pytest.mark.parametrize("rewards", [[0.1] * 7, [1.0] * 8, [1 / 3] * 3, [0.7]])
def test_rloo_of_equal_rewards_is_exactly_zero(rewards):
    assert not group_advantages(rewards, "rloo").any()


def test_every_surrogate_and_advantage_is_a_value_of_its_key():
    for surrogate in SURROGATES:
        assert UpdateConfig(surrogate=surrogate).surrogate == surrogate
    assert UpdateConfig().surrogate == "ppo"
    for advantage in ("std", "none", "rloo"):
        assert grpo.group_advantages([1, 0], UpdateConfig(advantage=advantage).advantage).any()
