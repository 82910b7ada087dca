r"""What is paid: finished numbers, where they may stand, and what may stand around them.

The tables hold one case per line, `response ~ gold`, where "\n" in a response is a new line.
"""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers.extraction import LAST_TOKENS, TRUST, without_thoughts
from answers.finished import is_plain_number, unfinished
from answers.latex import parse
from answers.names import named_value
from answers.remarks import spelled, without_remarks
from answers.spelling import normalise
from verifier import decide, extract_answer, is_equivalent, main, verify


def cases(table):
    for kind, lines in table.items():
        for line in lines.strip("\n").splitlines():
            response, gold = line.strip().rsplit(" ~ ", 1)
            yield pytest.param(response.replace(r"\n", "\n"), gold, id=f"{kind}: {line.strip()}")


# ---- finished numbers

FINISHED = r"""
    5 | -0.5 | +3 | 042 | 5. | .5 | 1,234 | 10{,}000 | 1\,625 | ５ | 0.\overline{3}
    0.1\overline{6} | \frac{1}{7}
    4.5e33 | 2.26e-10 | 4.5 \times 10^{33} | 60.2 \cdot 10^{22} | 4.5*10^33 | 4.5 x 10^33 | 4.5×10³³
    \frac34 | \frac{-3}{4} | \frac{1}{-2} | -\frac{3}{4} | (3)/(56) | -1./3 | 3/4 | ¾ | 6/4 | 1:2
    \left(\frac{3840}{289}\right) | 2\frac13 | 2 1/3 | -2\frac{1}{3} | 2½ | 137 \frac{1}{2}
    50\% | 28 percent | 12.5 \% | \$5 | \$32,\!348 | 5 cm | 5\text{ cm} | 864 \mbox{ inches}^2
    9.8 m/s^2 | 42\,\text{N}\cdot\text{m} | 10\,\mathrm{m\,s^{-1}} | 10 big cats | 90^\circ | 25°C
    \text{990} | \mathbf{990} | \boxed{5} | {5} | (5) | ((5)) | [5] | \{5\} | -(5)
    2\text{ million} | \$5.50/hr
"""
NOT_FINISHED = r"""
    311*641 | 311\times641 | 311·641 | 311×641 | ３１１*６４１ | (311)(641) | 311(641)
    311\;\cdot\;641 | 311\cdot641
    (311*641) | {311*641} | [311*641] | \{311*641\} | \left(311*641\right) | \text{311*641}
    -311*641 | -(-311*641) | +311*641 | 311*641 units | 311*641\text{ cm} | \$311*641 | 311*641\%
    \frac{311*641}{1} | \frac{311\cdot 641}{1} | 641/(1/311) | \frac{641}{\frac{1}{311}} | 311*641/1
    \frac33 | \frac{6}{2} | 6/2 | 6 / 2 | \frac{6}{-2} | 84\div 2 | 3\div 4 | 1.5/2 | \frac{1.5}{2}
    6:2 | 311*641:1 | 311 641/1 | 5/0 | 2\frac{4}{2} | 2+\frac13 | 2\cdot\frac13 | 1.5 \frac12
    2^5 | 5^1 | 5^{1} | a^1*b | 2**5 | 10^5 | 10^{-5} | \sqrt{25} | \sqrt{5^2} | \sqrt[3]{8}
    25^{1/2} | 8^{1/3}
    5! | 3!! | \binom{5}{1} | {5\choose 1} | \lfloor 5.5\rfloor | \lceil 4.5\rceil | |-5| | \|5\|
    \sin 90^\circ | \log_2 8 | \ln e | e^{i\pi} | f(5) | \max(2, 5) | \gcd(10, 15) | 17 \bmod 12
    311e0*641 | 311*641%*100 | 50\%*10 | 50\% of 10 | 0x30AB7 | 101_2 | \sum_{k=1}^{5} 1
    \int_0^5 dx | \prod_{k=1}^{5} 1
    5+0 | 300*641+11*641 | 10-5 | --5 | 2(3) | (2)3 | {5}{1} | 5\cdot 1 | 1\cdot 5 | 5\times 10^0*1
    x = 311*641 | 311*641 = 311*641 | 311*641 = ? | 199351 = 311*641 | 311*641 \approx 311*641
    x \in \{311*641\} | x \approx 311*641 | 2, 311*641 | 5 or 2+3 | 311*641 and 5 | [5, 5] | (5, 5)
    twice 5 | the product of 311 and 641 | 311 times 641 | 5 squared | 3 dozen | half of 10 | five
"""


def forms(text):
    return [form.strip() for line in text.strip().splitlines() for form in line.split(" | ")]


@pytest.mark.parametrize("form", forms(FINISHED))
def test_a_finished_number_is_a_plain_gold_and_is_paid(form):
    number = normalise(form)
    assert unfinished(number, "5") is None and is_plain_number(number), number
    assert is_equivalent(form, number) and verify(rf"\boxed{{{form}}}", form)
    assert unfinished(f"x = {number}", "5") is None and is_plain_number(f"x = {number}")
    assert unfinished(f"2+3 = {number}", "5") is None


