"""The page of a run: what its folder records, in one file that a browser opens by itself.

Where it stands: below `report.py`, the command.  `read_run` turns a folder into plain numbers and
texts, and `render` puts these into `page.html`, with the style of `page.css` and the script of
`page.js`, which draws everything.

A response may hold anything, also what a browser would run.  Three things keep it a text: it is in
the page as JSON in which "<" is written as \\u003c, the script shows it by `textContent` alone, and
a Content-Security-Policy lets the browser run that one script, known by its hash, and fetch
nothing.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from plumbing import jsonl
from plumbing.command import UserError
from plumbing.config import Advantage
from plumbing.figure import COLOURS
from plumbing.json_files import read_json
from plumbing.record import RESPONSES, is_finite_number, read_steps

MOST_BYTES = 30_000_000  # of responses in a page; of more, groups are left out evenly
BYTES_PER_TOKEN = 12  # about, of its number in the vocabulary and its two measures
PER_NAT = 10_000  # the page holds log-probabilities as whole numbers, which are short
MOST_OFFERS = 60_000  # candidates with their scores; of more, steps are left out evenly
CURVES = (
    "rollouts", "mean_length", "cut_off", "entropy", "kl", "clip_fraction", "sampler_gap",
    "grad_norm", "loss", "accuracy",
)  # fmt: skip
FACTS = {  # of the configuration, by the names that the page gives them
    "model": ("model",), "selector": ("selector", "name"), "M, candidates": ("selector",
    "candidates"), "G, responses": ("rollout", "group_size"), "learning rate": ("update", "lr"),
    "KL penalty": ("update", "kl_coef"), "reward": ("reward",), "seed": ("seed",),
}  # fmt: skip
Advantages = Callable[[Sequence[float], str], Sequence[float]]


def render(runs: list[dict], window: int = 15) -> str:
    """Return the page of some runs, each as `read_run` gives it; it can be written as UTF-8.

    The kinds chosen are counted over so many steps to either side.
    """
    here = Path(__file__).parent
    page, style, script = (
        (here / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    charts = {
        "runs": [{name: run[name] for name in run if name != "responses"} for run in runs],
        "colours": COLOURS, "facts": list(FACTS), "window": window, "per_nat": PER_NAT,
    }  # fmt: skip
    data = {"runs": charts, **{f"responses-{n}": run["responses"] for n, run in enumerate(runs)}}
    title = "Run" + "s" * (len(runs) > 1) + ": " + ", ".join(run["name"] for run in runs)
    parts = {
        "title": html.escape(re.sub("[\ud800-\udfff\0]", "\ufffd", title)), "style": style,
        "script": script,
        "policy": f"default-src 'none'; script-src '{fingerprint(script)}'; style-src "
        f"'{fingerprint(style)}'; base-uri 'none'; form-action 'none'",
        "data": "\n".join(
            f'<script type="application/json" id="{name}">{embedded(value)}</script>'
            for name, value in data.items()
        ),
    }  # fmt: skip
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], page)


def embedded(value: object) -> str:
    """Return JSON that no browser takes for anything else, and that is UTF-8 whatever it holds."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda c: f"\\u{ord(c[0]):04x}", text)


