"""The grader of exercise 5: one group by hand, a constant pass rate in the long run, the bonus."""

import numpy as np
from grading import explain, near, numbers, refuse, unchanged

B = 0.3
ONE_OF_FOUR = [1.0, 0.0, 0.0, 0.0]  # r = 1/4, s2 = 3/16


def after(answer, mean, variance, rewards, ema=B):
    given = list(rewards)
    found = answer.remember(mean, variance, given, ema)
    unchanged(given, rewards, "remember")
    if found is not None and (not isinstance(found, tuple | list) or len(found) != 2):
        refuse(f"remember must return two numbers, (mean, variance), not {found!r}")
    return numbers(found, (2,), "remember")


def by_hand(b):
    """The mean and variance of a new problem after ONE_OF_FOUR, which counts with weight b."""
    m, v, r, s2 = 0.5, 0.25, 0.25, 3 / 16
    return [m + b * (r - m), (1 - b) * v + b * (s2 + (1 - b) * (r - m) ** 2)]


def test_one_group_of_a_new_problem(answer):
    m, v, r, s2 = 0.5, 0.25, 0.25, 3 / 16
    mean, right = by_hand(B)
    mistakes = {
        "(r - m) is taken with the *new* mean: compute the variance first": [
            mean, (1 - B) * v + B * (s2 + (1 - B) * (r - mean) ** 2)],
        "the variance of the group divides by G - 1; the population's divides by G": [
            mean, (1 - B) * v + B * (0.25 + (1 - B) * (r - m) ** 2)],
        "the factor (1-b) in front of (r - m)^2 is missing": [
            mean, (1 - B) * v + B * (s2 + (r - m) ** 2)],
        "the spread between visits, (1-b) (r - m)^2, is missing": [mean, (1 - B) * v + B * s2],
        "b multiplies all that is in the square brackets": [
            mean, (1 - B) * v + B * s2 + (1 - B) * (r - m) ** 2],
        "the group's own variance s2 is missing": [mean, (1 - B) * v + B * (1 - B) * (r - m) ** 2],
        "the newest group has the weight 1 - b; `ema` is the weight of the newest": [
            m + (1 - B) * (r - m), B * v + (1 - B) * (s2 + B * (r - m) ** 2)],
        "mean and variance are returned in the other order": [right, mean],
        "a standard deviation comes back; `remember` returns the variance": [mean, right**0.5],
        "s2 is the group's variance, and its standard deviation is taken": [
            mean, (1 - B) * v + B * (s2**0.5 + (1 - B) * (r - m) ** 2)],
    }  # fmt: skip
    found = after(answer, m, v, ONE_OF_FOUR)
    half = " (the mean is right, the variance not)" if near(found[0], mean) else ""
    what = f"a new problem (1/2, 1/4), rewards 1 0 0 0, ema 0.3{half}"
    explain(found, [mean, right], mistakes, what)


def test_the_weight_of_the_newest_group_is_ema(answer):
    mistakes = {"the weight is 0.3 whatever `ema` is": by_hand(0.3)}
    found = after(answer, 0.5, 0.25, ONE_OF_FOUR, ema=0.9)
    explain(found, by_hand(0.9), mistakes, "a new problem, rewards 1 0 0 0, ema 0.9")


def test_of_zeros_and_ones_the_variance_is_that_of_a_coin_with_the_running_mean(answer):
    """Which the page asks to predict: v = m (1-m) after any groups, whatever `ema` is."""
    rng = np.random.default_rng(0)
    for ema in (0.1, 0.3, 0.9, 1.0):
        m, v = 0.5, 0.25
        for p in rng.random(20):
            m, v = after(answer, m, v, (rng.random(8) < p).astype(float).tolist(), ema).tolist()
        if not abs(v - m * (1 - m)) < 1e-6:
            refuse(
                f"after twenty groups of zeros and ones with ema {ema} the mean is {m:.9g} and the "
                f"variance {v:.9g}; it must be m (1-m) = {m * (1 - m):.9g}, exactly"
            )


def test_a_reward_that_is_not_0_or_1(answer):
    found = after(answer, 1.0, 0.5, [3.0, -1.0])
    mistakes = {"m (1-m) is the variance of zeros and ones alone": [1.0, 0.0]}
    explain(found, [1.0, 0.7 * 0.5 + 0.3 * 4.0], mistakes, "rewards 3 and -1 after m = 1, v = 1/2")


def test_volatility_is_a_standard_deviation(answer):
    v = np.array([0.25, 0.09, 0.0, 1.44])
    mistakes = {"the variance comes back: take its root": v}
    given = v.copy()
    found = numbers(answer.volatility(given), (4,), "volatility")
    unchanged(given, v, "volatility")
    explain(found, np.sqrt(v), mistakes, "variances 0.25, 0.09, 0 and 1.44")


VISITS = np.array([0, 1, 3, 8])


def test_the_bonus_is_large_where_visits_are_few(answer):
    given = VISITS.copy()
    with np.errstate(divide="ignore"):
        found = numbers(answer.bonus(given, 19, 0.1), (4,), "bonus")
    unchanged(given, VISITS, "bonus")
    right = 0.1 * np.sqrt(np.log(20) / (1 + VISITS))
    with np.errstate(divide="ignore"):
        no_one = 0.1 * np.sqrt(np.log(20) / VISITS)
    if found.isinf().any():
        refuse("a problem without a visit has an infinite bonus: divide by 1 + n, not by n")
    mistakes = {
        "divided by n, not by 1 + n": no_one,
        "ln(t) is taken; it is ln(1 + t)": 0.1 * np.sqrt(np.log(19) / (1 + VISITS)),
        "the bonus grows with the visits; it is to fall": 0.1 * np.sqrt(np.log(20) * (1 + VISITS)),
        "the root is missing": 0.1 * np.log(20) / (1 + VISITS),
        "c stands under the root": np.sqrt(0.1 * np.log(20) / (1 + VISITS)),
        "c is not used": np.sqrt(np.log(20) / (1 + VISITS)),
        "the logarithm is not the natural one": 0.1 * np.sqrt(np.log2(20) / (1 + VISITS)),
        "log10 is not the natural logarithm": 0.1 * np.sqrt(np.log10(20) / (1 + VISITS)),
        "1 + n belongs under the root too": 0.1 * np.sqrt(np.log(20)) / (1 + VISITS),
        "the trainer itself adds 1 for a problem never tried": right + (VISITS == 0),
    }
    explain(found, right, mistakes, "n = 0, 1, 3, 8 at t = 19, c = 0.1")


def test_the_bonus_goes_with_t_and_c(answer):
    with np.errstate(divide="ignore"):
        found = numbers(answer.bonus(VISITS.copy(), 99, 0.5), (4,), "bonus")
    mistakes = {
        "t is 19 whatever it is": 0.5 * np.sqrt(np.log(20) / (1 + VISITS)),
        "c is 0.1 whatever it is": 0.1 * np.sqrt(np.log(100) / (1 + VISITS)),
    }
    right = 0.5 * np.sqrt(np.log(100) / (1 + VISITS))
    explain(found, right, mistakes, "n = 0, 1, 3, 8 at t = 99, c = 0.5")


def test_before_the_first_group_there_is_no_bonus(answer):
    with np.errstate(divide="ignore", invalid="ignore"):
        found = numbers(answer.bonus(np.array([0, 0]), 0, 0.1), (2,), "bonus")
    if not found.isfinite().all():
        refuse("at t = 0 the bonus is not finite: ln(1 + t) is 0 there, and ln(t) is not")
    explain(found, [0.0, 0.0], {}, "n = 0 at t = 0")