@pytest.mark.parametrize("form", forms(NOT_FINISHED))
def test_what_is_not_finished_is_paid_for_no_number(form):
    assert unfinished(normalise(form), "5") is not None
    rounded = [rf"{form} \approx {n}" for n in (8, "8.1", r"\frac{8}{3}", "8, 9")]
    named = [f"x = {form}", f"5 = {form}", rf"x = {rounded[0]}", rf"5 \approx {rounded[0]}"]
    for wrapped in (form, *named, *rounded, rf"\approx {form}", f"{form} = "):
        for gold in (
            "5",
            "199351",
            "3",
            "1",
            "2",
            "0.75",
            "-5",
            "2.5",
            "120",
            "36",
            "32",
            "100000",
        ):
            assert not is_equivalent(wrapped, gold), (wrapped, gold)


def test_a_computation_that_is_rounded_counts_as_what_it_is_rounded_to():
    """SmolLM2 found this: it was paid for "The answer is 926*923 ≈8"."""
    for answer, gold, right in (
        ("926*923 ≈8", "854698", False), ("926*923 ≈ 854698", "854698", True),
        ("926*923 ≈ 854700", "854698", False), (r"x = 926*923 \approx 8", "854698", False),
        (r"\sqrt{51} \approx 7.14", "7.14", True), (r"x = \sqrt{51} \approx 7.14", "7.14", True),
        (r"\sqrt{51} \approx 7", "7.14", False), (r"1/4 + 1/3 \approx 0.58", "7/12", False),
        (r"\frac{7}{12} \approx 0.58", "7/12", True), (r"x = 2.5 \approx 3", "2.5", True),
        (r"\textbf{(C) }\frac{7}{12} \approx 0.58", "7/12", True), ("(C) 9*5 ≈ 8", "45", False),
        (r"\sqrt{51} \approx 7.14", r"\sqrt{51}", True), (r"1*1 \approx 7, 234", "1,234", False),
    ):  # fmt: skip
        assert is_equivalent(answer, gold) == right, (answer, gold)


def test_an_equation_that_is_handed_back_is_not_its_solution():
    for equation in ("3x+4=19", "2x = 10", "x-1 = 4", "19 = 3x+4", "x/5 = 1"):
        assert not is_equivalent(equation, "x = 5") and not is_equivalent(equation, "5"), equation
    assert all(is_equivalent(answer, "x = 5") for answer in ("x=5", "5", "x = 5.0", "5.0"))


JOINTS = r"""
    ≈ | ≃ | ≅ | ∼ | ~ | ≡ | ≐ | ≒ | = | == | := | => | -> | → | ≤ | ≥ | < | > | ≠ | , | ; | :
    or | / | % | \approx | \simeq | \cong | \sim | \equiv | \doteq | \to | \in | \le | \ne
    about | is | i.e. | so | , about | which is about | (approximately | rounded to
    which is approximately | ≈≈ | = ≈ | ~=
"""


@pytest.mark.parametrize("joint", forms(JOINTS))
def test_nothing_written_behind_a_computation_makes_it_an_answer(joint):
    for product in ("926*923", r"926 \times 923", "926*900 + 926*23", "1 = 926*923"):
        for said in (f"{product} {joint} 8", f"{product}{joint}8", f"x = {product} {joint} 8.5"):
            for response in (
                f"The answer is {said}", rf"\boxed{{{said}}}", f"#### {said}",
                f"The answer is ({said})", rf"\boxed{{[{said}]}}", rf"\boxed{{\{{{said}\}}}}",
            ):  # fmt: skip
                assert not any(verify(response, gold) for gold in ("854698", "854,698")), response


def test_a_power_of_ten_is_a_number_where_the_gold_has_one():
    assert is_equivalent("10^{-5}", r"1\times 10^{-5}") and is_equivalent("10^5", "1e5")
    assert not is_equivalent("10^5", "100000")


@pytest.mark.parametrize(
    "gold",
    [r"6\sqrt2", "x+1", r"\frac{6}{2}", "2^5", "y = 2x", "x + y = 5", "xy = 6", "x^2+y^2 = 4",
     "1, 2", "(1, 2)", "[1, 2]", r"\pi", "2i", "f(x) = 2x", "A", r"\text{five}", "52_8",
     r"5 \pmod 7"],
)  # fmt: skip
def test_an_expression_is_no_plain_gold(gold):
    assert not is_plain_number(normalise(gold))


def test_where_the_gold_is_an_expression_another_form_of_its_value_is_right():
    for answer, gold in (
        (r"\frac{12}{\sqrt 2}", r"6\sqrt 2"), (r"\sqrt{8}", r"2\sqrt 2"), ("32", "2^5"),
        ("3", r"\frac62"),
        ("2*16", "2^5"), ("(x+1)^2", "x^2+2x+1"), ("y = 5 - x", "x + y = 5"), ("2(3)", "3!"),
        ("1+1, 3", "3, 2"), ("150, 120", "120,150"), ("150,120", "120, 150"),
    ):  # fmt: skip
        assert is_equivalent(answer, gold), (answer, gold)


# ---- where the answer is

