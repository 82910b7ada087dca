"""The grader of exercise 2: losses by hand, gradients by autograd."""

import math

import torch
from grading import explain, numbers, refuse, unchanged

LOW, HIGH = 0.2, 0.5
RATIOS = (0.5, 0.9, 1.2, 2.0)


def loss_of(answer, ratios, advantage, weights=None, old=-1.0, mask=None, end=None, ends=None):
    """The answer's loss of one response whose tokens have these ratios, and its gradient, (L,)."""
    old_logp = torch.full((1, len(ratios)), old)
    logp = old_logp + torch.tensor([ratios]).log()  # (1, L)
    if end is not None:
        logp[mask == 0], old_logp[mask == 0] = end
    logp.requires_grad_()
    mask = torch.ones_like(old_logp) if mask is None else mask
    weights = torch.ones_like(old_logp) if weights is None else weights
    given = {"old_logp": old_logp, "mask": mask, "weights": weights}
    copies = [tensor.clone() for tensor in given.values()]
    found = answer.clipped_loss(
        logp, copies[0], torch.tensor([advantage]), copies[1], copies[2], *(ends or (LOW, HIGH))
    )
    for (name, before), now in zip(given.items(), copies, strict=True):
        unchanged(now, before, f"clipped_loss ({name})")
    number = numbers(found.detach() if torch.is_tensor(found) else found, (), "clipped_loss")
    if not torch.is_tensor(found) or not found.requires_grad:
        refuse("clipped_loss must return a tensor through which gradients flow back to logp")
    (gradient,) = torch.autograd.grad(found, logp, allow_unused=True)
    return number, torch.zeros(len(ratios)) if gradient is None else gradient[0]


def loss_with(kept, advantage):
    """The loss of the four ratios if a token's surrogate is what `kept` says of (rA, clip(r)A)."""
    pairs = [(r * advantage, min(max(r, 1 - LOW), 1 + HIGH) * advantage) for r in RATIOS]
    return -sum(kept(*pair) for pair in pairs)


def check_loss(answer, advantage):
    found, _ = loss_of(answer, list(RATIOS), advantage)
    symmetric = [min(max(r, 1 - LOW), 1 + LOW) for r in RATIOS]
    swapped = [min(max(r, 1 - HIGH), 1 + LOW) for r in RATIOS]
    right = loss_with(min, advantage)
    mistakes = {
        "the sign is turned round: the surrogate is to grow, and a loss is minimised": -right,
        "the ratio is clipped and the minimum with the ratio that is not clipped is missing": (
            loss_with(lambda plain, clipped: clipped, advantage)
        ),
        "the ratio is 1 everywhere: it compares with old_logp, not with logp itself": -(
            len(RATIOS) * advantage
        ),
        "the ends are clip_low and clip_high; they are 1 - clip_low and 1 + clip_high": -sum(
            min(r * advantage, min(max(r, LOW), HIGH) * advantage) for r in RATIOS
        ),
        "nothing is clipped": loss_with(lambda plain, clipped: plain, advantage),
        "the larger of the two surrogates is taken; PPO takes the smaller one (with the minus "
        "inside, that is the larger of the two losses)": loss_with(max, advantage),
        "the larger of the two surrogates is taken, and the minus is missing": -loss_with(
            max, advantage
        ),
        "the mean is taken; it is to be the sum of weights times surrogates": right / len(RATIOS),
        "the upper end is 1 + clip_low; it has a number of its own, clip_high": -sum(
            min(r * advantage, c * advantage) for r, c in zip(RATIOS, symmetric, strict=True)
        ),
        "clip_low and clip_high are exchanged": -sum(
            min(r * advantage, c * advantage) for r, c in zip(RATIOS, swapped, strict=True)
        ),
        "the difference of the log-probabilities is taken as the ratio; it is its logarithm": -sum(
            min(d * advantage, min(max(d, 1 - LOW), 1 + HIGH) * advantage)
            for d in map(math.log, RATIOS)
        ),
        "the logarithms are divided; the ratio is the `exp` of their difference": -sum(
            min(q * advantage, min(max(q, 1 - LOW), 1 + HIGH) * advantage)
            for q in (1 - math.log(r) for r in RATIOS)  # (-1 + ln r) / -1
        ),
    }
    what = f"ratios {RATIOS}, advantage {advantage:+}, clip {1 - LOW} to {1 + HIGH}"
    explain(found, right, mistakes, what)


def test_the_loss_of_a_better_response(answer):
    check_loss(answer, 1.0)


def test_the_loss_of_a_worse_response(answer):
    check_loss(answer, -1.0)


def test_the_ends_are_those_that_are_given(answer):
    ratios = [0.05, 0.95, 1.2, 20.0]
    for advantage, right, fixed in (
        (1.0, -(0.05 + 0.95 + 1.05 + 1.05), -(0.05 + 0.95 + 1.2 + 1.5)),
        (-1.0, 0.9 + 0.95 + 1.2 + 20.0, 0.8 + 0.95 + 1.2 + 20.0),
    ):
        found, _ = loss_of(answer, ratios, advantage, ends=(0.1, 0.05))
        mistakes = {f"the ends are {1 - LOW} and {1 + HIGH} whatever is asked for": fixed}
        what = f"ratios {ratios}, advantage {advantage:+}, clip 0.9 to 1.05"
        explain(found, right, mistakes, what)


