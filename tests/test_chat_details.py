"""Stop texts, arguments of a chat template, and texts from files."""

import json
import shutil
from dataclasses import asdict

import pytest
import torch
from conftest import ROOT, random_model, train_small
from safetensors.torch import load_file

import data
import evaluate
import graphs
from data import Problem, load_tokenizer, make_prompts, prompt_ids
from plumbing import parallel
from plumbing.command import UserError
from plumbing.config import Config, build, differences, read_config
from plumbing.text_stops import TextStops
from policy import Policy
from rollout import generate, generate_batch

# a vocabulary of 23 pieces, in which a text may lie within one, or in several
PIECES = ["a", "b", "ab", "ba", "\n", "\n\n", ".\n", "c", "cc", "Q:", "Q", ":", " ", "a\nb", "é"]
PIECES += [chr(ord("d") + i) for i in range(23 - len(PIECES))]


class Pieces:
    """What `TextStops` asks of a tokenizer."""

    def decode(self, ids, skip_special_tokens=False, clean_up_tokenization_spaces=True):
        assert skip_special_tokens
        return "".join(PIECES[i] for i in ids)


class Bytes:
    """A token for every byte, so that one character may take several."""

    def decode(self, ids, skip_special_tokens=False, clean_up_tokenization_spaces=True):
        return bytes(ids).decode("utf-8", errors="replace")


def first_end(texts, ids):
    """By the definition: the fewest tokens that hold a text, 0 where none does."""
    for n in range(1, len(ids) + 1):
        if any(text in Pieces().decode(ids[:n], True) for text in texts):
            return n
    return 0


SETS = [["\n\n"], ["Q:"], ["ab", "cc"], ["ba\n"], ["a"], ["bcab"], ["zzz"], ["é"]]


# ---- stop texts


@pytest.mark.parametrize("texts", SETS, ids=str)
def test_the_end_of_a_row_is_the_first_token_that_completes_a_text(texts):
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(23, (40, 30), generator=draw)  # (n, T)
    lengths = torch.randint(1, 31, (40,), generator=draw)
    stops = TextStops(texts, Pieces())
    expected = [
        first_end(texts, row[:n]) for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)
    ]
    assert stops.ends(tokens, lengths).tolist() == expected
    whole = [first_end(texts, row) for row in tokens.tolist()]
    assert (max(whole) > 0) == (texts not in (["zzz"], ["bcab"]))
    # asked after every token, `going` gives up a row exactly when its end has come
    going, given_up = torch.ones(40, dtype=torch.bool), torch.zeros(40, dtype=torch.long)
    for t in range(1, 31):
        now = stops.going(tokens[:, :t], going)
        given_up[going & ~now], going = t, now
    assert given_up.tolist() == whole


def test_a_text_is_found_in_whole_characters_alone():
    """Half of a character says nothing yet; a tokenizer shows it as a replacement character."""
    ids = list("Zoë 数?".encode())
    stops = TextStops(["数"], Bytes())
    assert stops.ends(torch.tensor([ids]), torch.tensor([len(ids)])).tolist() == [8]
    assert stops.read(ids[:8]) == "Zoë "
    assert TextStops(["?"], Bytes()).ends(torch.tensor([ids]), torch.tensor([9])).tolist() == [9]


def test_a_response_is_read_up_to_the_first_of_the_texts():
    ids = [PIECES.index(piece) for piece in ("c", ".\n", "Q:", "a")]
    assert TextStops([], Pieces()).read(ids) == "c.\nQ:a" and not TextStops([], Pieces())
    for texts in (["\n", "Q:"], ["Q:", "\n"]):
        assert TextStops(texts, Pieces()).read(ids) == "c."


def cut_by_hand(free, texts, stop_ids):
    """A group without any stop, cut as the definition says: tokens, lengths, finished."""
    rows = free.tokens[:, free.prompt_len :].tolist()
    lengths, finished = [], []
    for row in rows:
        by_id = next((i + 1 for i, token in enumerate(row) if token in stop_ids), 0)
        ends = [end for end in (by_id, first_end(texts, row)) if end]
        lengths.append(min(ends, default=len(row)))
        finished.append(bool(ends))
    return [row[:n] for row, n in zip(rows, lengths, strict=True)], lengths, finished


