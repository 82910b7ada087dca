"""The grader of exercise 3: three responses of 1, 2 and 4 tokens, padded to 5."""

import torch
from grading import explain, numbers, refuse

LENGTHS = (1, 2, 4)
MASK = torch.tensor([[1.0] * n + [0.0] * (5 - n) for n in LENGTHS])  # (3, 5)
PER_TOKEN = MASK.double() / MASK.double().sum(dim=1, keepdim=True)  # 1 over its own length


def weights(answer, aggregate, mask=MASK, **how):
    """What the answer returns, after a look at its shape."""
    found = answer.token_weights(mask, aggregate, **how)
    return numbers(found, mask.shape, f"token_weights(mask, {aggregate!r})")


def test_dapo_lets_all_tokens_count_alike(answer):
    mistakes = {
        "divided by G * L, the places, some of which are padding; divide by the tokens": MASK / 15,
        "each response is divided by its own length": PER_TOKEN,
        "each response is divided by its own length, and by G: that is GRPO's": PER_TOKEN / 3,
        "not divided at all": MASK,
        "also what comes after the end counts": torch.full((3, 5), 1 / 7),
    }
    explain(weights(answer, "token"), MASK / 7, mistakes, "'token', lengths 1, 2 and 4")


def test_grpo_lets_all_responses_count_alike(answer):
    mistakes = {
        "the responses are added up; GRPO takes their mean, so divide by G too": PER_TOKEN,
        "all tokens count alike: that is DAPO's": MASK / 7,
        "divided by L, the longest length, and not by each response's own": MASK / 15,
        "divided by the number of rows in each column: is `dim` the wrong one?": MASK.double()
        / MASK.double().sum(dim=0, keepdim=True).clamp(min=1) / 3,
    }  # fmt: skip
    found = weights(answer, "sequence")
    explain(found, PER_TOKEN / 3, mistakes, "'sequence', lengths 1, 2 and 4")


def test_dr_grpo_divides_by_a_constant(answer):
    mistakes = {
        "constant_length is not used": MASK / 15,
        "divided by constant_length alone; the group's mean divides by G too": MASK / 10,
        "all tokens count alike and sum to 1: that is DAPO's": MASK / 7,
        "each response is divided by its own length: that is GRPO's": PER_TOKEN / 3,
    }
    found = weights(answer, "constant", constant_length=10)
    explain(found, MASK / 30, mistakes, "'constant', constant_length=10")
    mistakes = {"divided by L alone; the group's mean divides by G too": MASK / 5}
    found = weights(answer, "constant")
    explain(found, MASK / 15, mistakes, "'constant' without a constant_length, L = 5")


def test_responses_of_which_no_token_counts(answer):
    """With `update.mask_truncated` a response that was cut off has an empty row."""
    one = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    for aggregate, right in (
        ("token", one / 2), ("sequence", one / 4), ("constant", one / 4),
    ):  # fmt: skip
        for mask, wanted in ((one, right), (torch.zeros(2, 2), torch.zeros(2, 2))):
            found = weights(answer, aggregate, mask)
            if found.isnan().any():
                refuse(
                    f"{aggregate!r}: a row without a token gives 0 / 0, which is NaN, and one NaN "
                    "spoils the whole loss.  Keep what is divided by at 1 or more."
                )
            rows = "one row is empty" if mask.any() else "all rows are empty"
            explain(found, wanted, {}, f"{aggregate!r}, where {rows}")


def check_prediction(given, right, what):
    for aggregate, wanted in right.items():
        if given.get(aggregate) is None:
            raise NotImplementedError  # not predicted yet
        if given[aggregate] != wanted:
            refuse(f"{what}, {aggregate!r}: not {given[aggregate]!r}.  {WHY}")


WHY = (
    "Write the weights of a response of 2 tokens and of one of 4 beside each other, for each way: "
    "the push on a token is its weight times the advantage, and both advantages are the same."
)


def test_which_right_answer_is_pushed_harder_per_token(answer):
    right = {"token": "alike", "sequence": "short", "constant": "alike"}
    check_prediction(answer.PUSHED_HARDER_PER_TOKEN, right, "PUSHED_HARDER_PER_TOKEN")


def test_which_right_answer_is_pushed_harder_in_all(answer):
    right = {"token": "long", "sequence": "alike", "constant": "long"}
    check_prediction(answer.PUSHED_HARDER_IN_ALL, right, "PUSHED_HARDER_IN_ALL")


def test_with_which_wrong_answer_grpo_is_lenient(answer):
    given = {"sequence": answer.GRPO_IS_LENIENT_WITH}
    check_prediction(given, {"sequence": "long"}, "GRPO_IS_LENIENT_WITH")
