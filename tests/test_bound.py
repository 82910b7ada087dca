"""bound.py: the bounds against hand-made values and against each other, and its command."""

import math
from decimal import ROUND_CEILING, Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import bound
from bound import (
    average_error_bound,
    binomial,
    capacity,
    certificate,
    discovery_groups,
    discovery_rollouts,
    divergences,
    exact_fixed_sample_size,
    fixed_recognition_bound,
    fixed_recognition_bounds,
    identification_bound,
    kl,
    kl_budget,
    play,
    recognition_bound,
    transport_bound,
)

probabilities = st.floats(0.01, 0.99)

# ---- values worked out by hand


def test_discovery():
    assert discovery_rollouts(0.05, 0.05) == 59  # .95**58 = .0510, .95**59 = .0485
    assert discovery_rollouts(0.5, 0.25) == 2  # exactly: no rollout too many by rounding
    assert discovery_rollouts(0.9, 0.1) == 1
    assert discovery_groups(0.5, 2, 0.25) == 2  # a pair is unequal half of the time
    assert discovery_groups(0.05, 8, 0.05) == 8  # a group is unequal with probability .337


def test_discovery_at_the_ends():
    assert discovery_rollouts(0, 0.05) == math.inf and discovery_rollouts(1, 0.05) == 1
    assert discovery_rollouts(0.5, 0) == math.inf and discovery_rollouts(0.5, 1) == 0
    assert discovery_rollouts(0, 1) == 0
    for p in (0, 1):
        assert discovery_groups(p, 8, 0.05) == math.inf
    assert discovery_groups(0.5, 1, 0.05) == math.inf  # a group of one never has unequal rewards