@pytest.mark.parametrize("look", [1, 5, 16])
@pytest.mark.parametrize("graph", [False, True], ids=["one by one", "graph"])
@pytest.mark.parametrize("texts", SETS[:6], ids=str)
def test_every_way_of_decoding_ends_rows_alike(monkeypatch, texts, graph, look):
    """A group, a part of it, and many prompts at once, against a group that nothing ends."""
    monkeypatch.setattr(graphs, "LOOK", look)
    monkeypatch.setattr(graphs, "WIDEN", 8)
    model, prompts = random_model(), [[3, 7, 1, 9]] * 3 + [[1, 2], [5, 5, 5]] * 2

    def sampled(sample, what, **how):
        draw = torch.Generator().manual_seed(4)
        return sample(model, *what, max_new_tokens=40, generator=draw, **how)

    stops = {"text_stops": TextStops(texts, Pieces()), "stop_ids": [2], "graph": graph}
    for sample, what in ((generate, ([3, 7, 1, 9], 12)), (generate_batch, (prompts,))):
        free = sampled(sample, what, stop_ids=[])
        group = sampled(sample, what, **stops)
        rows, lengths, finished = cut_by_hand(free, texts, [2])
        assert group.lengths.tolist() == lengths and group.finished.tolist() == finished
        said = group.tokens[:, group.prompt_len :].tolist()
        assert [row[:n] for row, n in zip(said, lengths, strict=True)] == rows
        assert not any(any(row[n:]) for row, n in zip(said, lengths, strict=True))
        for ours, theirs, n in zip(group.logprobs, free.logprobs, lengths, strict=True):
            torch.testing.assert_close(ours[:n], theirs[:n], atol=1e-5, rtol=0)
            assert not ours[n:].any()
    what = ([3, 7, 1, 9], 12)
    parts = [sampled(generate, what, part=p, **stops) for p in (slice(0, 5), slice(5, 12))]
    assert parallel.join(parts).tokens.tolist() == sampled(generate, what, **stops).tokens.tolist()


def test_only_a_stop_token_is_left_out_of_a_response():
    """One that a text ended keeps its last token, a part of which may be said before the text."""
    model = random_model()
    group = generate(
        model, [3, 7], 16, max_new_tokens=30, generator=torch.Generator().manual_seed(1),
        stop_ids=[2, 5], text_stops=TextStops(["\n", "c"], Pieces()),
    )  # fmt: skip
    rows = group.tokens[:, 2:].tolist()
    ends = group.lengths.tolist()
    expected = [r[: n - (r[n - 1] in (2, 5))] for r, n in zip(rows, ends, strict=True)]
    assert group.responses([2, 5]) == expected
    assert 0 < sum(r[n - 1] in (2, 5) for r, n in zip(rows, ends, strict=True)) < 16


TALK = ["steps=6", "eval_every=16", "checkpoint_every=2", "data.heldout_size=6"]
TALK += ["rollout.group_size=4", 'rollout.stop=["#1", ",7"]', "update.lr=0.001"]


def record(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    said = (out / "responses.jsonl").read_text()
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines], said


def test_a_run_with_stop_texts_resumes_exactly(tmp_path, in_the_project):
    assert train_small(tmp_path / "whole", TALK) == 0
    assert train_small(tmp_path / "two", ["steps=4" if k == "steps=6" else k for k in TALK]) == 0
    assert train_small(tmp_path / "two", TALK, resume=["--resume"]) == 0
    lines, said = record(tmp_path / "whole")
    assert record(tmp_path / "two")[1] == said and len(lines) == 6
    weights, others = (
        load_file(tmp_path / n / "model/model.safetensors") for n in ("whole", "two")
    )
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    responses = [json.loads(line) for line in said.splitlines()]
    assert not any(stop in r["text"] for r in responses for stop in ("#1", ",7"))
    assert sum(not r["cut_off"] and "#" not in r["text"] for r in responses) > 4
    assert train_small(tmp_path / "two", [*TALK, "rollout.stop=[]"], resume=["--resume"]) == 2


