"""The page of a run: what is recorded for it, what it holds, and what a browser makes of it."""

import html
import json
import os
import re
import signal
import sys
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import torch
from conftest import ROOT, train_small, write_carries
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

sys.path.append(str(ROOT / "tools"))

import page_time

import report
from grpo import group_advantages, log_ratios
from plumbing import live, page
from plumbing.config import Config, UpdateConfig
from plumbing.live import Live
from plumbing.record import Record
from plumbing.tokenizer import pieces
from rollout import generate

SMALL = ["steps=6", "eval_every=16", "checkpoint_every=2", "data.heldout_size=6"]
SMALL += ["rollout.group_size=4", "data.pool_size=0", "update.lr=0.001"]


# ---- each token of a response


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_the_ratio_of_a_token_is_what_the_model_says_now_over_what_it_said(tiny, micro_batch):
    """By hand: a whole forward pass of each response alone, before and after the weights change."""
    rng = torch.Generator().manual_seed(0)
    group = generate(tiny, [3, 7, 2], 5, max_new_tokens=9, stop_ids=[4], generator=rng)
    cfg = Config(update=UpdateConfig(micro_batch=micro_batch))
    assert all(abs(v) < 1e-4 for row in log_ratios(tiny, group, cfg) for v in row)
    with torch.no_grad():
        next(tiny.parameters()).mul_(1.1)
    found = log_ratios(tiny, group, cfg)
    assert [len(row) for row in found] == group.lengths.tolist()
    for row, ids, n, before in zip(
        found, group.tokens, group.lengths.tolist(), group.logprobs, strict=True
    ):
        ids = ids[: 3 + n]
        logp = tiny(ids[None]).log_softmax(-1)[0, 2:-1].gather(1, ids[3:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(row), logp.detach() - before[:n], atol=1e-4, rtol=0)
    assert max(abs(v) for row in found for v in row) > 0.01


def test_the_pieces_of_a_response_are_its_text(tokenizer):
    ids = tokenizer.encode("1+8=9,2+4=6#69", add_special_tokens=False)
    assert pieces(tokenizer, ids) == list("1+8=9,2+4=6#69")
    assert pieces(tokenizer, [*ids[:1], tokenizer.eos_token_id]) == ["1", tokenizer.eos_token]
    assert pieces(tokenizer, []) == []


def of_bytes(words):
    """A tokenizer of a byte-level vocabulary, as GPT-2 and Qwen have them."""
    vocabulary = {word: n for n, word in enumerate(words)}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


def test_a_letter_of_several_tokens_stands_with_the_last_of_them():
    """The sign for the euro is the bytes E2 82 AC, which GPT-2 writes as the letters â, Ĥ and ¬."""
    tokenizer = of_bytes(["â", "Ĥ", "¬", "Ġa", "b"])
    assert pieces(tokenizer, [4, 0, 1, 2, 3]) == ["b", "", "", "€", " a"]
    assert "".join(pieces(tokenizer, [0, 4, 1, 2, 4])) == tokenizer.decode([0, 4, 1, 2, 4])
    assert pieces(tokenizer, [4, 0]) == ["b", "\ufffd"]  # the response ended within the letter
    babble = [0] * 100
    assert "".join(pieces(tokenizer, babble)) == "\ufffd" * 100


def test_a_space_before_a_word_is_kept():
    """Decoded alone, a token of Llama's kind loses it."""
    made = Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "c": 2}, unk_token="c"))
    made.decoder = decoders.Metaspace()
    assert pieces(PreTrainedTokenizerFast(tokenizer_object=made), [0, 1, 2]) == ["a", " b", "c"]


