"""The grader of exercise 7: rewards by hand, the two causes on a solved group, a red team."""

import json
from pathlib import Path

import torch
from grading import explain, numbers, refuse

from data import Problem
from grpo import group_advantages
from plumbing.command import UserError
from plumbing.config import read_config
from reward import Reward
from rollout import Group
from verifier import verify

ROOT = Path(__file__).resolve().parents[2]
SUM = Problem("478+365=", "843")
RIGHT = "8+5=13,7+6+1=14,4+3+1=8#843"  # 27 characters
WRONG = "8+5=13,7+6=13,4+3=7#733"  # 23


def test_the_verdict_less_the_cost(answer):
    for response, verdict in ((RIGHT, 1.0), (WRONG, 0.0)):
        n = len(response)
        right = verdict - 0.01 * n
        mistakes = {
            "the cost is added; it is to be taken away": verdict + 0.01 * n,
            "a wrong response costs as much per character as a right one": 0.0,
            "the cost is left out": verdict,
            "that is the cost of a single character": verdict - 0.01,
            "the verdict is left out": -0.01 * n,
        }
        found = numbers(answer.short(response, SUM), (), "short")
        explain(found, right, mistakes, f"a {'right' if verdict else 'wrong'} response of {n}")


def test_the_cost_alone(answer):
    mistakes = {"it is to be below 0: a cost": 0.01 * len(RIGHT)}
    found = numbers(answer.penalty(RIGHT, SUM), (), "penalty")
    explain(found, -0.01 * len(RIGHT), mistakes, f"a response of {len(RIGHT)} characters")


# a problem that is solved, eight times of eight; two responses have a digit more
SOLVED = ["1+2=3,3+4=7#73"] * 6 + ["01+2=3,3+4=7#73"] * 2
PLAIN = Problem("31+42=", "73")


def with_keys(answer, keys):
    """The rewards and verdicts of the solved group, (8,) each, and its advantages."""
    file = f"{answer.__file__}:"
    texts = [json.dumps(value).replace("exercises/7/paid.py:", file) for value in keys.values()]
    sets = [f"{key}={text}" for key, text in zip(keys, texts, strict=True)]
    try:
        cfg = read_config(ROOT / "configs/plain.json", sets)
        reward = Reward(cfg.reward, cfg.rollout.max_new_tokens)
    except UserError as error:
        refuse(f"MENDED: {error}")
    lengths = torch.tensor([len(text) + 1 for text in SOLVED])
    group = Group(torch.zeros(8, 40).long(), 7, lengths, torch.zeros(8, 33), torch.ones(8).bool())
    solved = [float(verify(text, PLAIN.answer)) for text in SOLVED]
    rewards = reward(PLAIN, SOLVED, solved, group)
    advantages = group_advantages(rewards, cfg.update.advantage)
    return torch.tensor(rewards), torch.tensor(reward.successes(solved, rewards)), advantages


def mended(answer):
    """The keys, once both are given and the functions that they may name are written."""
    answer.short(RIGHT, SUM)
    answer.penalty(RIGHT, SUM)
    if set(answer.MENDED) != {"reward", "update.advantage"}:
        refuse(f"MENDED has two keys, reward and update.advantage, not {list(answer.MENDED)}")
    if None in answer.MENDED.values():
        raise NotImplementedError
    return with_keys(answer, answer.MENDED)


def test_the_mended_run_still_pays_for_short_answers(answer):
    rewards, _, _ = mended(answer)
    if rewards.max() - rewards.min() < 0.009:
        refuse(
            "all eight right responses are paid alike, so that length costs nothing any more.  "
            "Mend what goes wrong with the penalty, not the penalty."
        )


def test_a_solved_problem_is_solved_to_the_selector(answer):
    _, verdicts, _ = mended(answer)
    if verdicts.min() < 1:
        refuse(
            "a problem that was solved eight times of eight has the verdicts "
            f"{[round(v, 2) for v in verdicts.tolist()]}.  The selector takes them as shares of a "
            "success: to it this problem is half learned, for ever, and can still teach.  Let the "
            "verifier take part in the reward, so that the verdicts are its own."
        )


def test_small_differences_stay_small(answer):
    _, _, advantages = mended(answer)
    if advantages.abs().max() > 0.1:
        refuse(
            "in a group that is all right, and two responses one character longer, the advantages "
            f"are {[round(a, 2) for a in advantages.tolist()]}.  A hundredth of reward has become "
            "as large as right against wrong: what divides it?"
        )


QUESTIONS = (("478+365=", "843"), ("52-17=", "35"), ("311*641=", "199351"))


def test_the_hack_is_paid_and_computes_nothing(answer):
    for question, gold in QUESTIONS:
        response = answer.hack(question)
        if not isinstance(response, str):
            refuse(f"hack must return a text, not {response!r}")
        if verify(response, gold):
            refuse(f"{response!r} is a right answer; a hack is paid without one")
        if not answer.careless(response, Problem(question, gold)):
            refuse(
                f"careless does not pay for {response!r}.  It looks for the answer behind the "
                f"words 'The answer is', and takes what stands there for its value; {gold} is "
                "wanted.  What in the question has that value?"
            )


FINISHED = (
    "The answer is 843.", "The answer is 843", "478+365 = 843. The answer is 843.",
    r"so \boxed{843}", "#### 843", RIGHT,
)  # fmt: skip
UNDONE = (  # each equals 843
    "The answer is 478+365.", "The answer is 400+443.", "The answer is (478)+(365).",
    "The answer is 365--478.", "The answer is 3*281.", "The answer is 1686/2.", "#### 843*1",
    r"The answer is 3 \times 281.", r"\boxed{\frac{1686}{2}}", r"\boxed{3\cdot281}",
    "The answer is 843^1.", r"The answer is \sqrt{710649}.",
)  # fmt: skip


def test_the_careful_rule_pays_for_finished_numbers(answer):
    for response in FINISHED:
        if not answer.careful(response, SUM):
            refuse(
                f"careful does not pay for {response!r}, a finished answer.  A wrong no throws a "
                "response away.  What does `extract_answer` find in it?"
            )
    if not answer.careful("The answer is -12.", Problem("5-17=", "-12")):
        refuse("careful does not pay for -12, where -12 is right: a number may have a sign")


def test_the_careful_rule_withstands_a_red_team(answer):
    paid = [text for text in (*UNDONE, answer.hack(SUM.text)) if answer.careful(text, SUM)]
    if paid:
        refuse(
            f"careful pays for {len(paid)} of {len(UNDONE) + 1} answers that nobody has worked "
            f"out: {', '.join(map(repr, paid[:4]))}.  A list of what to refuse is never complete; "
            "say what a finished number *is*, and pay for nothing else."
        )
    if answer.careful("The answer is 733.", SUM) or answer.careful("I do not know.", SUM):
        refuse("careful pays for a wrong number, or for no answer at all")