def test_recognition():
    """1-shot RLVR's jump on MATH-500, 36.0 -> 73.6 (arXiv 2504.20571)."""
    assert recognition_bound(0.36, 0.736, 0.05) == pytest.approx(9.06, abs=0.005)
    needed = 0.9 * math.log(19)  # kl(.05, .95)
    assert recognition_bound(0.5, 0.9, 0.05) == pytest.approx(
        needed / (0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    )


def test_the_three_bounds_on_a_fixed_number():
    """Bretagnolle and Huber's, the divergence, and the affinity; the largest is used."""
    smaller, BC = min(kl(0.5, 0.9), kl(0.9, 0.5)), math.sqrt(0.45) + math.sqrt(0.05)
    huber, divergence, affinity = fixed_recognition_bounds(0.5, 0.9, 0.05)
    assert huber == pytest.approx(math.log(5) / smaller)
    assert divergence == pytest.approx(0.9 * math.log(19) / smaller)
    assert affinity == pytest.approx(math.log(1 / 0.19) / (-2 * math.log(BC)))
    assert fixed_recognition_bounds(0.36, 0.736, 0.05) == pytest.approx(
        [5.50, 9.06, 10.77], abs=0.005
    )
    assert fixed_recognition_bound(0.36, 0.736, 0.05) == pytest.approx(10.77, abs=0.005)


@given(probabilities, probabilities, st.floats(1e-9, 0.499))
def test_the_divergence_is_always_ahead_of_bretagnolle_and_huber(p0, p1, delta):
    """kl >= -2 ln(affinity) = ln(1/(4 delta (1-delta))) > ln(1/(4 delta)), for the decisions."""
    huber, divergence, _ = fixed_recognition_bounds(p0, p1, delta)
    assert huber <= divergence


def test_recognition_at_the_ends():
    assert recognition_bound(0.4, 0.4, 0.05) == math.inf
    assert recognition_bound(0.4, 0.4, 0.5) == 0  # a guess is right half of the time
    assert recognition_bound(0.0, 0.5, 0.05) == 0  # one success is proof: only discovery counts
    assert recognition_bound(0.2, 0.5, 0.0) == math.inf
    assert fixed_recognition_bound(0.4, 0.4, 0.05) == math.inf
    assert fixed_recognition_bound(0.4, 0.4, 0.5) == fixed_recognition_bound(0, 1, 0.05) == 0


def test_the_divergence():
    assert kl(0.5, 0.25) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert kl(0, 0.3) == pytest.approx(-math.log(0.7)) and kl(1, 0.3) == pytest.approx(
        -math.log(0.3)
    )
    assert kl(0.3, 0) == kl(0.3, 1) == kl(1, 0) == math.inf and kl(0, 0) == kl(1, 1) == 0
    assert kl_budget(0.36, 0.736) == kl(0.736, 0.36)


def test_capacity_of_the_binary_symmetric_and_the_z_channel():
    h = -0.1 * math.log2(0.1) - 0.9 * math.log2(0.9)
    assert capacity(0.1, 0.9) == pytest.approx(1 - h)
    assert capacity(0.0, 0.5) == pytest.approx(math.log2(5 / 4))  # the Z-channel of noise 1/2
    assert capacity(0.0, 1.0) == pytest.approx(1) and capacity(0.3, 0.3) == 0


@given(probabilities, probabilities)
def test_capacity_is_the_largest_mutual_information(p0, p1):
    prior = np.linspace(0, 1, 2001)
    output = prior * p0 + (1 - prior) * p1
    information = bound.entropy_bits(output) - prior * bound.entropy_bits(p0)
    information -= (1 - prior) * bound.entropy_bits(p1)
    assert capacity(p0, p1) == pytest.approx(information.max(), abs=1e-5)


def test_the_exact_sample_size_by_brute_force():
    """Fair coin against 0.8, delta 0.2: over all tests that depend on the number of successes."""

    def possible(n):
        fair, loaded = binomial(n, 0.5), binomial(n, 0.8)
        for c in range(n + 2):  # surely above c - 1, at c - 1 with probability share
            for share in np.linspace(0, 1, 401):
                size = fair[c:].sum() + (share * fair[c - 1] if c else 0)
                power = loaded[c:].sum() + (share * loaded[c - 1] if c else 0)
                if size <= 0.2 and power >= 0.8:
                    return True
        return False

    n = next(n for n in range(1, 30) if possible(n))
    assert exact_fixed_sample_size(0.5, 0.8, 0.2) == exact_fixed_sample_size(0.8, 0.5, 0.2) == n


def test_the_exact_sample_size_at_the_ends():
    assert exact_fixed_sample_size(0.4, 0.4, 0.05) == math.inf
    assert exact_fixed_sample_size(0.0, 1.0, 0.05) == 1
    assert exact_fixed_sample_size(0.2, 0.4, 0.5) == 0
    assert exact_fixed_sample_size(0.1, 0.2, 0.0) == math.inf


@given(probabilities, probabilities, st.floats(0.001, 0.4))
@settings(max_examples=50)
def test_the_exact_sample_size_is_above_the_bound_for_it(p0, p1, delta):
    if abs(p0 - p1) > 0.05:
        assert exact_fixed_sample_size(p0, p1, delta) >= fixed_recognition_bound(p0, p1, delta)


def test_the_exact_sample_size_where_one_minus_the_power_would_cancel():
    """By rational arithmetic: the test says "p1" for sure above a count, and at it by chance."""

    def misses(n, p0, p1, delta):
        def at(p):
            return [math.comb(n, s) * p**s * (1 - p) ** (n - s) for s in range(n + 1)]

        left, missed = delta, Fraction(0)
        for low, high in reversed(list(zip(at(p0), at(p1), strict=True))):
            share = min(Fraction(1), left / low) if low else 1
            left, missed = left - share * low, missed + (1 - share) * high
        return missed

    for p0, p1, delta, n in ((0.1, 0.9, 1e-15, 63), (0.0, 0.5, 1e-18, 60), (0.36, 0.736, 0.05, 19)):
        exact = [Fraction(v) for v in (p0, p1, delta)]
        assert misses(n, *exact) <= Fraction(delta) < misses(n - 1, *exact)
        assert exact_fixed_sample_size(p0, p1, delta) == n


def test_a_number_above_the_limit_is_not_called_infinite(capsys):
    with pytest.raises(ValueError, match="more than 65,536, and larger numbers are not tried"):
        exact_fixed_sample_size(0.5, 0.5001, 0.05)
    with pytest.raises(ValueError, match="more than 8, "):
        exact_fixed_sample_size(0.36, 0.736, 0.05, limit=15)
    assert bound.main(["--p0", "0.5", "--p1", "0.5001"]) == 0
    fixed = next(x for x in capsys.readouterr().out.splitlines() if "fixed beforehand" in x)
    assert fixed.split()[-2:] == ["-", "-"]


# ---- numbers that float64 would round away


@pytest.mark.parametrize(("a", "d"), [(0.5, 3e-9), (0.01, 1e-12), (0.97, -1e-7), (1e-9, 1e-12)])
def test_the_divergence_of_coins_that_are_almost_alike(a, d):
    """By its series around a in rational arithmetic, of which three terms are enough."""
    b = a + d
    p, x = Fraction(a), Fraction(b) - Fraction(a)
    q = 1 - p
    series = x**2 / 2 * (1 / p + 1 / q) - x**3 / 3 * (1 / p**2 - 1 / q**2)
    series += x**4 / 4 * (1 / p**3 + 1 / q**3)
    assert kl(a, b) == pytest.approx(float(series), rel=1e-6)
    assert kl(b, b) == 0 < kl(a, b)


def test_the_divergence_where_its_two_formulas_meet():
    for x in (0.99e-3, 1.01e-3, 0.99, 1.01):
        with localcontext(prec=50):
            a, b = (Decimal(0.2 * factor) for factor in (1 + x, 1))
            exact = a * (a / b).ln() + (1 - a) * ((1 - a) / (1 - b)).ln()
        assert kl(float(a), 0.2) == pytest.approx(float(exact), rel=1e-10)


def test_a_decision_without_nearly_any_error_needs_finitely_many():
    needed = -math.log(1e-17)
    assert recognition_bound(0.3, 0.6, 1e-17) == pytest.approx(needed / kl(0.6, 0.3))


@pytest.mark.parametrize("p", [1e-8, 1e-12, 1e-17])
def test_discovery_of_what_is_very_rare(p):
    """ln(1-p) = -p - p^2/2 - ... in rational arithmetic, and ln(.05) to 50 digits."""
    delta = 0.05
    with localcontext(prec=50):
        x = Decimal(p)
        n = (Decimal(delta).ln() / -(x + x**2 / 2 + x**3 / 3)).to_integral_value(ROUND_CEILING)
        groups = n / 8
    assert discovery_rollouts(p, 0.05) == pytest.approx(float(n), rel=1e-15)
    if p == 1e-8:
        assert discovery_rollouts(p, 0.05) == float(n) == 299_573_226
    assert discovery_groups(p, 8, 0.05) == pytest.approx(float(groups), rel=1e-6)


@given(st.integers(1, 99), st.integers(1, 60))
def test_discovery_by_rational_arithmetic(percent, n):
    """delta = (1-p)^n asks for exactly n rollouts, a little less for one more."""
    p = percent / 100
    delta = float((1 - Fraction(p)) ** n)
    assert discovery_rollouts(p, delta) == n
    assert discovery_rollouts(p, delta * (1 - 1e-9)) == n + 1


# ---- arrays and errors


def test_the_bounds_are_vectorised():
    p, delta = np.array([0.0, 0.1, 0.5])[:, None], np.array([0.05, 0.01])
    for function in (discovery_rollouts, lambda p, d: discovery_groups(p, 4, d)):
        values = function(p, delta)
        assert values.shape == (3, 2) and values[1, 1] == function(0.1, 0.01)
    assert recognition_bound(p, 0.7, delta).shape == (3, 2)
    assert capacity(p, 0.7).shape == kl_budget(p, 0.7).shape == (3, 1)
    assert np.ndim(recognition_bound(0.1, 0.7, 0.05)) == 0


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf])
def test_what_is_no_probability_is_refused(bad):
    for call in (
        lambda: discovery_rollouts(bad, 0.1),
        lambda: discovery_groups(0.1, 8, bad),
        lambda: recognition_bound(bad, 0.5, 0.1),
        lambda: recognition_bound(0.1, 0.5, bad),
        lambda: kl_budget(0.5, bad),
        lambda: identification_bound([[bad, 0.5]], 0.1),
        lambda: exact_fixed_sample_size(0.1, bad, 0.1),
    ):
        with pytest.raises(ValueError, match=r"probabilities lie in \[0, 1\]"):
            call()