# ---- a run with --report


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return [*SMALL, f"data.pool={write_carries(tmp_path_factory.mktemp('pool') / 'c.jsonl')}"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, sets):
    """One run without a page, and the same with it."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("report.draw", lambda out: "not drawn")
        assert train_small(folder / "without", sets) == 0
        assert train_small(folder / "with", sets, ["--report"]) == 0
    return folder


def test_a_page_changes_no_bit_of_a_run(runs):
    weights = [load_file(runs / name / "model/model.safetensors") for name in ("without", "with")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    of = {name: [read(runs / name / f"{each}.jsonl") for each in ("metrics", "responses")]
          for name in ("without", "with")}  # fmt: skip
    for step in of["without"][0] + of["with"][0]:
        del step["seconds"]
    for response in of["with"][1]:
        for name in ("pieces", "logprobs", "log_ratios"):
            response.pop(name, None)
    assert of["without"] == of["with"]
    assert not (runs / "without" / "report.html").exists()
    assert json.loads((runs / "with" / "config.json").read_text())["report"] is True


def test_every_token_is_recorded_and_agrees_with_the_record(runs):
    steps, said = (read(runs / "with" / f"{each}.jsonl") for each in ("metrics", "responses"))
    for response in said:
        sampled = response["pieces"]
        end = "" if response["cut_off"] else "<eos>"
        assert "".join(sampled) == response["text"] + end
        assert len(sampled) == len(response["logprobs"]) == response["tokens"]
    moved = 0
    for step in steps:
        mine = [response for response in said if response["step"] == step["step"]]
        logprobs = [v for response in mine for v in response["logprobs"]]
        assert -sum(logprobs) / len(logprobs) == pytest.approx(step["entropy"], abs=1e-4)
        assert all(("log_ratios" in response) == ("grad_norm" in step) for response in mine)
        for response in mine if "grad_norm" in step else ():
            assert len(response["log_ratios"]) == response["tokens"]
            moved += any(response["log_ratios"])
    assert moved, "no update moved a token: the run has changed"


def data_of(out):
    found = page.read_run(out, group_advantages)
    return {name: value for name, value in found.items() if name != "name"}


@pytest.mark.parametrize("n", [2, 3, 5])
def test_killed_and_resumed_the_page_holds_the_same_and_no_group_twice(
    tmp_path, runs, sets, in_the_project, n
):
    """Killed when the responses of step n are on the disk, which is before they are saved."""
    out = tmp_path / "run"
    child = os.fork()
    if child == 0:
        wrote = Record.write_responses

        def fatal(self, step, problem, attempt):
            wrote(self, step, problem, attempt)
            if step.number == n:
                os.kill(os.getpid(), signal.SIGKILL)

        Record.write_responses = fatal
        train_small(out, sets, ["--report"])
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert len(read(out / "responses.jsonl")) == 4 * n
    assert train_small(out, sets, ["--report", "--resume"]) == 0
    assert data_of(out) == data_of(runs / "with")
    assert len(data_of(out)["groups"]) == 6
    shown = (out / "report.html").read_text()
    assert shown.replace(str(out), "") == (runs / "with" / "report.html").read_text().replace(
        str(runs / "with"), ""
    )


def test_a_run_may_go_on_with_a_page_or_without(tmp_path, sets, in_the_project):
    """What was not recorded is said in one sentence."""
    out = tmp_path / "run"
    assert train_small(out, [*sets, "steps=2", "update.decay=false"]) == 0
    assert train_small(out, [*sets, "update.decay=false"], ["--report", "--resume"]) == 0
    found = data_of(out)
    assert any("recorded of 4 of 6 groups" in note for note in found["notes"])
    told = ["pieces" in group[0] for group in found["responses"]["groups"]]
    assert told == [False] * 2 + [True] * 4


def test_the_page_is_there_while_the_run_trains(tmp_path, sets, in_the_project, monkeypatch):
    """At evaluations, whole, with the steps up to then and the accuracy before the first."""
    seen, genuine = [], report.write_page

    def write(runs, *rest):
        path = genuine(runs, *rest)
        seen.append(((runs[0] / "summary.json").exists(), data_of(runs[0])))
        return path

    monkeypatch.setattr(report, "write_page", write)
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr(live, "SHARE", 1e9)
    assert train_small(tmp_path / "run", sets, ["--report"]) == 0
    assert [(ended, len(data["curves"]["step"])) for ended, data in seen] == [
        (False, 4), (False, 6), (True, 6)
    ]  # fmt: skip
    for ended, data in seen:
        assert data["before"] == seen[-1][1]["before"] is not None
        assert data["finished"] == ended and data["accuracy_by_kind"]


def test_pages_are_seldom_and_one_that_fails_ends_no_run(monkeypatch, capsys):
    now, written = [100.0], []

    def slow():
        written.append(now[0])
        now[0] += 2.0
        if len(written) == 2:
            raise OSError(28, "No space left on device", "report.html")

    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    made = Live(None, None, slow)
    for _ in range(200):
        now[0] += 1.0
        made.refresh()
    assert written[0] >= 105 and "report.html: No space left" in capsys.readouterr().err
    # a page that takes two seconds has a twentieth of the time
    assert all(b - a >= 42 for a, b in pairwise(written))
    assert len(written) == 5


# ---- what the page holds

RESPONSE = {"step": 1, "problem": "1+1=", "gold": "2", "text": "1+1=2#2", "answer": "2",
            "solved": 1.0, "reward": 1.0, "tokens": 8, "cut_off": False}  # fmt: skip


def steps_of(n, **more):
    return [
        {"step": k, "candidates": [3, 5], "scores": [0.25 * k, 1.0], "volatility": [0.25 * k, 0.5],
         "bonus": [0.0, 0.5], "chosen": [3 if k % 2 else 5], "kind": ["a" if k % 2 else "b"],
         "rewards": [[1.0, 0.0, 0.0, 0.0] if k % 2 else [0.0] * 4],
         "solved": [[1.0, 0.0, 0.0, 0.0] if k % 2 else [0.0] * 4], "rollouts": 4 * k,
         "entropy": 0.123456, **more}
        for k in range(1, n + 1)
    ]  # fmt: skip


def responses_of(n, **more):
    return [{**RESPONSE, "step": k, "problem": f"problem {k}", "text": f"said {k}, {g}", **more}
            for k in range(1, n + 1) for g in range(4)]  # fmt: skip


def write_run(folder, steps, responses=None, **files):
    folder.mkdir(exist_ok=True)
    for name, lines in (("metrics", steps), ("responses", responses)):
        if lines is not None:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / f"{name}.jsonl").write_text(text)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_the_page_holds_what_the_record_says(tmp_path):
    steps = steps_of(2)
    steps[1] |= {"accuracy": 0.5, "accuracy_by_kind": {"a": 0.25}}
    config = {"update": {"advantage": "none", "clip_low": 0.2, "clip_high": 0.28}, "seed": 7,
              "selector": {"name": "dopr"}, "data": {"prefill": "So: "}}  # fmt: skip
    summary = {
        "accuracy_before": 0.2,
        "accuracy_by_kind_before": {"a": 0.0},
        "warnings": ["beware"],
    }
    told = responses_of(2)
    told[0] |= {"pieces": ["x", "y", "x"], "logprobs": [-0.5, 0, -2], "log_ratios": [0.1, 0, -1]}
    run = write_run(tmp_path / "run", steps, told, config=config, summary=summary)
    found = page.read_run(run, group_advantages)
    assert found["facts"] == {"selector": "dopr", "seed": "7"}
    assert (found["before"], found["finished"], found["clip"]) == (0.2, True, [0.2, 0.28])
    assert found["prefill"] == "So: " and found["warnings"] == ["beware"]
    assert found["curves"]["step"] == [1, 2] and found["curves"]["entropy"] == [0.1235, 0.1235]
    assert found["curves"]["accuracy"] == [None, 0.5] and found["curves"]["kl"] == [None, None]
    assert found["curves"]["informative"] == [1.0, 0.0]
    assert found["accuracy_by_kind"] == {"a": [[0, 0.0], [8, 0.25]]}
    assert [g["advantages"] for g in found["groups"]] == [[0.75, -0.25, -0.25, -0.25], [0.0] * 4]
    config["update"]["advantage"] = "rloo"  # 1 - 0, and 0 - 1/3
    (run / "config.json").write_text(json.dumps(config))
    again = page.read_run(run, group_advantages)["groups"][0]["advantages"]
    assert again == [1.0, -0.3333, -0.3333, -0.3333]
    assert [(g["step"], g["problem"], g["kind"]) for g in found["groups"]] == [
        (0, 3, "a"), (1, 5, "b")
    ]  # fmt: skip
    assert found["offers"][1] == {"candidates": [3, 5], "scores": [0.5, 1.0],
                                  "volatility": [0.5, 0.5], "bonus": [0.0, 0.5]}  # fmt: skip
    assert found["problems"] == {3: ["problem 1", "2"], 5: ["problem 2", "2"]}
    assert found["responses"]["vocabulary"] == ["x", "y"]
    one, two = found["responses"]["groups"][0][:2]
    assert one == {"n": 8, "answer": "2", "pieces": [0, 1, 0], "logps": [-5000, 0, -20000],
                   "ratios": [1000, 0, -10000]}  # fmt: skip
    assert two == {"n": 8, "answer": "2", "text": "said 1, 1"}


def test_several_groups_of_a_step_have_their_own_responses(tmp_path):
    steps = steps_of(2, chosen=[3, 5], kind=["a", "b"], rewards=[[1.0, 0.0], [0.0, 0.0]],
                     solved=[[1.0, 0.0], [0.0, 0.0]])  # fmt: skip
    told = responses_of(2)
    for line in told:
        line["problem"] = "three" if int(line["text"][-1]) < 2 else "five"
    found = page.read_run(write_run(tmp_path / "run", steps, told), group_advantages)
    assert found["problems"] == {3: ["three", "2"], 5: ["five", "2"]}
    assert [g[0]["text"] for g in found["responses"]["groups"]] == [
        "said 1, 0", "said 1, 2", "said 2, 0", "said 2, 2"
    ]  # fmt: skip


def test_a_run_that_recorded_less_has_a_page_that_says_so(tmp_path, capsys):
    steps = [{name: step[name] for name in ("step", "chosen", "kind", "rewards", "solved",
                                            "rollouts")} for step in steps_of(3)]  # fmt: skip
    run = write_run(tmp_path / "old", steps)
    found = page.read_run(run, group_advantages)
    assert found["offers"] == [None] * 3 and found["facts"] == {} and found["before"] is None
    assert found["responses"]["groups"] == [] and "no responses.jsonl" in found["notes"][0]
    assert report.main([str(run)]) == 0
    assert "still at work, or stopped" in capsys.readouterr().out
    assert (run / "report.html").stat().st_size > 10_000
    told = [{name: line[name] for name in ("step", "problem", "text")} for line in responses_of(2)]
    found = page.read_run(write_run(tmp_path / "bare", steps, told), group_advantages)
    assert found["responses"]["groups"][0][0] == {"text": "said 1, 0"}
    assert found["responses"]["groups"][2] is None
    assert found["notes"][0] == "The responses of 1 of 3 groups were not recorded."


def test_the_last_line_of_a_run_that_is_writing_is_left_out(tmp_path):
    run = write_run(tmp_path / "run", steps_of(3), responses_of(3))
    for name in ("metrics", "responses"):
        file = run / f"{name}.jsonl"
        file.write_text(file.read_text()[:-30])
    found = page.read_run(run, group_advantages)
    assert found["curves"]["step"] == [1, 2] and len(found["responses"]["groups"]) == 2


WRONG = [
    *({**RESPONSE, **changes} for changes in (
        {"step": "1"}, {"step": None}, {"problem": 1}, {"text": None}, {"answer": 2}, {"gold": []},
        {"cut_off": "no"}, {"tokens": "8"}, {"pieces": "ab"}, {"pieces": [1]},
        {"pieces": ["a"], "logprobs": [1, 2]}, {"pieces": ["a"], "logprobs": ["1"]},
        {"pieces": ["a"], "log_ratios": [float("nan")]}, {"logprobs": [1]},
    )), [], 3, {}, {"step": 1},
]  # fmt: skip


@pytest.mark.parametrize("line", WRONG, ids=lambda line: json.dumps(line)[-40:])
def test_a_damaged_response_names_file_and_line(tmp_path, capsys, line):
    run = write_run(tmp_path / "run", steps_of(1), [*responses_of(1), line, *responses_of(1)])
    assert report.main([str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "responses.jsonl:5: not a response" in said
    assert "remove the line" in said and not (run / "report.html").exists()


@pytest.mark.parametrize("damage", [
    {"scores": [1]}, {"bonus": "x"}, {"candidates": ["a", "b"]}, {"volatility": [None, 1]},
    {"chosen": ["x"]}, {"chosen": [{}]},
])  # fmt: skip
def test_damaged_scores_name_file_and_line(tmp_path, capsys, damage):
    steps = steps_of(3)
    steps[1] |= damage
    assert report.main([str(write_run(tmp_path / "run", steps))]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "metrics.jsonl:2: " in said
    assert "its scores are no lists" in said or "not a line of a training run" in said


@pytest.mark.parametrize("content", ["", "[]", "{", '{"update": 3, "data": [], "selector": "x"}'])
def test_a_config_is_an_object_or_named(tmp_path, capsys, content):
    run = write_run(tmp_path / "run", steps_of(1))
    (run / "config.json").write_text(content)
    code = report.main([str(run)])
    said = capsys.readouterr().err
    assert code == (2 if len(content) < 3 else 0) and said.count("\n") == (code > 0)
    assert code == 0 or "config.json" in said


def test_of_too_much_the_page_holds_an_even_part(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_BYTES", 4 * 9 * 2)  # two groups of four texts of nine letters
    monkeypatch.setattr(page, "MOST_OFFERS", 3)
    run = write_run(tmp_path / "run", steps_of(6), responses_of(6))
    found = page.read_run(run, group_advantages)
    assert [group is not None for group in found["responses"]["groups"]] == [True, False, False] * 2
    assert any("every 3th group" in note for note in found["notes"])
    offers = [offer is not None for offer in found["offers"]]
    assert offers == [True, False, False, False, True, False]
    assert "every 4th step" in found["thinned"] and len(found["groups"]) == 6


def test_the_page_of_1480_rollouts_has_less_than_3_mb(tmp_path):
    """185 steps of 32 candidates, and 8 responses of 23 tokens each, as the default job has."""
    steps = [
        {**step, "chosen": [n % 80], "candidates": list(range(32)), "kind": ["a"],
         **{name: [(n + k) / 7 for k in range(32)] for name in ("scores", "volatility", "bonus")},
         "rewards": [[1.0, 0.0] * 4], "solved": [[1.0, 0.0] * 4]}
        for n, step in enumerate(steps_of(185))
    ]  # fmt: skip
    tokens = {"pieces": list("0123456789+-*=,#0123456"), "logprobs": [-1 / 7] * 23,
              "log_ratios": [1 / 7] * 23}  # fmt: skip
    told = [{**RESPONSE, **tokens, "step": 1 + n // 8} for n in range(1480)]
    path = report.write_page([write_run(tmp_path / "run", steps, told)])
    assert 500_000 < path.stat().st_size < 3_000_000


# ---- hostile texts

OWN = "document.title='owned';document.body.dataset.owned='1'"
HOSTILE = [
    f"</script><script>{OWN}</script>", f"<img src=x onerror=\"{OWN}\">", f"<svg onload=\"{OWN}\">",
    f"<!--<script>{OWN}//", "]]>", f"javascript:{OWN}", "\" onmouseover=\"x", "'`${1}`",
    "&lt;b&gt;",
    "\u2028\u2029", "\ud800", "\udfff\ud800", "\0\x01\x1b[31m", "\u202e", "{{data}} {{script}}",
    "\\u003cscript>", f"<iframe srcdoc=\"<script>parent.{OWN}</script>\">", "<base href=//x>",
    f"<style>body{{display:none}}</style><a href=\"javascript:{OWN}\">", "constructor", "__proto__",
]  # fmt: skip


class Scripts(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.bodies = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.cdata_elem == "script":  # the parser is within one
            self.bodies.append(data)


def hostile_run(folder):
    steps = steps_of(len(HOSTILE), accuracy_by_kind={HOSTILE[0]: 0.5})
    for n, (step, text) in enumerate(zip(steps, HOSTILE, strict=True)):
        step |= {"kind": [text], "chosen": [n]}
    told = [
        {**RESPONSE, "step": n, "problem": text, "gold": text, "text": text, "answer": text,
         **({"pieces": [text, text], "logprobs": [-1, -1], "log_ratios": [0.1, -0.1]}
            if g == 0 else {})}
        for n, text in enumerate(HOSTILE, 1) for g in range(4)
    ]  # fmt: skip
    config = {"data": {"prefill": HOSTILE[0] + "{problem}"}, "reward": HOSTILE[1]}
    return write_run(folder, steps, told, config=config, summary={"warnings": HOSTILE})


def test_hostile_texts_are_in_the_page_as_json_alone(tmp_path):
    run = hostile_run(tmp_path / "<script>alert(1)<")
    page_ = page.render([page.read_run(run, group_advantages)])
    assert page_.encode()  # also what is no Unicode can be written
    scripts = Scripts(page_)
    assert [a.get("id") for tag, a in scripts.tags if tag == "script"] == [
        "runs", "responses-0", None
    ]  # fmt: skip
    assert {tag for tag, _ in scripts.tags}.isdisjoint({"img", "iframe", "base", "svg"})
    held = json.loads(scripts.bodies[1])
    assert [group[1]["text"] for group in held["groups"]] == HOSTILE
    assert [held["vocabulary"][group[0]["pieces"][0]] for group in held["groups"]] == HOSTILE
    policy = next(a["content"] for tag, a in scripts.tags if a.get("http-equiv"))
    script = page.fingerprint((ROOT / "plumbing" / "page.js").read_text())
    assert policy.startswith(f"default-src 'none'; script-src '{script}';")
    assert "unsafe" not in policy and "//" not in policy.replace(script, "")


def test_the_page_fetches_nothing():
    for kind in ("html", "css", "js"):
        text = (ROOT / "plumbing" / f"page.{kind}").read_text()
        urls = set(re.findall(r"\w+://[\w./]+", text))
        assert urls <= {"http://www.w3.org/2000/svg"}, urls  # the name of SVG, not an address
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "eval(",
            "document.write",
            "fetch(",
        ):
            assert word not in text


# ---- where it is written


def test_the_page_takes_the_place_of_a_link_and_is_not_written_through_it(tmp_path):
    run = write_run(tmp_path / "run", steps_of(2))
    (tmp_path / "kept").write_text("kept")
    (run / "report.html").symlink_to(tmp_path / "kept")
    assert report.main([str(run)]) == 0
    assert (tmp_path / "kept").read_text() == "kept" and not (run / "report.html").is_symlink()
    assert {path.name for path in run.iterdir()} == {"metrics.jsonl", "report.html"}


def test_several_runs_have_one_page_where_it_was_asked_for(tmp_path, monkeypatch, capsys):
    runs = [str(write_run(tmp_path / name, steps_of(2))) for name in "ab"]
    monkeypatch.chdir(tmp_path)
    assert report.main(runs) == 0 and (tmp_path / "report.html").exists()
    assert report.main([*runs, "--page", "other.html"]) == 0
    assert (tmp_path / "other.html").read_text() == (tmp_path / "report.html").read_text()
    assert not (tmp_path / "a" / "report.html").exists()
    assert report.main([*runs, "--page", "nowhere/x.html"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---- in a browser

NEEDS_BROWSER = pytest.mark.skipif(not page_time.browser(), reason="needs Chromium")


def seen(run, tmp_path, script="", fragment="", policy=True):
    """What a browser makes of the page of a run, after a script of the test's within it."""
    text = page.render([page.read_run(each, group_advantages) for each in run])
    text = page_time.with_script(text, script)
    if not policy:
        text, n = re.subn(r"<meta http-equiv[^>]*>", "", text)
        assert n == 1
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    return page_time.dump(tmp_path / "page.html", fragment)


