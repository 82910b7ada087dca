"""What the tools measure, where it can be checked by hand; and what they refuse."""

import importlib
import json
import sys
from argparse import Namespace

import pytest
import torch
from conftest import ROOT, random_model

sys.path.append(str(ROOT / "tools"))

import bench
import bench_memory
import gpu
import hack_verifier
import inject_faults
import kill_loop
import parity
import plot_bench

import graphs
from data import task_problems
from grpo import token_logprobs
from model import load
from plumbing.config import Config, RolloutConfig

RESULTS = ROOT / "tools" / "results"


# ---- speed


def test_a_ratio_of_times_is_that_of_the_medians_with_the_extremes_beside_it():
    assert bench.ratio(theirs=[2.0, 4.0, 9.0], ours=[1.0, 2.0, 3.0]) == " 2.00 (2.00-3.00)"


def test_the_floor_is_the_larger_of_two_times():
    model = random_model()
    n, c = sum(p.numel() for p in model.parameters()), model.config
    cache = 2 * 3 * 10 * c.n_layers * c.n_kv_heads * c.head_dim  # keys and values, rows, tokens
    reading = bench.floor(model, 3, 10, {"bandwidth": 1.0, "flops": 1e30})
    assert reading == 4 * (n + cache)
    assert bench.floor(model, 3, 10, {"bandwidth": 1e30, "flops": 1.0}) == 2 * 3 * n


def test_both_sides_sample_and_learn(capsys):
    """On the base model: as many tokens on both sides, and an update that moves the weights."""
    models = bench.both_models("tiny", "cpu", torch.float32)
    cfg = Config(rollout=RolloutConfig(group_size=2, max_new_tokens=3))
    for side in (bench.Ours(models[0], load(ROOT / "base"), cfg, []),
                 bench.Plain(models[1], models[1], cfg, None)):  # fmt: skip
        before = [p.clone() for p in side.trained.parameters()]
        tokens = side.sample([4, 5, 6])
        assert getattr(tokens, "tokens", tokens).shape == (2, 6)
        side.step([4, 5, 6])
        assert any((a != b).any() for a, b in zip(before, side.trained.parameters(), strict=True))
    machine = {"bandwidth": 1e9, "flops": 1e9}
    row = bench.measure(models, 2, 3, Namespace(new=2, repeats=1, device="cpu"), machine)
    bench.show("tiny", row)
    assert "whole step" in capsys.readouterr().out


def test_the_steps_of_the_default_job_are_measured_on_both_sides(monkeypatch, capsys):
    """With the settings of small.json, whatever they are by now, on two of its problems."""
    monkeypatch.setattr(bench, "task_problems", lambda task, n, rng: task_problems(task, 2, rng))
    found = bench.job(Namespace(device="cpu", repeats=1))
    assert set(found) == {"sampling", "step"}
    assert all(min(seconds) > 0 for ways in found.values() for seconds in ways.values())
    assert capsys.readouterr().out.count("default job, ") == 2