def test_other_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        discovery_groups(0.5, 0, 0.1)
    for success in ([0.5, 0.5], [[0.5]], np.zeros((0, 2))):
        with pytest.raises(ValueError, match=r"shape \(problems, skills >= 2\)"):
            identification_bound(success, 0.1)


# ---- identification


def test_two_skills_need_one_problem():
    """The best allocation for K = 2 is the one problem whose coin differs most."""
    success = np.array([[0.5, 0.6], [0.2, 0.7], [0.9, 0.8]])
    weights, allocation = play(divergences(success, 0))
    assert weights.tolist() == [1] and allocation.tolist() == [0, 1, 0]
    assert transport_bound(success, 0, 0.05) == pytest.approx(recognition_bound(0.7, 0.2, 0.05))


def test_which_problem_is_best_depends_on_the_true_skill():
    """One problem for each skill, but it takes both where the skill is not known."""
    success = np.array([[0.01, 0.2], [0.2, 0.01]])
    best = [play(divergences(success, J))[1].argmax() for J in (0, 1)]
    assert sorted(best) == [0, 1]
    for J in (0, 1):
        assert divergences(success, J).max() > 1.5 * divergences(success, J).min()


def test_an_average_error_is_not_an_error_under_every_skill():
    """Eleven skills, the last two identical: a guess between them errs 1/11 < .1 on average."""
    success = np.full((10, 11), 0.0)
    success[range(10), range(10)] = 1.0  # a problem for each skill that it alone passes
    success[9, 10] = 1.0
    answers = [list(column).index(1.0) for column in success.T]  # one look at each problem
    errors = [float(answer != skill) for skill, answer in enumerate(answers)]  # "9" for 9 and 10
    assert np.mean(errors) == pytest.approx(1 / 11) and max(errors) == 1
    assert average_error_bound(success, 0.1) <= len(success)
    assert identification_bound(success, 0.1) == math.inf