def part(document, id_):
    """The text within the element of an id, in which each element within ends in a bar."""
    inner = re.search(rf'<(\w+)[^>]* id="{id_}"[^>]*>(.*?)</\1>', document, re.S)[2]
    return html.unescape(re.sub(r"<[^>]*>", "|", inner))


@NEEDS_BROWSER
def test_clicking_a_step_shows_its_group(tmp_path):
    script = """
    const shown = (id) => document.getElementById(id).textContent;
    const before = [shown("where"), shown("responses")];
    const dots = [...document.querySelectorAll("#curriculum circle")];
    const dot = dots.find((dot) => dot.textContent.startsWith("step 3:"));
    const box = dot.getBoundingClientRect();
    const place = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
    dot.dispatchEvent(new MouseEvent("click", { ...place, bubbles: true }));
    document.getElementById("facts").textContent = before.join(" ");
    """
    document = seen([write_run(tmp_path / "run", steps_of(4), responses_of(4))], tmp_path, script)
    before = part(document, "facts")
    assert before.startswith("step 1 of 4") and "said 1, 3" in before and "said 3" not in before
    assert part(document, "where") == "step 3 of 4"
    assert part(document, "problem").startswith("problem 3")
    shown = part(document, "responses")
    assert re.findall(r"said \d, \d", shown) == [f"said 3, {g}" for g in range(4)]
    assert "A = +1.73" in shown and "A = −0.577" in shown