PLACES = {
    "thoughts": r"""
        <think>First guess \boxed{3}. No, it is 7.</think>\n\nThe final answer is 7. ~ 7
        <think>so \boxed{12}</think> Therefore \boxed{15} ~ 15
        I guess \boxed{3}.\n</think>\n\n\boxed{5} ~ 5
        <reasoning>The answer is 3.</reasoning>\n#### 5 ~ 5
        <think>\boxed{3}</think> <answer>5</answer> ~ 5
        <think>a</think> hm <think>\boxed{3}</think> \boxed{5} ~ 5
        <thinking>\boxed{3}</thinking>\boxed{5} ~ 5
        <think>\n</think>\n\nThe answer is 5. ~ 5
        [THINK]\boxed{3}[/THINK]\boxed{5} ~ 5
        \boxed{5} <think>is this right?</think> ~ 5
        <THINK>The answer is 3</THINK>The answer is 5 ~ 5""",
    "answer-tags": r"""
        <answer>5</answer> ~ 5
        so \boxed{3}? <answer> 5 </answer> ~ 5
        <answer>\boxed{5}</answer> ~ 5
        <answer>The answer is 5.</answer> ~ 5
        <answer>$x = 5$</answer> ~ 5
        <answer>\n\[ \frac12 \]\n</answer> ~ 0.5
        <answer>3</answer> no: <answer>5</answer> ~ 5
        <answer>5 cm</answer><|im_end|> ~ 5
        <ANSWER>5</ANSWER> ~ 5
        <answer>2+3 = 5</answer> ~ 5""",
    "boxes": r"""
        \boxed{3} \quad \boxed{5} ~ 3, 5
        \boxed{3} \quad \text{or} \quad \boxed{5} ~ 3, 5
        $x = \boxed{3}$ and $y = \boxed{5}$ ~ (3, 5)
        $y = \boxed{5}$, $x = \boxed{3}$ ~ (3, 5)
        x = \boxed{3}, y = \boxed{5} ~ 3, 5
        x=\boxed{3} \text{ or } x=\boxed{5} ~ 3, 5
        x_1 = \boxed{3} \\ x_2 = \boxed{5} ~ 3, 5
        $x = \boxed{3}$\n$y = \boxed{5}$ ~ (3, 5)
        \boxed{3}, \boxed{5}, and \boxed{7} ~ 3, 5, 7
        x &= \boxed{3} \\ y &= \boxed{5} ~ (3, 5)
        \boxed{\frac12} or \boxed{0.5} ~ 0.5
        first \boxed{3}, then \boxed{5} ~ 5""",
    "declared": r"""
        The answer to 311*641 is 199351. ~ 199351
        The answer to the question 2 + 3 = ? is 5 ~ 5
        The answer for part b: 5 ~ 5
        The final answer is $\frac{1}{2}$. ~ 0.5
        Answer: 5 ~ 5
        **Answer:** \$5 ~ 5
        The answer is 311*641 = 199351. ~ 199351
        The answer is 311*641, which equals 199351. ~ 199351
        The answer is 311 times 641, which is 199351. ~ 199351
        The answer is the product of 311 and 641, which is 199351. ~ 199351
        The answer is $311 \times 641 = 199351$. ~ 199351
        #### 5 ~ 5""",
}
NO_PLACES = {
    "thoughts": r"""
        <think>I am sure it is \boxed{8} ~ 8
        <think>so \boxed{12}</think> Therefore \boxed{15} ~ 12
        <think>The answer is 8.</think> ~ 8
        <think>\boxed{8}</think> Now I know. ~ 8
        The answer is 8.</think> ~ 8
        \boxed{8} <think>or not ~ 8
        <reasoning>\boxed{8} ~ 8
        <think>a</think><think>\boxed{8} ~ 8
        <think>\boxed{8}</think>\boxed{9} ~ 8
        <think><answer>8</answer> ~ 8""",
    "answer-tags": r"""
        <answer>3</answer> ~ 5
        <answer>5</answer> no: <answer>3</answer> ~ 5
        <answer></answer> \boxed{5} ~ 5
        <answer>your answer here</answer> ~ 5
        <answer>5 or 3</answer> ~ 5
        \boxed{5} <answer>3</answer> ~ 5
        <answer>311*641</answer> ~ 199351
        <answer>\boxed{311*641}</answer> ~ 199351
        <answer>311*641 = </answer> ~ 199351
        <answer>The answer is 311*641</answer> ~ 199351""",
    "boxes": r"""
        \boxed{3} \quad \text{or} \quad \boxed{5} ~ 5
        \boxed{3} \quad \boxed{5} ~ 5
        x = \boxed{3}, x = \boxed{5} ~ 5
        $x = \boxed{3}$\n$x = \boxed{5}$ ~ 5
        \boxed{3} and \boxed{5} ~ 5
        \boxed{3} \\ \boxed{5} ~ 5
        y = \boxed{3}, x = \boxed{5} ~ (3, 5)
        \boxed{3}; \boxed{5} ~ 3
        \boxed{5}, \boxed{2+3} ~ 5
        \boxed{5} or \boxed{6} ~ 5""",
    "declared": r"""
        The answer is 311*641 which equals ~ 199351
        The answer is 311*641 which is ~ 199351
        The answer is 311*641, which equals 199350. ~ 199351
        The answer to 311*641 is ~ 199351
        The answer to 311*641 is 311*641. ~ 199351
        The answer is 311*641. ~ 199351
        The answer is the product of 311 and 641. ~ 199351
        The answer is 311*641 = 311*641 = ~ 199351
        The answer is 199351 = 311*641. ~ 199351
        The answer is $311 \times 641$ cats. ~ 199351
        #### 311*641 ~ 199351""",
}

# ---- what stands behind an answer

