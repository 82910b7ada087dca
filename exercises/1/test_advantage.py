"""The grader of exercise 1.  Each check compares with numbers that can be computed by hand."""

import torch
from grading import explain, near, numbers, refuse, shown

TWO_OF_EIGHT = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]  # the first, second and last are equal
NOTHING = [0.0] * 8
FEW = "all advantages are 0, and these rewards differ: compare all of them, not a few"


def advantages(answer, rewards, normalize="std"):
    """What the answer returns, after a look at its type and shape."""
    found = answer.group_advantages(rewards, normalize)
    return numbers(found, (len(rewards),), f"group_advantages(..., {normalize!r})")


def test_two_of_eight_right_in_standard_deviations(answer):
    # the mean is 1/4, the variance (2 (3/4)^2 + 6 (1/4)^2) / 8 = 3/16
    r = torch.tensor(TWO_OF_EIGHT).double()
    away = r - 0.25
    std = (3 / 16) ** 0.5
    mistakes = {
        "your advantages divide by the standard deviation with G - 1 under the root; the paper "
        "divides by the one with G, `std(correction=0)`": away / r.std(),
        "your advantages are not divided by the standard deviation of the group": away,
        "your advantages divide by the variance; take its root": away / std**2,
        "your rewards are divided, but their mean was not taken away": r / std,
        "the sign is turned round: what is better than its group must be positive": -away / std,
        "your rewards come back as they are": r,
        "something is added to the standard deviation, to be safe from 0; treat equal rewards as a "
        "case of their own instead": away / (std + 1e-4),
        "the standard deviation is the one with G - 1, and something is added to it": (
            away / (r.std() + 1e-4)
        ),
        FEW: NOTHING,
    }
    explain(advantages(answer, TWO_OF_EIGHT), away / std, mistakes, "two of eight right, 'std'")


def test_two_of_eight_right_without_division(answer):
    away = torch.tensor(TWO_OF_EIGHT).double() - 0.25
    mistakes = {
        "with normalize='none' nothing is to be divided": away / (3 / 16) ** 0.5,
        "with normalize='none' nothing is to be divided, and you divide by the standard deviation "
        "with G - 1": away / (3 / 14) ** 0.5,
        "the mean of the group was not taken away": torch.tensor(TWO_OF_EIGHT).double(),
        "the sign is turned round: what is better than its group must be positive": -away,
        FEW: NOTHING,
    }
    found = advantages(answer, TWO_OF_EIGHT, "none")
    explain(found, away, mistakes, "two of eight right, 'none'")


def test_rewards_that_are_not_0_or_1(answer):
    r = torch.tensor([3.0, -1.0, 0.5, 0.5]).double()
    right = (r - r.mean()) / r.std(correction=0)
    mistakes = {
        "this is right for 0 and 1 alone: a root of p (1-p) is no standard deviation of other "
        "rewards": (r - r.mean()) / (r.mean() * (1 - r.mean())).sqrt(),
        "your advantages divide by the standard deviation with G - 1; the paper's has G": (
            (r - r.mean()) / r.std()
        ),
        "the sign is turned round: what is better than its group must be positive": -right,
        "your advantages divide by the range, max - min": (r - r.mean()) / 4.0,
        "your advantages divide by the mean distance from the mean": (r - r.mean())
        / (r - r.mean()).abs().mean(),
    }
    explain(advantages(answer, r.tolist()), right, mistakes, "rewards 3, -1, 0.5, 0.5, 'std'")


def test_a_small_difference_counts_as_much_as_a_large_one(answer):
    """What is added below the fraction line to be safe changes small rewards."""
    as_large = advantages(answer, [1.0, 0.0, 0.0, 1.0])
    for small in (1e-3, 1e-5):
        found = advantages(answer, [small, 0.0, 0.0, small])
        if near(found, as_large, 1e-2):
            continue
        added = found.abs().max() < as_large.abs().max()
        refuse(
            f"rewards of 1 and 0 give {shown(as_large)}, and {small} and 0 give {shown(found)}.  "
            "In standard deviations both are the same.  " + (
                "Is something added to the standard deviation, or is it compared with a threshold, "
                "to be safe from 0?  Treat equal rewards as a case of their own instead."
                if added else "What is divided by?"
            )
        )  # fmt: skip


def test_equal_rewards_teach_exactly_nothing(answer):
    for normalize in ("std", "none"):
        for rewards in ([0.0] * 8, [1.0] * 8, [0.1] * 7, [0.2] * 7, [100.1] * 11):
            found = advantages(answer, rewards, normalize)
            if found.isnan().any():
                refuse(
                    f"{len(rewards)} rewards of {rewards[0]} give NaN with {normalize!r}: their "
                    "standard deviation is 0.  One such group spoils all weights of the model."
                )
            if found.abs().max() > 0:
                worst = found[found.abs().argmax()]
                refuse(
                    f"{len(rewards)} rewards of {rewards[0]} give {worst:.1g} with {normalize!r}, "
                    "and must give exactly 0: the trainer counts a group as informative if any "
                    "advantage is not 0.  In float32 the mean of equal numbers can differ from "
                    "them in the last digit, and no threshold for the standard deviation catches "
                    "that for all rewards; so compare the rewards themselves."
                )


def test_the_result_is_a_float32_tensor(answer):
    found = answer.group_advantages(TWO_OF_EIGHT, "std")
    if not isinstance(found, torch.Tensor):
        kind = f"{type(found).__module__}.{type(found).__name__}"
        refuse(f"the trainer needs a torch tensor, not a {kind}: `torch.as_tensor` makes one")
    if found.dtype != torch.float32:
        refuse(f"the trainer needs float32, not {found.dtype}")