def test_each_response_has_its_own_advantage(answer):
    """Two responses: of two tokens each, where a wrong shape goes unnoticed, and of three."""
    for L in (2, 3):
        ratios = torch.tensor([[1.0, 1.25, 1.0], [0.875, 1.0, 2.0]])[:, :L]  # (G, L)
        A, ones = torch.tensor([1.0, -0.5]), torch.ones(2, L)
        found = answer.clipped_loss(ratios.log(), 0 * ones, A, ones, ones / 4, LOW, HIGH)
        right = -(ratios * A[:, None]).sum() / 4
        mistakes = {
            "not the sum over both responses": [-ratios[0].sum() / 4],
            "the weights, 1/4 here, are not used": 4 * right,
        }
        if L == 2:
            mistakes["the advantages go along the tokens; make them (G, 1), one per row"] = (
                -(ratios * A[None, :]).sum() / 4
            )
        explain(numbers(found, (), "clipped_loss"), right, mistakes, f"advantages {A.tolist()}")


def test_the_weights_say_how_much_each_token_counts(answer):
    weights = torch.tensor([[0.5, 0.25, 0.25]])
    found, _ = loss_of(answer, [1.0, 1.2, 1.1], 2.0, weights)
    right = -2 * (0.5 * 1.0 + 0.25 * 1.2 + 0.25 * 1.1)
    mistakes = {
        "the weights are not used": -2 * 3.3,
        "weights and mean: the weights already say what is divided by": right / 3,
    }
    explain(found, right, mistakes, "weights 1/2, 1/4, 1/4")


def test_what_comes_after_the_end_counts_for_nothing(answer):
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    for end in ((5.0, -5.0), (500.0, -500.0), (-math.inf, -math.inf)):  # now and then
        found, gradient = loss_of(answer, [1.0, 1.0, 1.0], 1.0, mask * 0.5, mask=mask, end=end)
        if found.isnan() or gradient.isnan().any():
            refuse(
                f"log-probabilities of {end[0]} now and {end[1]} then, after the end, give NaN in "
                "the loss or its gradient: 0 * inf is NaN, and so is inf - inf.  Put the log-ratio "
                "to 0 there (`torch.where`) before `exp`."
            )
        explain(found, -1.0, {}, f"a response that ended, with {end} after its end")


def gradients(answer, ratios, advantage):
    _, gradient = loss_of(answer, ratios, advantage)
    return gradient.double()


def test_the_gradient_is_that_of_the_policy_gradient_where_the_ratio_is_1(answer):
    found = gradients(answer, [1.0, 1.0], 1.5)
    mistakes = {"no gradient flows: the ratio is detached, or clipped everywhere": [0.0, 0.0]}
    explain(found, [-1.5, -1.5], mistakes, "d loss / d logp at ratio 1, advantage +1.5")


def test_the_gradient_is_0_only_where_the_token_has_moved_far_enough_already(answer):
    for advantage, right, name in (
        (1.0, [-0.5, -0.9, -1.2, 0.0], "better"),
        (-1.0, [0.0, 0.9, 1.2, 2.0], "worse"),
    ):
        clipped = [0.0, -0.9 * advantage, -1.2 * advantage, 0.0]
        mistakes = {
            "the gradient is 0 on both sides.  But a token of a better response whose probability "
            "fell, or of a worse one whose probability rose, has moved the wrong way: it must be "
            "able to come back": clipped,
        }
        explain(
            gradients(answer, list(RATIOS), advantage), right, mistakes,
            f"d loss / d logp of a {name} response at ratios {RATIOS}",
        )  # fmt: skip


OTHER_CASES = {  # the same for a clip from 0.9 to 1.05
    (1.2, 1.0): (0, "1.2 is above 1 + clip_high = 1.05"),
    (0.85, -1.0): (0, "0.85 is below 1 - clip_low = 0.9"),
    (4.0, -1.0): (-1, "worse, but it became likelier: the minimum is the one not clipped"),
    (0.25, 1.0): (1, "better, but it became less likely: the minimum is the one not clipped"),
}
CASES = {  # ratio, advantage: direction, and why
    (1.0, 1.0): (1, "better than its group, and the policy has not moved"),
    (1.0, -0.5): (-1, "worse than its group, and the policy has not moved"),
    (2.0, 1.0): (0, "better, and already twice as likely: clipped"),
    (0.5, 1.0): (1, "better, but it became less likely: the minimum is the one not clipped"),
    (0.5, -1.0): (0, "worse, and already half as likely: clipped"),
    (2.0, -1.0): (-1, "worse, but it became likelier: the minimum is the one not clipped"),
    (1.3, 1.0): (1, "better, likelier, and still below 1 + clip_high"),
    (1.3, 0.0): (0, "neither better nor worse than its group"),
}


def test_the_direction_in_which_a_token_moves(answer):
    asked = [(*case, LOW, HIGH, *then) for case, then in CASES.items()]
    asked += [(*case, 0.1, 0.05, *then) for case, then in OTHER_CASES.items()]
    for ratio, advantage, low, high, right, why in asked:
        found = answer.direction(ratio, advantage, low, high)
        if found is None or float(found) != right:
            turned = right and found == -right
            hint = "  (a loss goes down where the surrogate goes up)" if turned else ""
            refuse(
                f"direction({ratio}, {advantage}, {low}, {high}) is {found}, and must be {right}: "
                f"{why}{hint}"
            )