REMARKS = {
    "clauses": r"""
        72, which is the total ~ 72
        72, which is 8 more than 60 and a few ~ 72
        72; that is the number of cats ~ 72
        72, as required ~ 72
        72, so she has enough ~ 72
        72, and that is all ~ 72
        12 minutes and that's it ~ 12
        72, I think ~ 72
        72, the total number of eggs ~ 72
        \frac{3}{4}, as expected ~ 0.75
        x = 72, which completes the proof ~ 72
        72, where we used the hint ~ 72
        x+1, which is linear ~ x+1""",
    "units": r"""
        \$5.50 per hour ~ 5.5
        \$12 each ~ 12
        12 apples each ~ 12
        5 km per hour ~ 5
        \$5 per person ~ 5
        5 dollars in total ~ 5
        5 cookies left ~ 5
        20 cents apiece ~ 20
        \frac34 of the cake ~ 3/4
        60 miles per hour ~ 60
        5 pairs of shoes ~ 5
        $18 per day ~ 18""",
    "tokens": r"""
        7<end_of_turn> ~ 7
        7<|im_end|> ~ 7
        7<|eot_id|>\n ~ 7
        7</s> ~ 7
        7<eos> ~ 7
        7</answer> ~ 7
        7</p> ~ 7
        7<｜end▁of▁sentence｜> ~ 7
        7[/INST] ~ 7
        <b>7</b> ~ 7""",
    "quotes": r"""
        "5" ~ 5
        '5' ~ 5
        “5” ~ 5
        `5` ~ 5
        "5". ~ 5
        5 🎉 ~ 5
        5 ✅ ~ 5
        ✅ 5 ~ 5
        5 😀👍 ~ 5
        "5 cm" ~ 5
        **5** 🎉 ~ 5""",
    "parentheses": r"""
        72 (rounded) ~ 72
        7 (seven) ~ 7
        72 (seventy-two) ~ 72
        0.75 (or 3/4) ~ 3/4
        0.75 (3/4) ~ 3/4
        0.75 (i.e., 3/4) ~ 3/4
        5 (because 2 + 3 = 5) ~ 5
        72 (rounded to the nearest integer) ~ 72
        3.14 (to 2 decimal places) ~ 3.14
        5 (five) apples ~ 5
        5 apples (five apples) ~ 5
        199351 (311*641) ~ 199351
        42 (the total) ~ 42""",
    "labels": r"""
        \text{Total cost: }5 ~ 5
        \text{Perimeter: }5 ~ 5
        \text{Area: }5\text{ cm}^2 ~ 5
        Area: 5 ~ 5
        Total cost = \$5 ~ 5
        \text{Area} = 5 ~ 5
        \textbf{Number of ways: }5 ~ 5
        \text{Speed: }60\text{ mph} ~ 60
        \text{The number of cats is }5 ~ 5
        \text{Probability: }\frac12 ~ 0.5
        the sum of 2 and 3 is 5 ~ 5""",
}
TAKEN_AWAY = {
    "second values": r"""
        72, or maybe 74 ~ 74
        72, or maybe 74 ~ 72
        7 (or 8) ~ 7
        0.75 (or 3/5) ~ 3/4
        0.75 (3/5) ~ 3/4
        7 (eight) ~ 7
        between 5 and 7 ~ 5
        5 or 7 ~ 5
        5, maybe 7 ~ 5
        5, but it could be 7 ~ 5
        5, no wait, 7 ~ 5
        5, which is 7 ~ 5
        either 5 or 7 ~ 5
        5 and 7 ~ 5""",
    "doubt": r"""
        7, but I am not sure ~ 7
        7 (maybe) ~ 7
        7 (incorrect) ~ 7
        7 (wrong) ~ 7
        maybe 7 ~ 7
        not 7 ~ 7
        7, plus three ~ 7
        7 (squared) ~ 7
        7 (mod 12) ~ 7
        7 times three ~ 7
        7 (and a half) ~ 7""",
    "computations": r"""
        311*641 (one product) ~ 199351
        311*641, the product ~ 199351
        "311*641" ~ 199351
        311*641 🎉 ~ 199351
        311*641 (rounded) ~ 199351
        311*641 (or 311*641) ~ 199351
        \text{Product: }311*641 ~ 199351
        Total = 311*641 ~ 199351
        199351 = 311*641 (rounded) ~ 199351
        311*641<|im_end|> ~ 199351
        311*641 each ~ 199351
        311*641 is the answer ~ 199351
        the product is 311*641 ~ 199351""",
}

# ---- left sides

