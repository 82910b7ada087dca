"""Whatever is put in: one line that names file, place and remedy, exit 2, nothing lost or run."""

import copy
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import warnings

import pytest
from conftest import ROOT, random_model
from safetensors.torch import load_file, save_file

import evaluate
import train
from plumbing.command import UserError
from plumbing.config import Config, build, read_config

SMALL = json.loads((ROOT / "small.json").read_text())


@pytest.fixture(autouse=True)
def from_the_project_folder(monkeypatch):
    monkeypatch.chdir(ROOT)


def refused(capsys, out, arguments) -> str:
    """The error line of a command that must end with 2 and leave nothing behind."""
    assert train.main([*arguments, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert not out.exists()
    return error


# ---- files of problems

DATA = [
    (b"", "p.jsonl: holds no problems"),
    (b"\n\n", "p.jsonl: holds no problems"),
    (b"{", "p.jsonl:1: not JSON"),
    (b'{"problem": "1+1=", "answer": "2"}\n[1]', "p.jsonl:2: not a JSON object"),
    (b'{"problem": "1+1="}', "p.jsonl:1: 'answer' must be"),
    (b'{"answer": "2"}', "p.jsonl:1: 'problem' must be"),
    (b'{"problem": "", "answer": "2"}', "p.jsonl:1: 'problem' must be"),
    (b'{"problem": 5, "answer": "2"}', "p.jsonl:1: 'problem' must be"),
    (b'{"problem": "1+1=", "answer": []}', "p.jsonl:1: 'answer' must be"),
    (b'{"problem": "1+1=", "answer": "####"}', "p.jsonl:1: 'answer' holds nothing"),
    (b'{"problem": "1+1=", "answer": "2", "kind": {"a": 1}}', "p.jsonl:1: 'kind' must be"),
    (b"\xff\xfe\x00", "p.jsonl: cannot be read"),
    (b'{"problem": "what?", "answer": "2"}', "cannot encode 'what?'"),
    (b"[" * 100_000, "p.jsonl:1: not JSON"),
]


@pytest.mark.parametrize(("content", "message"), DATA, ids=[m for _, m in DATA])
def test_a_bad_file_of_problems(tmp_path, capsys, content, message):
    file = tmp_path / "p.jsonl"
    file.write_bytes(content)
    for which in ("pool", "heldout"):
        sets = ["--set", f"data.{which}={file}", "--set", f"data.{which}_size=0"]
        assert message in refused(capsys, tmp_path / "run", ["--config", "small.json", *sets])


# ---- configurations

CONFIGS = [
    ("", "cannot be read as JSON"),
    ("{", "cannot be read as JSON"),
    ("[]", "must hold one JSON object"),
    ("null", "must hold one JSON object"),
    ('{"steps": 1, "steps": 2}', "a key stands twice"),
    ('{"steps": "1"}', "steps: must be a whole number, not '1'"),
    ('{"steps": null}', "steps: must be a whole number, not None"),
    ('{"steps": [1]}', "steps: must be a whole number"),
    ('{"steps": 1e400}', "steps: must be a whole number"),
    ('{"Steps": 1}', "Steps: no such key"),
    ('{"data": 3}', "data: must be an object of keys"),
    ('{"data": {"pool": 3}}', "data.pool: must be a text"),
    ('{"data": {"template": "x"}}', "data.template: must hold {problem}"),
    ('{"update": {"lr": -1}}', "update.lr: must be above 0"),
    ('{"update": {"lr": "fast"}}', "update.lr: must be a finite number"),
    ('{"update": {"beta1": 1}}', "update.beta1: must be at most 0.9999"),
    ('{"update": {"aggregate": "mean"}}', "update.aggregate: must be 'token' or"),
    ('{"update": {"surrogate": "sac"}}', "update.surrogate: must be 'ppo' or 'gspo' or 'cispo'"),
    ('{"update": {"advantage": "loo"}}', "update.advantage: must be 'std' or 'none' or 'rloo'"),
    ('{"rollout": {"top_p": 0}}', "rollout.top_p: must be above 0"),
    ('{"rollout": {"top_p": 1.5}}', "rollout.top_p: must be at most 1"),
    ('{"rollout": {"stop_ids": ["a"]}}', "rollout.stop_ids: must be a list of whole numbers"),
    ('{"selector": {"ema": 0}}', "selector.ema: must be above 0"),
    ('{"seed": 1e3}', "seed: must be a whole number"),
    ('{"threads": 0}', "threads: must be at least 1"),
    ("[" * 100_000, "cannot be read as JSON"),
]


@pytest.mark.parametrize(("text", "message"), CONFIGS)
def test_a_bad_configuration(tmp_path, capsys, text, message):
    file = tmp_path / "c.json"
    file.write_text(text)
    error = refused(capsys, tmp_path / "run", ["--config", str(file)])
    assert message in error and str(file) in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--config", "."], ".: cannot be read"),
        ([], "the following arguments are required: --config"),
        (["--config", "small.json", "--fast"], "unrecognized arguments: --fast"),
        (["--config", "small.json", "--resume", "yesterday"], "argument --resume: invalid choice"),
        (["--config", "small.json", "--resume"], "holds no run to go on with"),
        (["--config", "small.json", "--set"], "argument --set: expected one argument"),
        (["--config", "small.json", "--set", "=3"], "must have the form key=value"),
        (["--config", "small.json", "--set", "a..b=3"], "no such key"),
    ],
)
def test_bad_arguments(tmp_path, capsys, arguments, message):
    assert message in refused(capsys, tmp_path / "run", arguments)