def test_the_prefill_neither_ends_a_response_nor_is_cut(in_the_project):
    values = {"data": {"prefill": "8+5=13,"}, "rollout": {"stop": [",", "#"]}}
    policy = Policy(build(Config, values))
    problem = Problem("478+365=", "843")
    ((_, text, _),) = policy.greedy([problem], 1)
    assert text.startswith("8+5=13,7+6") and text.count(",") == 1
    attempt = policy.attempt(problem, 8, torch.Generator().manual_seed(0))
    assert attempt.group.finished.all() and {t.count(",") for t in attempt.texts} == {1}


@pytest.mark.parametrize("text", ["<eos>", "7<pad>", "<bos>#"])
def test_a_stop_text_that_is_never_shown_is_refused_and_its_id_is_told(in_the_project, text):
    """Special tokens are left out of what is read, so that such a text would end nothing."""
    number = {"<pad>": 0, "<bos>": 1, "<eos>": 2}[text.strip("7#")]
    with pytest.raises(UserError) as error:
        Policy(build(Config, {"rollout": {"stop": ["7", text]}}))
    assert str(error.value) == (
        f"rollout.stop: {text!r} is never read, as {text.strip('7#')!r} is a special token; give "
        f"its id, {number}, in rollout.stop_ids"
    )


# ---- a chat template's own arguments

# as Qwen3's ends; the second name is one that only some templates ask for
THINKING = (
    "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}="
    "{% if enable_thinking is defined and enable_thinking is false %}#{% endif %}"
    "{{ extra.sums[0] if extra is defined }}{{ bos_token }}{% endif %}"
)


@pytest.fixture
def chatty():
    tokenizer = load_tokenizer(ROOT / "base")
    tokenizer.chat_template = THINKING
    return tokenizer


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "1+1=<bos>"), ({"enable_thinking": True}, "1+1=<bos>"),
        ({"enable_thinking": False}, "1+1=#<bos>"),
        ({"extra": {"sums": ["2", 3]}, "enable_thinking": False}, "1+1=#2<bos>"),
        ({"bos_token": "7"}, "1+1=7"),
    ],
    ids=str,
)  # fmt: skip
def test_arguments_reach_the_template_as_in_transformers(chatty, arguments, text):
    turns, problem = [{"role": "user", "content": "1+1"}], Problem("1+1", "2")
    theirs = chatty.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True, **arguments
    )
    assert data.chat.lay_out(chatty, [turns], arguments=arguments) == [theirs] == [text]
    ids = chatty.encode(text, add_special_tokens=False)
    assert prompt_ids(chatty, "chat", problem, template_args=arguments) == ids
    assert make_prompts(chatty, "chat", [problem], template_args=arguments) == [ids]