NAMED = {
    "commands": r"""
        \det A = 5 ~ 5
        \gcd(10, 15) = 5 ~ 5
        \lim_{x \to 0} \frac{5\sin x}{x} = 5 ~ 5
        \sum_{k=1}^{5} 1 = 5 ~ 5
        \int_0^5 dx = 5 ~ 5
        \mathbb{E}[X] = 5 ~ 5
        \mathbb{P}(A) = \frac12 ~ 0.5
        P(A|B) = \frac12 ~ 0.5
        |A\cap B| = 5 ~ 5
        \max f = 5 ~ 5
        \dim V = 5 ~ 5
        \operatorname{lcm}(4,6) = 12 ~ 12
        \Pr(X = 1) = 0.5 ~ 0.5
        \varphi(12) = 4 ~ 4
        \|v\| = 5 ~ 5""",
    "powers and sums": r"""
        \sin^2 x = \frac12 ~ 0.5
        a_1+a_2 = 5 ~ 5
        a+b+c = 5 ~ 5
        x^2+y^2 = 5 ~ 5
        x_1^2+x_2^2 = 5 ~ 5
        ab+bc = 5 ~ 5
        \cos^{2} A = 0.5 ~ 0.5
        S_1 - S_2 = 5 ~ 5
        m+n = 5 ~ 5
        x - y = 5 ~ 5""",
    "calls": r"""
        f(g(2)) = 5 ~ 5
        f(f(f(1))) = 5 ~ 5
        f(2) = 5 ~ 5
        f^{-1}(2) = 5 ~ 5
        P(2) = 5 ~ 5
        f(x+1) = 5 ~ 5
        \sin(\arccos x) = 5 ~ 5
        a_{10} = 5 ~ 5
        N(5, 3) = 5 ~ 5
        \angle ABC = 60^\circ ~ 60""",
    "typography": r"""
        n \equiv 5 \bmod 7 ~ n \equiv 5 \pmod{7}
        n \equiv 5 \pmod 7 ~ n \equiv 5 \pmod{7}
        n \equiv 5 \ (\text{mod } 7) ~ n \equiv 5 \pmod{7}
        n \equiv 5 (mod 7) ~ n \equiv 5 \pmod{7}
        n\equiv5\pmod{12} ~ n \equiv 5 \pmod{12}
        5 \pmod 7 ~ 5 \pmod{7}
        x\le0 ~ x \leq 0
        f(x)\le0 ~ f(x) \leq 0
        x \geqslant0 ~ x \ge 0
        \det A\le0 ~ \det A \leq 0""",
}
NOT_NAMED = {
    "equations": r"""
        2x = 5 ~ 5
        x^2 = 5 ~ 5
        x+x = 5 ~ 5
        x^2+x = 5 ~ 5
        -x = 5 ~ 5
        \sqrt{x} = 5 ~ 5
        x(x+1) = 5 ~ 5
        5 = 6 ~ 6
        2+2 = 5 ~ 5
        \sin 30 = 0.5 ~ 0.5
        x < 3 = 5 ~ 5
        x \ne 5 ~ 5
        \det A \ne 5 ~ 5
        \det A > 5 ~ 5
        \det A = 5 = 6 ~ 5""",
    "computations": r"""
        \gcd(10, 15) = 2+3 ~ 5
        \det A = 311*641 ~ 199351
        a_1+a_2 = 2+3 ~ 5
        \sin^2 x = 2/1 ~ 2
        f(g(2)) = 2+3 ~ 5
        \sum_{k=1}^5 1 ~ 5
        \gcd(10, 15) ~ 5
        |A \cap B| = 2+3 ~ 5
        \mathbb{E}[X] = 10/2 ~ 5
        \int_0^5 dx ~ 5""",
    "typography": r"""
        n \equiv 4 \bmod 7 ~ n \equiv 5 \pmod{7}
        n \equiv 5 \bmod 8 ~ n \equiv 5 \pmod{7}
        n \equiv 5 ~ n \equiv 5 \pmod{7}
        5 ~ n \equiv 5 \pmod{7}
        x\le0 ~ x < 0
        x\le0 ~ x \geq 0
        f(x)\le1 ~ f(x) \leq 0
        3 mod 7 ~ 7 mod 3
        x \le 0 ~ y \leq 0
        12 \pmod 7 ~ 5""",
}


@pytest.mark.parametrize(("response", "gold"), [*cases(PLACES)])
def test_the_answer_is_found(response, gold):
    assert verify(response, gold), extract_answer(response)


@pytest.mark.parametrize(("response", "gold"), [*cases(NO_PLACES)])
def test_no_answer_is_found(response, gold):
    assert not verify(response, gold), extract_answer(response)


def in_places(answer):
    return [f"The answer is {answer}", f"So we get.\n#### {answer}", f"<answer>{answer}</answer>"]


@pytest.mark.parametrize(("answer", "gold"), [*cases(REMARKS), *cases(NAMED)])
def test_what_stands_around_an_answer_leaves_it(answer, gold):
    for response in in_places(answer):
        assert verify(response, gold), (
            extract_answer(response),
            decide(extract_answer(response), gold),
        )


@pytest.mark.parametrize(("answer", "gold"), [*cases(TAKEN_AWAY), *cases(NOT_NAMED)])
def test_what_stands_around_an_answer_takes_it_away(answer, gold):
    for response in [*in_places(answer), rf"\boxed{{{answer}}}"]:
        assert not verify(response, gold), extract_answer(response)


@pytest.mark.parametrize(("answer", "gold"), [*cases(NAMED)])
def test_left_sides_in_a_box(answer, gold):
    assert verify(rf"So $\boxed{{{answer}}}$.", gold), decide(answer, gold)


# ---- what an adversary found