def test_skills_that_look_alike_are_never_told_apart():
    assert identification_bound([[0.3, 0.3], [0.8, 0.8]], 0.05) == math.inf
    assert identification_bound([[0.3, 0.3, 0.9], [0.8, 0.8, 0.1]], 0.05) == math.inf


def test_a_proof_by_one_rollout_leaves_nothing_to_bound():
    """Where one reward can rule a skill out for sure, transport says nothing; Fano still does."""
    success = np.array([[0.0, 1.0], [0.5, 0.6]])
    assert transport_bound(success, 0, 0.05) == 0
    assert identification_bound(success, 0.05) == average_error_bound(success, 0.05)
    h = -0.05 * math.log2(0.05) - 0.95 * math.log2(0.95)
    assert average_error_bound(success, 0.05) == pytest.approx(0.95 - h)  # one bit a rollout


tables = st.tuples(st.integers(1, 6), st.integers(2, 5)).flatmap(
    lambda shape: arrays(float, shape, elements=st.floats(0, 1))
)


@given(tables, st.data())
def test_every_certificate_holds_for_every_allocation(success, draw):
    """Weak duality: min_k sum_x w_x g_xk <= max_x sum_k lambda_k g_xk, whatever w and lambda."""
    gains = divergences(success, draw.draw(st.integers(0, success.shape[1] - 1)))
    weights = np.array(
        draw.draw(st.lists(probabilities, min_size=gains.shape[1], max_size=gains.shape[1]))
    )
    allocation = np.array(
        draw.draw(st.lists(probabilities, min_size=len(gains), max_size=len(gains)))
    )
    best_weights, best_allocation = play(gains, rounds=50)
    for w in (allocation / allocation.sum(), best_allocation):
        for lam in (weights / weights.sum(), best_weights):
            with np.errstate(invalid="ignore"):
                brought = np.where(w[:, None] > 0, w[:, None] * gains, 0.0).sum(axis=0)
            assert brought.min() <= certificate(gains, lam) * (1 + 1e-9) + 1e-12