@NEEDS_BROWSER
def test_an_address_and_the_arrow_keys_lead_to_steps(tmp_path):
    """The steps of odd numbers are informative."""
    script = """
    const press = (key, shiftKey) => {
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
      found.push(document.getElementById("where").textContent.split(" ")[1]);
    };
    const found = [document.getElementById("where").textContent.split(" ")[1]];
    press("ArrowRight", false);
    press("ArrowRight", false);
    press("ArrowRight", true);
    press("ArrowRight", false);
    press("ArrowLeft", false);
    press("ArrowLeft", true);
    document.getElementById("facts").textContent = found.join(" ") + location.hash;
    """
    run = [write_run(tmp_path / "run", steps_of(5), responses_of(5))]
    document = seen(run, tmp_path, script, "#step=2")
    assert part(document, "facts") == "2 3 4 5 5 4 3#step=3"


@NEEDS_BROWSER
@pytest.mark.parametrize("policy", [True, False], ids=["with the policy", "without the policy"])
def test_hostile_texts_run_nothing_and_show_as_text(tmp_path, policy):
    """Also where a browser knows no Content-Security-Policy, a text is no more than text."""
    script = """
    const found = [];
    for (let step = 0; step < RUNS[0].n; step++) {
      open(0, step);
      found.push(...[...document.querySelectorAll(".said")].map((p) => p.textContent));
      document.querySelectorAll(".said .t").forEach((t) => t.click());
    }
    document.querySelectorAll("#problems button").forEach((button) => button.click());
    const safe = (c) => "\\\\u00" + c.charCodeAt().toString(16);
    document.getElementById("facts").textContent = JSON.stringify(found).replace(/[<>&]/g, safe);
    """
    run = [hostile_run(tmp_path / "run")]
    document = seen(run, tmp_path, script, policy=policy)
    assert "<title>Run: " in document and "data-owned" not in document.partition("<body")[2][:300]
    assert not re.search(r"<(img|iframe|base)\b", document)
    shown = json.loads(part(document, "facts"))
    assert len(shown) == 4 * len(HOSTILE)

    def visible(text):
        return re.sub(
            "[\0-\x08\x0b-\x1f\u2028\u2029\u202e\ud800-\udfff]",
            lambda c: f"⟨U+{ord(c[0]):04X}⟩", text,
        )  # fmt: skip

    for n, text in enumerate(HOSTILE):
        assert shown[4 * n + 1] == visible(text)
        assert shown[4 * n] == visible(HOSTILE[0] + text + text + text)  # with the prefill