def test_the_figure_of_the_speed(tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "bench.png"
    files = [str(RESULTS / "bench.json"), str(RESULTS / "bench-growth.json")]
    assert plot_bench.main([*files, str(out)]) == 0 and out.stat().st_size > 10_000


# ---- memory


def test_the_naive_way_computes_the_same_log_probabilities(tiny):
    tokens = torch.randint(0, 23, (4, 12), generator=torch.Generator().manual_seed(0))
    tokens[:, :5] = tokens[0, :5]
    ours = token_logprobs(tiny, tokens, 5, 0.7)
    assert torch.allclose(bench_memory.naive_logprobs(tiny, tokens, 5, 0.7), ours, atol=1e-5)


def test_an_update_takes_memory_as_predicted_in_kind():
    found = bench_memory.grown("chunks", vocab=50, G=2, L=4)
    assert found["predicted"] > 0 and isinstance(found["grown"], int)


# ---- parity


def test_the_base_model_is_read_as_transformers_reads_it(capsys):
    assert parity.main([str(ROOT / "base"), "--prompts", "2", "--new", "8"]) == 0
    assert "greedy responses alike 2 of 2" in capsys.readouterr().out


# ---- killing


def test_a_run_is_killed_in_time_and_one_that_fails_is_an_error(tmp_path, monkeypatch):
    assert "--resume" not in kill_loop.training(tmp_path, resume=False)
    assert kill_loop.training(tmp_path, resume=True)[-1] == "--resume"
    for code, seconds, finished in (("import time; time.sleep(60)", 0.1, False), ("", None, True)):
        words = [sys.executable, "-S", "-c", code]
        monkeypatch.setattr(kill_loop, "training", lambda out, resume, words=words: words)
        assert kill_loop.finishes(tmp_path / "run", seconds) is finished
    words[-1] = "raise SystemExit('the disk is full')"
    with pytest.raises(kill_loop.UserError, match="run: ended with 1: the disk is full"):
        kill_loop.finishes(tmp_path / "run", None)


def test_the_outcome_of_a_run_has_no_times(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    step = {"step": 1, "chosen": [3], "kind": ["carry"], "rewards": [[1.0]], "solved": [[1.0]],
            "rollouts": 1, "loss": 0.5}  # fmt: skip
    line = json.dumps({**step, "seconds": {"total": 0.1}})
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    assert kill_loop.outcome(tmp_path) == (b"weights", [step])


# ---- bad input

WRONG = [
    ("bench.py --groups 1", "no whole number >= 2"),
    ("bench.py --device nowhere", "device: this machine has no 'nowhere'"),
    ("bench.py --out {tmp}/nowhere/bench.json", "not a file in a folder"),
    ("bench_memory.py --vocab 1", "no whole number >= 2"),
    ("bench_memory.py --out {tmp}/nowhere/memory.json", "not a file in a folder"),
    ("kill_loop.py --kills 0", "no whole number >= 1"),
    ("kill_loop.py --out {tmp}", "exists; remove it"),
    ("parity.py {tmp}/nowhere", "nowhere"),
    ("plot_bench.py {tmp}/none.json {tmp}/none.json {tmp}/bench.png", "none.json: not written by"),
    ("plot_bench.py {tmp}/few.json {tmp}/few.json {tmp}/bench.png", "few.json: not written by"),
    ("plot_bench.py {growth} {growth} {tmp}/bench.png", "that of bench.py --growth second"),
]


@pytest.mark.parametrize(("command", "message"), WRONG, ids=[c for c, _ in WRONG])
def test_what_cannot_be_done_ends_in_one_line(tmp_path, monkeypatch, capsys, command, message):
    (tmp_path / "few.json").write_text(json.dumps({"1+1=": [0.5] * 9}))
    script, *words = command.format(tmp=tmp_path, growth=RESULTS / "bench-growth.json").split()
    if script.startswith("plot"):
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert importlib.import_module(script.removesuffix(".py")).main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]


# ---- the red team


def test_the_red_team_finds_nothing_paid_for_nothing(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert hack_verifier.main(["--steps", "12"]) == 0
    assert "bare        0         96      0" in capsys.readouterr().out


def test_the_red_team_shows_what_a_verifier_pays_for_nothing(tmp_path, capsys, monkeypatch):
    """A verifier that pays for the question again is caught at once."""
    import policy

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(policy, "verify", lambda text, gold: "#" in text)
    out = tmp_path / "paid.jsonl"
    assert hack_verifier.main(["--steps", "3", "--out", str(out)]) == 1
    assert "paid for nothing: " in capsys.readouterr().out
    paid = [json.loads(line) for line in out.read_text().splitlines()]
    assert paid and all(response["solved"] for response in paid)


@pytest.mark.parametrize("text", ["so 199,351", "199{,}351", "199\\\\,351", "=199351."])
def test_digits_are_found_with_and_without_grouping(text):
    assert hack_verifier.holds({"gold": "199351", "text": text})
    assert not hack_verifier.holds({"gold": "199352", "text": text})


# ---- tools/inject_faults.py


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """The tool, a folder with the run that was left alone, and the calls of that run."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("report.draw", lambda out: out / "curve.png")
        yield inject_faults, folder, inject_faults.calls_of(folder / "alone")


def test_every_call_that_changes_the_folder_is_seen(faults):
    _, folder, calls = faults
    assert calls[0] == "make folder" and calls.count("rename") >= 5
    written = [path for path in (folder / "alone").rglob("*") if path.is_file()]
    assert calls.count("open") >= len(written) and calls.count("write") >= len(written) - 1
    assert calls.count("force to disk") > len(written)


@pytest.mark.parametrize("fault", ["half written", "ENOSPC"])
def test_a_call_that_went_wrong_is_made_good(faults, fault):
    tool, folder, calls = faults
    last = len(calls) - calls[::-1].index("write")
    call, end, said = tool.case(folder, last, fault)
    assert (call, end) == ("write", "the same bits"), said


def test_a_run_that_blocks_the_next_is_found(faults, monkeypatch):
    tool, folder, calls = faults
    monkeypatch.setattr(
        "plumbing.setup.is_free", lambda out: {p.name for p in out.iterdir()} == {"lock"}
    )
    call, end, _ = tool.case(folder, calls.index("rename") + 1, "killed")
    assert (call, end) == ("rename", "stuck")


# ---- tools/gpu.py


def test_the_tool_for_gpus_runs_at_toy_sizes(tmp_path, monkeypatch, capsys):
    """So that it is known to work before there is a GPU at hand."""
    monkeypatch.setattr(graphs, "COMPILER", graphs.COMPILER)  # which the tool changes
    graphs.compiled_step.cache_clear()
    out = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--tiny", "--job-seeds", "2", "--out", str(out)]
    assert gpu.main(words) == 0
    graphs.compiled_step.cache_clear()
    found = json.loads(out.read_text())
    assert set(found) == {"machine", *gpu.PARTS}
    same = [row for row in found["agreement"] if "how" in row]
    assert len(same) == 8 and all(row["graph: tokens the same"] for row in same)
    assert all(row["compiled: share of tokens"] > 0.9 for row in same)
    assert sum("growing: share of tokens" in row for row in same) == len(gpu.AGREEMENT)
    gaps = [row for row in found["agreement"] if "sampler_gap" in row]
    assert len(gaps) == 4 and all(row["clip_fraction"] == 0 for row in gaps)
    assert found["agreement"][-1] == {"resumed run bitwise the same": True}
    assert {row["model"] for row in found["decoding"]} == set(bench.SHAPES)
    ours = [row for row in found["decoding"] if "share of the floor" in row]
    assert all(row[f"{way}, ms a token"] > 0 for row in ours for way in ("growing", "compiled"))
    assert len(found["decoding"]) == len(ours) + 2  # of transformers
    updates = [row for row in found["update"] if "transformers, s" not in row]
    assert len(found["update"]) > len(updates) == len(gpu.UPDATES)
    assert all(row["compiled, s"] > 0 for row in updates + found["steps"])
    for row in updates:
        eager = row["eager, gradient norm"]
        assert row["compiled, gradient norm"] == pytest.approx(eager, rel=0.05)
    assert [row["G"] for row in found["group_size"]] == [8, 16, 32, 64, 128]
    assert [row.get("graph", row.get("seed")) for row in found["job"]] == ["off", "on", 0, 1]
    rows = sum(len(found[part]) for part in gpu.PARTS)
    assert capsys.readouterr().out.count("\n") == 2 + rows


def rows_of(monkeypatch, part, *rows):
    """What the tool makes of a part that says this: its exit code."""

    def one_after_the_other(args):
        for row in rows:
            if isinstance(row, Exception):
                raise row
            yield row

    monkeypatch.setattr(gpu, part, one_after_the_other)
    return gpu.main(["--device", "cpu", "--tiny", "--parts", part])


@pytest.mark.parametrize(
    "row",
    [
        {"graph: tokens the same": False},
        {"resumed run bitwise the same": False},
        {"clip_fraction": 0.01},
        RuntimeError("an illegal memory access"),
    ],
    ids=str,
)
def test_what_does_not_agree_or_fails_is_an_exit_code(monkeypatch, capsys, row):
    assert rows_of(monkeypatch, "agreement", {"clip_fraction": 0.0}) == 0
    assert rows_of(monkeypatch, "agreement", {"clip_fraction": 0.0}, row) == 1
    assert rows_of(monkeypatch, "job", row, {"never": "reached"}) == 1
    assert isinstance(row, dict) or "failed RuntimeError: an illegal" in capsys.readouterr().out


def test_no_row_is_begun_when_the_time_is_over(capsys):
    assert gpu.main(["--device", "cpu", "--tiny", "--minutes", "0"]) == 0
    said = capsys.readouterr().out
    assert all(f"{part}: no further row" in said for part in gpu.PARTS)


def test_all_of_a_random_model_is_on_the_device():
    """Also the angles of its positions, which are made on the CPU first."""
    model = gpu.random_model("1.5b", Namespace(device="meta", tiny=True), True)
    assert model.device.type == "meta" and model.compute_dtype == torch.bfloat16