def test_an_argument_that_the_template_never_asks_for_is_named(chatty):
    """A slip such as this one would leave the model thinking, and nobody would know."""
    with pytest.raises(UserError) as error:
        prompt_ids(chatty, "chat", Problem("1+1", "2"), template_args={"enable_thinkng": False})
    assert str(error.value).startswith("data.template_args.enable_thinkng: ")
    assert str(error.value).endswith("its chat template never asks for it; leave it out")


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["data.template_args=3"], "data.template_args: must be an object of keys, not 3"),
        (["data.template_args=[]"], "data.template_args: must be an object of keys"),
        (["data.template_args.a=1"], "data.template_args: only the template 'chat' has arguments"),
        (["data.template=chat", "data.template_args.messages=1"], "template_args.messages: is no"),
        (["data.template=chat", 'data.template_args={"a b": 1}'], "template_args.a b: is no name"),
        (["data.template=chat", "data.template_args.a=NaN"], "template_args: must hold finite num"),
        (["data.template=chat", f"data.template_args.a={'x' * 100_001}"], "100,000 are allowed"),
        (["rollout.stop=x"], "rollout.stop: must be a list of texts, not 'x'"),
        (["rollout.stop=[1]"], "rollout.stop: must be a list of texts"),
        (['rollout.stop=[""]'], "rollout.stop: an empty text ends no response"),
        (["data.system=@nowhere.txt"], "data.system: nowhere.txt: cannot be read"),
        (["data.template=@requirements.txt"], "data.template: must hold {problem}"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_is_one_line_that_names_the_key(in_the_project, sets, message):
    with pytest.raises(UserError) as error:
        read_config("small.json", sets)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_arguments_are_set_by_name_or_as_an_object_and_must_be_the_same_on_resume(in_the_project):
    chat = ["data.template=chat"]
    one = read_config("small.json", [*chat, "data.template_args.a=1", "data.template_args.b=false"])
    other = read_config("small.json", [*chat, 'data.template_args={"b": false, "a": 1}'])
    assert one.data.template_args == {"a": 1, "b": False} and one == other
    assert build(Config, json.loads(json.dumps(asdict(one)))) == one
    assert differences(asdict(one), json.loads(json.dumps(asdict(other)))) == []
    plain = asdict(read_config("small.json", chat))
    assert differences(plain, asdict(one)) == [("data.template_args", {}, {"a": 1, "b": False})]
    del plain["data"]["template_args"], plain["rollout"]["stop"]  # a run of before these keys
    assert [k for k, *_ in differences(asdict(one), plain)] == ["data.template_args"]


# ---- texts from files


def test_a_system_line_and_a_template_may_stand_in_a_file(tmp_path, in_the_project):
    """What a run records is the text, so that its folder says all."""
    (tmp_path / "system.txt").write_text("Think.\nThen answer.\r\n\n", encoding="utf-8-sig")
    (tmp_path / "shots.txt").write_text("1+1=2\n{problem}\n")
    sets = ["data.template=chat", f"data.system=@{tmp_path}/system.txt"]
    assert read_config("small.json", sets).data.system == "Think.\nThen answer."
    cfg = read_config("small.json", [f"data.template=@{tmp_path}/shots.txt"])
    assert cfg.data.template == "1+1=2\n{problem}"
    (tmp_path / "shots.txt").write_bytes(b"1+1=2\r\n2+2=4\r\n{problem}\r\n")  # of Windows
    cfg = read_config("small.json", [f"data.template=@{tmp_path}/shots.txt"])
    assert cfg.data.template == "1+1=2\n2+2=4\n{problem}"
    (tmp_path / "system.txt").write_text("\n")
    with pytest.raises(UserError, match=r"data\.system: .*system\.txt: holds no text"):
        read_config("small.json", sets)


# ---- all of it in evaluate.py


@pytest.fixture
def thinker(tmp_path):
    folder = shutil.copytree(ROOT / "base", tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ messages[-1].content }}{{ '9+9=18,' if slow is defined }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def evaluated(out, *words):
    code = evaluate.main(["--data", "arithmetic", "--n", "4", "--out", str(out), *words])
    return code, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_an_evaluation_takes_stops_and_arguments(tmp_path, capsys, thinker, in_the_project):
    words = ["--model", str(thinker), "--template", "chat"]
    code, (head, *plain) = evaluated(tmp_path / "plain", *words)
    assert code == 0 and not {"stop", "stop_ids", "template_args"} & set(head)
    assert all("#" in line["greedy"] for line in plain)
    code, (head, *lines) = evaluated(tmp_path / "stop", *words, "--stop", "#", "=1")
    assert code == 0 and head["stop"] == ["#", "=1"]
    for line, free in zip(lines, plain, strict=True):
        assert line["greedy"] == free["greedy"].partition("#")[0].partition("=1")[0]
    code, (head, *lines) = evaluated(tmp_path / "ids", *words, "--stop_ids", "18", "2")
    assert code == 0 and head["stop_ids"] == [18, 2]
    for line, free in zip(lines, plain, strict=True):
        assert line["greedy"] == free["greedy"].partition("#")[0]
    code, (head, *lines) = evaluated(tmp_path / "args", *words, "--template_args", '{"slow": 1}')
    assert code == 0 and head["template_args"] == {"slow": 1}
    assert all(a["prompt"] != b["prompt"] for a, b in zip(lines, plain, strict=True))
    for more, message in (
        (["--template_args", "[1]"], "'[1]' is no object"),
        (["--template_args", "{"], "'{' is not JSON"),
        (["--stop", ""], "rollout.stop: an empty text"),
        (["--system", "@nowhere"], "--system: nowhere: cannot be read"),
        (["--stop_ids", "99"], "rollout.stop_ids: stop id 99 is outside"),
    ):
        capsys.readouterr()
        code, _ = evaluated(tmp_path / "no", *words, *more)
        assert code == 2 and message in capsys.readouterr().err