@NEEDS_BROWSER
def test_tokens_are_coloured_by_what_is_asked_for(tmp_path, runs):
    """By advantage, ratio or surprise; and a token that is pointed at says its numbers."""
    script = """
    const colours = (by) => {
      document.querySelector(`input[value=${by}]`).click();
      const tokens = [...document.querySelectorAll(".said .t")];
      return new Set(tokens.map((token) => token.style.backgroundColor)).size;
    };
    const counts = ["none", "advantage", "ratio", "surprise"].map(colours);
    const token = document.querySelector(".said .t");
    token.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
    document.getElementById("facts").textContent = counts.join(" ");
    """
    document = seen([runs / "with"], tmp_path, script)
    none, advantage, ratio, surprise = map(int, part(document, "facts").split())
    assert none == 1 and advantage == 2 and ratio > 2 and surprise > 2
    assert re.search(
        r"response 1, token 1 of \d+: “.”.* log p .*log ρ .*A = ", part(document, "token")
    )


@NEEDS_BROWSER
def test_runs_stand_side_by_side_and_old_ones_are_drawn(tmp_path, runs):
    steps = [{name: step[name] for name in ("step", "chosen", "kind", "rewards", "solved",
                                            "rollouts")} for step in steps_of(3)]  # fmt: skip
    old = write_run(tmp_path / "old", steps)
    document = seen([runs / "with", old], tmp_path, fragment="#run=2&step=3")
    assert part(document, "where") == "step 3 of 3" and "problem 3" in part(document, "problems")
    for place, n in (("accuracy", 3), ("curriculum", 4), ("curves", 9), ("choice", 2)):
        inside = document.partition(f'id="{place}"')[2].partition("</section>")[0]
        charts = re.findall(r"<figcaption>([^<]+)</figcaption>", inside)
        assert len(charts) == n, (place, charts)
    drawn = re.findall(r'<svg [^>]*role="img".*?</svg>', document, re.S)
    assert drawn and all(svg.count('class="axis"') == 2 for svg in drawn)  # both axes are named
    assert "not recorded" in document and "NaN" not in "".join(drawn)