NOT_PAID = {
    "no mixed numbers": r"""
        86 {1/2} ~ 43
        86 {1}/{2} ~ 43
        86 {1}:{2} ~ 43
        86\frac{+1}{2} ~ 43
        86\frac{1.}{2} ~ 43
        86\frac{1}{+2} ~ 43
        86 {+1\over 2} ~ 43
        86 (1)/(2) ~ 43
        24 {1/2} cm ~ 12 cm
        100 {1/2}\% ~ 50\%
        -4 {3}/{4} ~ -3
        1 {3/4} ~ 3/4
        311000 {641}/{1000} ~ 199351
        42 +1/2 ~ 42.5
        -2 +1/2 ~ -1.5""",
    "functions as last sides": r"""
        ({5)} = \abs(18+25) ~ 43
        [{5]} = \abs(18+25) ~ 43
        5\text{ is} = \abs(311*641) ~ 199351
        18\text{ plus} = \abs(18+25) ~ 43
        1\text{ half} = \abs(18+25) ~ 43
        5\text{ thirds} = \sqrt(64) ~ 8
        5\text{ thirds} = \abs(1-1/2) ~ 0.5
        5\text{ thirds} = \abs(100/2) ~ 50\%
        5\text{ thirds} = \abs(6*2) ~ 12 cm
        5\text{ thirds} = \abs(3/4) ~ 3/4
        5\text{ thirds} = \exp(0) ~ 1
        43.4 \approx \abs(18+25) ~ 43
        199351.2 \approx \abs(311*641) ~ 199351
        7.9 \approx \sqrt(64) ~ 8""",
    "multiples": r"""
        2 dozens ~ 24
        1 dozens ~ 12 cm
        2/3 dozens ~ 8
        -1/4 dozens ~ -3
        7/3 dozens ~ 28
        4\text{ dozenth} ~ 48
        0.08 hundredth ~ 8
        0.000043 millionaires ~ 43
        1/5 hundredweight ~ 20
        400 hundredth ~ 40000
        1/125 thousand ~ 8
        1/2 hundred ~ 50
        1/2 hundred ~ 50\%
        1/25000 million ~ 40""",
    "signs, brackets and nines": r"""
        --3/4 ~ 3/4
        - -3/4 ~ 3/4
        -\frac{-3}{4} ~ 3/4
        -(-3)/4 ~ 3/4
        -3/-4 ~ 3/4
        [43) ~ 43
        7.\overline{9} ~ 8
        0.4\overline{9} ~ 0.5""",
    "hedges": r"""
        43 doubled ~ 43
        43 halved ~ 43
        43 negated ~ 43
        43 square root ~ 43
        43 reciprocal ~ 43
        43 score ~ 43
        43 crore ~ 43
        43 hex ~ 43
        43 in binary ~ 43
        43 too small ~ 43
        43 false ~ 43
        43 rejected ~ 43
        43 probably ~ 43
        43 likely ~ 43
        43 random guess ~ 43
        43 as a lower bound ~ 43
        43 versus ~ 43
        43, doubled ~ 43
        43, and then doubled ~ 43
        43, false ~ 43
        43, I lied ~ 43
        43, scratch that ~ 43
        43, roughly ~ 43
        43, at most ~ 43
        43, alternatively more ~ 43
        43, which is false ~ 43
        43 (rejected) ~ 43
        43 because I guessed ~ 43
        a guess: 43 ~ 43
        false: 43 ~ 43
        lower bound: 43 ~ 43
        I doubt it is 43 ~ 43
        it is false that it is 43 ~ 43
        44_7 = 43 ~ 43
        44 thirds = 43 ~ 43
        2\det A = 43 ~ 43
        x = 44 thirds = 43 ~ 43
        negative 43 ~ 43""",
}
NOT_PAID_THERE = {
    "cut sentences": r"""
        The answer is 43 so 44 ~ 43
        The answer is 43 as well as 44 ~ 43
        The answer is 43, so is 44 ~ 43
        The answer is 43? No. ~ 43
        The answer is 43. No, it is 44. ~ 43
        The answer is 43 since I do not know ~ 43
        The answer is $$43$$ or $$44$$ ~ 43
        The answer is \[43\] + 1 ~ 43
        The wrong answer is 43 ~ 43
        No answer is 43 ~ 43
        The answer is 44 or the answer is 43 ~ 43
        The answer might be 43 ~ 43
        I doubt 43 is the answer. ~ 43
        44 or 43 is the answer. ~ 43
        18 + 25 is the answer. ~ 43
        The result is 43. We add 3 and get 46. ~ 43
        The result might be 43. ~ 43
        The answer is 8! ~ 40320
        The answer is $8!$ ~ 8
        \boxed{8!} ~ 8
        <think>a</think> 43 44 ~ 43""",
    "tokens": r"""
        <answer>43<br>44</answer> ~ 43
        The answer is 43</s>44 ~ 43
        <answer>43</answer> no, 44 ~ 43""",
    "thoughts": r"""
        ◁think▷\boxed{43} ~ 43
        <seed:think>\boxed{43} ~ 43
        <|channel|>analysis<|message|>\boxed{43} ~ 43
        <|START_THINKING|>\boxed{43} ~ 43
        <|begin_of_thought|>\boxed{43} ~ 43
        <longcat_think>\boxed{43} ~ 43
        <mm:think>\boxed{43} ~ 43
        <think id=1>\boxed{43} ~ 43
        < think>\boxed{43} ~ 43
        <scratch_pad>\boxed{43} ~ 43
        <chain_of_thought>\boxed{43} ~ 43
        <think>a[/reason]The answer is 43 ~ 43
        <think><think>a</think>\boxed{43} ~ 43""",
}
BESIDE_BOXES = {
    "denied": r"""
        Not \boxed{43} ~ 43
        The answer is not $\boxed{43}$. ~ 43
        $x ≠ \boxed{43}$ ~ 43
        \boxed{43} is wrong. ~ 43
        \boxed{43}? No! ~ 43
        \boxed{\text{not }\boxed{43}} ~ 43""",
    "computed with": r"""
        $x = -\boxed{43}$ ~ 43
        2\boxed{43} ~ 43
        $\boxed{43}+1$ ~ 43
        $\boxed{43}^2$ ~ 43
        $44 - \boxed{43}$ ~ 43
        $\frac{\boxed{43}}{2}$ ~ 43
        $\sqrt{\boxed{43}}$ ~ 43
        $\boxed{42}+\boxed{43}$ ~ 43
        \boxed{2\cdot\boxed{43}} ~ 43""",
    "other candidates": r"""
        (\boxed{43}, 44) ~ 43
        (44, \boxed{43}) ~ 43
        44 or \boxed{43} ~ 43
        \boxed{43} or 44 ~ 43
        \boxed{44}, maybe \boxed{43} ~ 43
        \boxed{44} vs \boxed{43} ~ 43
        \boxed{42}\text{ to }\boxed{43} ~ 43""",
}
STILL_PAID = {
    "units and nouns": r"""
        The answer is 43 square feet ~ 43
        The answer is 8 pairs of shoes ~ 8
        The answer is 8 false positives ~ 8
        The answer is 8 equally likely outcomes ~ 8
        The answer is 8 failed attempts. ~ 8
        \boxed{8 \text{ roots}} ~ 8
        \boxed{\text{The reciprocal is }5} ~ 5
        \boxed{2\text{ hundred thousand}} ~ 200000
        \boxed{1.5\text{ million}} ~ 1500000""",
    "around boxes": r"""
        - \boxed{8} ~ 8
        * **\boxed{8}** ~ 8
        Answer - \boxed{8} ~ 8
        $a + b = \boxed{8}$ ~ 8
        $n \ge \boxed{8}$ ~ 8
        $\boxed{45}^\circ$ ~ 45
        \boxed{8}, not 9 ~ 8
        \boxed{8} is not 9, which we had. ~ 8
        So \boxed{8}\n\n- check: 3+5 ~ 8
        \(\boxed{8}\). No further steps are needed. ~ 8
        $\boxed{8}/\text{hour}$ ~ 8""",
    "thoughts": r"""
        ◁think▷\boxed{3}◁/think▷\boxed{8} ~ 8
        <seed:think>a</seed:think>The answer is 8 ~ 8
        <|channel|>analysis<|message|>3<|end|><|channel|>final<|message|>\boxed{8}<|return|> ~ 8
        <|START_THINKING|>3<|END_THINKING|>\boxed{8} ~ 8
        <think>a <think>b</think> c</think>\boxed{8} ~ 8
        <think>a</think>\n\n**8** ~ 8
        <think>a</think>8. ~ 8""",
    "phrases": r"""
        So 8 is the answer. ~ 8
        **8** is the final answer. ~ 8
        The answer would be 8. ~ 8
        The answer should be 8. ~ 8
        The answer equals 8 ~ 8
        The answer comes to 8 ~ 8
        Thus the final result is 8. ~ 8
        **Solution:** 8 ~ 8
        Ans: 8 ~ 8
        Answer - 8 ~ 8
        Answer — 8 ~ 8
        Answer\n8 ~ 8
        __Answer:__ 8 ~ 8
        <b>Answer:</b> 8 ~ 8
        Answer：8 ~ 8
        The answer is simply 8. ~ 8
        The answer is a total of 8. ~ 8
        The answer is the integer 8. ~ 8
        The answer is 8! ~ 8
        **Answer:** $8$! ~ 8
        The answer is negative 3. ~ -3
        The answer is minus 3/4. ~ -3/4
        The answer is 8 o'clock. ~ 8
        The answer is $8 \blacksquare$ ~ 8
        The answer is 8[|endofturn|] ~ 8
        The answer is 8<turn|> ~ 8
        The answer is 8[e~[ ~ 8
        The answer is 8 because 3 + 5 = 8. ~ 8
        The answer is 8, so she has enough. ~ 8
        101_2 = 5, so the answer is 101_2 = 5 ~ 5""",
}