# ---- the command


def test_one_question(capsys):
    assert bound.main(["--p0", "0.36", "--p1", "0.736", "--delta", "0.05"]) == 0
    shown = capsys.readouterr().out
    head, *rows = [line.split()[-3:] for line in shown.splitlines()]
    assert head == ["bound", "optimum", "practical"]
    assert rows[:2] == [["7"] * 3, ["1"] * 3] and rows[-1] == ["0.292556", "0.292556", "-"]
    assert [float(word) for word in rows[2]] == pytest.approx([9.05809, 9.13743, 10.7587], abs=5e-5)
    assert [float(word) for word in rows[3]] == pytest.approx([10.7689, 19, 19], abs=5e-5)


def test_without_arguments_every_bound_is_shown_for_a_few_questions(capsys):
    assert bound.main([]) == 0
    shown = capsys.readouterr().out
    values = {word for line in shown.splitlines() if line.startswith("  ") for word in line.split()}
    assert {"7", "1", "9.05809", "19", "10.7587", "0.292556", "59", "8", "23.4569"} < values
    assert "name one of 8" in shown and "python experiments/bounds.py" in shown


@pytest.mark.parametrize("delta", ["0", "0.3", "0.5", "1"])
@pytest.mark.parametrize("question", [[], ["--p0", "0", "--p1", "1"], ["--p0", "1", "--p1", "1"]])
def test_the_ends_are_answered_too(capsys, delta, question):
    assert bound.main([*question, "--delta", delta]) == 0
    assert "nan" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("p0", "p1", "delta"),
    [("1e-300", "0.5", "0.05"), ("0.5", "5e-324", "1e-300"), ("0.1", "0.9", "1e-100"),
     ("0.3", "0.31", "0.49"), ("0.5", "0.5000001", "0.4999999"), ("0.999999", "0.5", "1e-8")],
)  # fmt: skip
def test_extreme_questions_have_an_optimum_between_the_others_or_none(capsys, p0, p1, delta):
    assert bound.main(["--p0", p0, "--p1", p1, "--delta", delta]) == 0
    shown = next(x for x in capsys.readouterr().out.splitlines() if "stopping when sure" in x)
    least, *others = shown.split()[-3:]
    if others != ["-", "-"]:
        assert float(least) <= float(others[0]) <= float(others[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--p0", "1.5", "--p1", "0.5"], "probabilities lie in [0, 1], not 1.5"),
        (["--p0", "0.5"], "--p0 and --p1 go together"),
        (["--p0", "0.5", "--p1", "nan"], "probabilities lie in [0, 1]"),
        (["--delta", "2"], "probabilities lie in [0, 1], not 2.0"),
        (["--delta", "small"], "invalid float value: 'small' (see --help)"),
        (["--runs", "1000"], "unrecognized arguments: --runs 1000"),
    ],
)
def test_bad_arguments_are_one_line(capsys, arguments, message):
    assert bound.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