def fingerprint(text: str) -> str:
    """Return what a Content-Security-Policy calls a script or a style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# ----------------------------------------------------------------------------- reading a run


def read_run(folder: Path, advantages: Advantages) -> dict:
    """Return what the page shows of a run, also of one that is still at work.

    `advantages` makes those of a group of its rewards and of the key `update.advantage`.  What an
    older run did not record is None.  `UserError` names the file and line that is damaged.
    """
    steps = read_steps(folder, leave_unfinished=True)
    config = _optional(folder / "config.json")
    summary = _optional(folder / "summary.json")
    update, data = _section(config, "update"), _section(config, "data")
    clip = [update.get("clip_low"), update.get("clip_high")]
    before = before_training(folder, summary)
    curves = {name: [number(step.get(name)) for step in steps] for name in CURVES}
    how = update.get("advantage") if update.get("advantage") in get_args(Advantage) else "std"
    groups = list(groups_of(steps, advantages, how))
    teaches = [[max(r) > min(r) for r in step["rewards"]] for step in steps]
    problems, responses, notes = read_responses(folder, steps, config)
    offers, thinned = read_offers(folder, steps)
    warnings = summary.get("warnings", [])
    return {
        "name": str(folder), "facts": dict(facts(config)), "finished": bool(summary),
        "clip": clip if all(map(is_finite_number, clip)) and clip[0] < 1 else None,
        "mask_truncated": update.get("mask_truncated") is True,
        "prefill": data.get("prefill") if isinstance(data.get("prefill"), str) else "",
        "before": before.get(None), "notes": notes, "thinned": thinned,
        "warnings": [str(each) for each in warnings] if isinstance(warnings, list) else [],
        "curves": {
            "step": [step["step"] for step in steps], **curves,
            "informative": [sum(some) / len(some) for some in teaches],
        },
        "accuracy_by_kind": accuracy_by_kind(steps, before),
        "groups": groups, "offers": offers, "problems": problems, "responses": responses,
    }  # fmt: skip


def _optional(path: Path) -> dict:
    """Return what a JSON file holds, or nothing where there is none."""
    return read_json(path) if path.exists() else {}


def _section(config: dict, name: str) -> dict:
    return config[name] if isinstance(config.get(name), dict) else {}


def facts(config: dict) -> Iterator[tuple[str, str]]:
    """Yield the keys of a configuration that the page names, as far as there are any."""
    for name, path in FACTS.items():
        value: object = config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            yield name, value if isinstance(value, str) else json.dumps(value)


def number(value: object) -> float | None:
    """Return a number with the four digits that a chart can show; None where it is no number."""
    if not is_finite_number(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.4g}")


def before_training(folder: Path, summary: dict) -> dict[str | None, float | None]:
    """Return the accuracy before the first step of all problems, by None, and of each kind.

    It is in the summary of a run that has ended, and in the checkpoints of one that has not.
    """
    accuracy, by_kind = summary.get("accuracy_before"), summary.get("accuracy_by_kind_before")
    if accuracy is None:
        with suppress(UserError, KeyError, TypeError):  # the run may be replacing it just now
            state = read_json(folder / "checkpoint" / "state.json", 10**9)
            before = state["counts"]["record"]["before"]
            accuracy, by_kind = before["accuracy"], before["accuracy_by_kind"]
    kinds = by_kind if isinstance(by_kind, dict) else {}
    return {None: number(accuracy), **{kind: number(value) for kind, value in kinds.items()}}


def accuracy_by_kind(steps: list[dict], before: dict) -> dict[str, list]:
    """Return for each kind its accuracies as [rollouts, accuracy]."""
    found = {kind: [[0, value]] for kind, value in before.items() if kind is not None}
    for step in steps:
        kinds = step.get("accuracy_by_kind")
        for kind, value in kinds.items() if isinstance(kinds, dict) else ():
            found.setdefault(kind, []).append([step["rollouts"], number(value)])
    points = {k: [p for p in some if p[1] is not None] for k, some in sorted(found.items())}
    return {kind: some for kind, some in points.items() if some}


def groups_of(steps: list[dict], advantages: Advantages, how: str) -> Iterator[dict]:
    """Yield every group in the order of the record; `step` counts the lines from 0."""
    for n, step in enumerate(steps):
        names = ("chosen", "kind", "rewards", "solved")
        for problem, kind, rewards, solved in zip(*(step[name] for name in names), strict=True):
            yield {
                "step": n, "problem": problem, "kind": kind, "rewards": list(map(number, rewards)),
                "solved": list(map(number, solved)),
                "advantages": [number(float(a)) for a in advantages(rewards, how)],
            }  # fmt: skip


def read_offers(folder: Path, steps: list[dict]) -> tuple[list, str | None]:
    """Return of each step the candidates with their scores, or None, and what was left out."""
    names = ("candidates", "scores", "volatility", "bonus")
    lists = [[step[name] for name in names if name in step] for step in steps]
    every = max(1, -(-sum(len(some[0]) for some in lists if some) // MOST_OFFERS))
    offers = []
    for n, step in enumerate(steps):
        offer = {name: step[name] for name in names if step.get(name) is not None}
        numbers = [len(v) if _are_numbers(v) else -1 for v in offer.values()]
        if numbers and (min(numbers) < 0 or len(set(numbers)) > 1):
            raise UserError(f"{folder / 'metrics.jsonl'}:{n + 1}: its scores are no lists of one "
                            "length; remove the line")  # fmt: skip
        kept = n % every == 0 and "scores" in offer and "candidates" in offer
        offers.append({k: list(map(number, v)) for k, v in offer.items()} if kept else None)
    thinned = f"The page holds the scores of every {every}th step." if every > 1 else None
    return offers, thinned


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(map(is_finite_number, values))


# ----------------------------------------------------------------------------- its responses


def read_responses(folder: Path, steps: list[dict], config: dict) -> tuple[dict, dict, list[str]]:
    """Return the problems by their index, the responses of each group, and what the page says.

    The problems are [text, right answer].  The responses are the `groups`, in the order of
    `groups_of`, each None where it was not recorded, and the `vocabulary` of the tokens' texts.
    """
    path = folder / RESPONSES
    if not path.exists():
        return {}, {"vocabulary": [], "groups": []}, [
            "Responses were not recorded: the run has no responses.jsonl."
        ]  # fmt: skip
    lines = jsonl.read(path, "a response of a training run", leave_unfinished=True)
    for n, line in enumerate(lines, start=1):
        _check_response(f"{path}:{n}", line)
    of_step: dict[int, list[dict]] = {}
    for line in lines:
        of_step.setdefault(line["step"], []).append(line)
    problems, groups = {}, []
    for step in steps:
        some = of_step.get(step["step"], [])
        sizes = list(map(len, step["rewards"]))
        whole = len(some) == sum(sizes)
        for problem, size in zip(step["chosen"], sizes, strict=True):
            group, some = (some[:size], some[size:]) if whole else (None, some)
            groups.append(group)
            if group:
                problems[problem] = [group[0]["problem"], group[0].get("gold")]
    notes = list(_what_is_missing(groups, config))
    size = sum(len(line["text"]) + BYTES_PER_TOKEN * len(line.get("pieces", ())) for line in lines)
    every = max(1, -(-size // MOST_BYTES))
    if every > 1:
        notes.append(f"The responses take about {size / 1e6:,.0f} MB: the page holds every "
                     f"{every}th group, and {RESPONSES} all of them.")  # fmt: skip
        groups = [group if n % every == 0 else None for n, group in enumerate(groups)]
    words: dict[str, int] = {}
    shown = [group and [_response(line, words) for line in group] for group in groups]
    return problems, {"vocabulary": list(words), "groups": shown}, notes


def _what_is_missing(groups: list[list[dict] | None], config: dict) -> Iterator[str]:
    """Say of which groups nothing, or no single token, was recorded."""
    n_lost = sum(group is None for group in groups)
    if n_lost:
        yield f"The responses of {n_lost:,} of {len(groups):,} groups were not recorded."
    told = [group for group in groups if group]
    n_tokens = sum("pieces" in group[0] for group in told)
    if n_tokens < len(told):
        which = f"of {n_tokens:,} of {len(told):,} groups" if n_tokens else "of no group"
        yield (f"Single tokens, with their log-probabilities and ratios, were recorded {which}: "
               "that takes train.py --report.")  # fmt: skip


def _response(line: dict, words: dict[str, int]) -> dict:
    """Return a response as the page holds it; a token is its place among all `words`."""
    found = {"n": line.get("tokens"), "cut": line.get("cut_off", False)}
    if "answer" in line:
        found["answer"] = line["answer"]
    if "pieces" in line:
        found["pieces"] = [words.setdefault(piece, len(words)) for piece in line["pieces"]]
        for name, short in {"logprobs": "logps", "log_ratios": "ratios"}.items():
            if name in line:
                found[short] = [round(PER_NAT * value) for value in line[name]]
    else:
        found["text"] = line["text"]
    return {name: value for name, value in found.items() if value not in (None, False)
            or name == "answer"}  # fmt: skip


def _check_response(place: str, line: dict) -> None:
    """Raise `UserError` with the place of a line that is no response."""
    pieces = line.get("pieces", [])
    numbers = [line[name] for name in ("logprobs", "log_ratios") if name in line]
    right = (
        type(line.get("step")) is int
        and isinstance(line.get("problem"), str)
        and isinstance(line.get("text"), str)
        and isinstance(line.get("answer"), str | None)
        and isinstance(line.get("gold"), str | None)
        and isinstance(line.get("cut_off", False), bool)
        and isinstance(line.get("tokens", 0), int)
        and isinstance(pieces, list)
        and all(isinstance(piece, str) for piece in pieces)
        and all(_are_numbers(some) and len(some) == len(pieces) for some in numbers)
    )
    if not right:
        raise UserError(f"{place}: not a response of a training run; remove the line")