@pytest.mark.parametrize(("answer", "gold"), [*cases(NOT_PAID)])
def test_what_only_evaluates_to_the_answer_or_hedges_is_not_paid(answer, gold):
    boxes = [rf"\boxed{{{answer}}}", rf"\boxed{{x = {answer}}}", rf"\boxed{{\text{{{answer}}}}}"]
    for response in [*in_places(answer), *boxes]:
        assert not verify(response, gold), extract_answer(response)


@pytest.mark.parametrize(("response", "gold"), [*cases(NOT_PAID_THERE), *cases(BESIDE_BOXES)])
def test_what_stands_in_another_place_or_is_withdrawn_is_not_paid(response, gold):
    assert not verify(response, gold), extract_answer(response)


@pytest.mark.parametrize(("response", "gold"), [*cases(STILL_PAID)])
def test_neighbours_of_what_is_not_paid_are_paid(response, gold):
    assert verify(response, gold), extract_answer(response)


# ---- the property: a computation is never paid, and its value always is

integers = st.integers(1, 12)


def joined(pair):
    (a, x), (b, y), operator = pair
    spaced = f"({a})", f"({b})"
    match operator:
        case "+" | "-":
            return f"{a} {operator} {spaced[1]}", x + y if operator == "+" else x - y
        case "*" | r"\times " | r"\cdot " | "×":
            return f"{spaced[0]}{operator}{spaced[1]}", x * y
        case "juxtaposed":
            return "".join(spaced), x * y
        case "frac":
            return rf"\frac{{{a}}}{{{b}}}", x / y if y else None
        case "/":
            return f"{spaced[0]}/{spaced[1]}", x / y if y else None
        case "^":
            small = y.denominator == 1 and 0 < y <= 4 and abs(x) <= 50
            return f"{spaced[0]}^{{{b}}}", x ** int(y) if small else None