SIZES = [
    "rollout.max_new_tokens=1000000000000", "rollout.group_size=1000000000",
    f"rollout.group_size={10**400}", f"rollout.max_new_tokens={10**30}", f"steps={10**400}",
    f"selector.candidates={10**400}", f"data.pool_size={10**400}", f"eval_every={10**30}",
    f"update.updates_per_group={10**400}", "threads=1000000", f"seed={2**70}",
    "rollout.temperature=1e-300", "rollout.temperature=NaN", "update.lr=Infinity",
]  # fmt: skip


@pytest.mark.parametrize("setting", SIZES, ids=lambda setting: setting[:40])
def test_what_cannot_be_had_is_refused_before_anything_is_built(setting):
    """A run that ends for want of memory would leave a folder in the way of the next one."""
    with pytest.raises(UserError, match=setting.split("=")[0]) as caught:
        read_config("small.json", [setting])
    assert len(str(caught.value)) < 600


def test_one_variable_of_torchruns_alone_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert "RANK: is not set" in refused(capsys, tmp_path / "run", ["--config", "small.json"])


def test_a_reader_that_goes_away_ends_a_run_that_can_go_on(tmp_path):
    """`train.py | head -1`: no traceback, and the exit code of a program ended by SIGPIPE."""
    line = f"set -o pipefail; {sys.executable} train.py --config small.json --set steps=2 "
    line += f"--set data.heldout_size=4 --out {tmp_path / 'run'} | head -1"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert ended.stdout.startswith("loading base") and ended.stdout.count("\n") == 1
    assert ended.stderr == "" and ended.returncode == 128 + 13


# ---- random mutations of small.json

VALUES = [None, True, -1, 0, 1, 2**70, 1e-9, 1e300, float("nan"), "", "x", "a" * 1000, [], [1], {}]
VALUES += [{"a": {}}, "../..", "/dev/null", "{problem}", "\x00", "\ud800", [[[]]], -0.0, "cuda:99"]


def mutate(values: dict, rng: random.Random) -> dict:
    """One to three keys changed, removed, added or moved."""
    values = copy.deepcopy(values)
    for _ in range(rng.randint(1, 3)):
        section = rng.choice([values, *(v for v in values.values() if isinstance(v, dict))])
        key = rng.choice([*section, "unheard_of"]) if section else "unheard_of"
        action = rng.random()
        if action < 0.6:
            section[key] = rng.choice(VALUES)
        elif action < 0.8:
            section.pop(key, None)
        else:
            values[key] = section.pop(key, 1)
    return values


def test_mutated_configurations_are_read_or_refused(tmp_path):
    rng, read = random.Random(0), 0
    for number in range(300):
        file = tmp_path / "c.json"
        file.write_text(json.dumps(mutate(SMALL, rng)))
        try:
            assert isinstance(read_config(file, []), Config)
            read += 1
        except UserError as error:
            assert "\n" not in str(error) and str(error).startswith(str(file)), number
    assert 20 < read < 280