def wrapped(inner):
    (a, x), kind = inner
    whole = x.denominator == 1 and 0 <= x <= 10
    forms = {
        "bracket": (f"({a})", x), r"\left": (rf"\left({a}\right)", x), "brace": (f"{{{a}}}", x),
        "minus": (f"-({a})", -x),
        "factorial": (f"({a})!", math.factorial(int(x)) if whole else None),
        "root": (rf"\sqrt{{({a})^2}}", abs(x)), "abs": (f"|{a}|", abs(x)),
        "binom": (rf"\binom{{{a}}}{{1}}", x if whole else None),
        "floor": (rf"\lfloor {a} \rfloor", math.floor(x)),
    }  # fmt: skip
    text, value = forms[kind]
    return text, None if value is None else Fraction(value)


def with_value(pair):
    return pair[1] is not None and abs(pair[1]) < 10**9


operators = ["+", "-", "*", r"\times ", r"\cdot ", "×", "juxtaposed", "frac", "/", "^"]
wrappers = ["bracket", r"\left", "brace", "minus", "factorial", "root", "abs", "binom", "floor"]
expressions = st.recursive(
    integers.map(lambda n: (str(n), Fraction(n))),
    lambda inner: st.one_of(
        st.tuples(inner, inner, st.sampled_from(operators)).map(joined).filter(with_value),
        st.tuples(inner, st.sampled_from(wrappers)).map(wrapped).filter(with_value),
    ),
    max_leaves=5,
)

WRAPPINGS = [
    r"So we get $\boxed{@}$.", r"\boxed{x = @}", "We think.\n#### @", "The answer is @",
    "**Answer:** @", "The final answer is: $@$", "so\n$@$", "so\n\\[ x = @ \\]",
    "<answer>@</answer>", "Answer: x = @", r"<think>\boxed{0}</think> The answer is @",
    r"<answer>\boxed{@}</answer>", "The answer to it is @", r"\boxed{\text{Total: } @}",
    r"The answer is $\approx @$", "**Final Answer**\n\n@",
]  # fmt: skip
TAILS = [
    "", ".", " which equals ", ", which is the total.", " (rounded).", " units", "<|im_end|>",
    " 🎉",
    ", as required.", " because we checked it.", " each.", " and that's it.", "\n",
    " = ", " is the answer",
    ". I hope it is correct.", " ; that is all", "</s>",
]  # fmt: skip


def latex(q):
    return str(q.numerator) if q.denominator == 1 else rf"\frac{{{q.numerator}}}{{{q.denominator}}}"


@settings(max_examples=300, deadline=None)
@given(expressions, st.sampled_from(WRAPPINGS), st.sampled_from(TAILS))
def test_a_computation_is_never_paid_and_its_value_is(expression, wrapping, tail):
    text, value = expression
    declares = "answer" in wrapping.lower() and "<" not in wrapping and "**Final" not in wrapping
    tail = tail if declares or wrapping.endswith("@") else ""
    for gold in (latex(value), str(float(value)) if value.denominator == 1 else latex(value)):
        if unfinished(normalise(text), gold) is not None:
            assert not verify(wrapping.replace("@", text) + tail, gold)
            chain = f"{text} = {latex(value)}"
            assert verify(wrapping.replace("@", chain) + tail.replace(" = ", ""), gold)
            assert not verify(wrapping.replace("@", f"{latex(value)} = {text}") + tail, gold)
        if tail != " = ":
            assert verify(wrapping.replace("@", latex(value)) + tail, gold)
    assert not verify(wrapping.replace("@", latex(value + 1)) + tail, latex(value))


# ---- the parts


def test_spelled_numbers():
    for words, number in (("seven", 7), ("seventy-two apples", 72), ("one hundred and five", 105)):
        assert spelled(words) == number
    assert spelled("the total") is None and spelled("") is None and spelled("and one") is None


def test_remarks_leave_formulas_alone():
    for text in (
        "(2) + (2)",
        "2 (x+1)",
        "x, y and z",
        "f(x) = 2x",
        "A(1, 2)",
        "f'",
        "x = 1 or x = 2",
    ):
        assert without_remarks(text) == text
    assert named_value("x = 5", parse) is None  # the grammar has it


def test_thoughts():
    assert without_thoughts("a <think>b</think> c") == "a  c"
    assert without_thoughts("b</think>c") == "c" and without_thoughts("a<think>b") is None
    assert TRUST[0][1](r"\boxed{<answer>}") is None


def test_the_command_line_says_what_is_not_finished(capsys):
    assert main(["The answer is 311*641 which equals ", "199351"]) == 1
    assert "wrong: not finished: 311*641\n" in capsys.readouterr().out


def test_a_row_of_end_tokens_is_read_in_one_way():
    """Were each token matched in two ways, this would take 2 to the 60 tries."""
    assert LAST_TOKENS.search("<|im_end|>" * 60 + "x") is None
    assert LAST_TOKENS.search("43" + "<|im_end|>" * 60).start() == 2
    assert verify("The answer is 43" + "<|im_end|>" * 60, "43")


def test_a_response_of_nothing_but_thoughts_has_no_answer():
    assert without_thoughts("<think>" * 20_000 + "</think>" * 20_000 + "43") is None
    assert without_thoughts("<think>a</think>" * 100 + "43") == "43"