def test_what_a_mutation_still_allows_runs_or_ends_in_one_line(tmp_path, capsys, monkeypatch):
    """Those that pass validation go on to data, model and device: two steps at most each."""
    rng, ended = random.Random(1), {0: 0, 1: 0, 2: 0}
    monkeypatch.setattr(train.report, "draw", lambda out: "not drawn")
    small = {"steps": 2, "max_rollouts": 0, "eval_every": 1000}
    for number in range(120):
        values = mutate(SMALL, rng)
        try:
            build(Config, values)
        except (UserError, TypeError):
            continue
        values |= {k: min(v, values.get(k) or v) for k, v in small.items()} | {"threads": 1}
        data = values.setdefault("data", {})
        for which in ("pool", "heldout"):
            data[f"{which}_size"] = min(int(data.get(f"{which}_size", 8)), 8)
        rollout = values.setdefault("rollout", {})
        rollout["group_size"] = min(rollout.get("group_size", 4), 4)
        rollout["max_new_tokens"] = min(rollout.get("max_new_tokens", 8), 8)
        values.setdefault("update", {})["updates_per_group"] = 1
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(values))
        code = train.main(["--config", str(file), "--out", str(tmp_path / f"run{number}")])
        error = capsys.readouterr().err
        assert "Traceback" not in error and (code == 0 or "error: " in error)
        ended[code] += 1
    assert ended[0] > 5 and ended[2] > 0


def test_help_explains_every_key_and_ends_well(capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "update.lr" in shown and "may change on --resume" in shown


# ---- malicious model folders


class Payload:
    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def folder(tmp_path):
    """A model folder as good as base/, to be spoiled."""
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "base", folder)
    return folder


def train_from(folder, out, capsys) -> str:
    return refused(capsys, out, ["--config", "small.json", "--set", f"model={folder}"])


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "model.pt"])
def test_pickled_weights_are_not_read(tmp_path, folder, capsys, name):
    payload = Payload()
    payload.path = tmp_path / "executed"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(payload))
    error = train_from(folder, tmp_path / "run", capsys)
    assert "not a whole safetensors file" in error or "pickled weights are not read" in error
    assert not payload.path.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_in_the_folder_is_refused_and_never_run(tmp_path, folder, capsys, file):
    trap = f"import os\nos.mkdir({str(tmp_path / 'executed')!r})\n"
    (folder / "modeling.py").write_text(trap + "class Model: pass\nclass Tokenizer: pass\n")
    values = json.loads((folder / file).read_text())
    values["auto_map"] = {
        "AutoModelForCausalLM": "modeling.Model", "AutoTokenizer": ["modeling.Tokenizer", None],
    }  # fmt: skip
    (folder / file).write_text(json.dumps(values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = train_from(folder, tmp_path / "run", capsys)
    assert "auto_map" in error and str(folder / file) in error
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "model.bin"]
)
def test_a_shard_elsewhere_is_refused(tmp_path, folder, capsys, name):
    random_model().save(tmp_path / "other")
    shutil.copy(tmp_path / "other/model.safetensors", tmp_path / "secret.safetensors")
    index = {"weight_map": {"model.embed_tokens.weight": name}}
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    error = train_from(folder, tmp_path / "run", capsys)
    assert "is not the name of a safetensors file beside it" in error


def test_weights_that_are_not_finite_are_refused_before_anything_is_written(
    tmp_path, folder, capsys
):
    """A run blamed update.lr for them, and left a folder that blocked the next run."""
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors")
    error = train_from(folder, tmp_path / "run", capsys)
    assert "model.norm.weight holds values that are not finite" in error
    words = ["--model", str(folder), "--data", "arithmetic", "--out", str(tmp_path / "e.jsonl")]
    assert evaluate.main(words) == 2
    error = capsys.readouterr().err
    assert "not finite" in error and error.count("\n") == 1 and not (tmp_path / "e.jsonl").exists()


@pytest.mark.parametrize("content", ["{", "[]", "null", '{"model_type": 3}', "{}"])
def test_a_bad_model_configuration(tmp_path, folder, capsys, content):
    (folder / "config.json").write_text(content)
    assert str(folder / "config.json") in train_from(folder, tmp_path / "run", capsys)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "1.0"}'])
def test_a_bad_tokenizer(tmp_path, folder, capsys, content):
    (folder / "tokenizer.json").write_text(content)
    assert str(folder) in train_from(folder, tmp_path / "run", capsys)
