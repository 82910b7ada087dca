"""`log=tensorboard`: what TensorBoard's own reader finds in a run's folder, and where it is not."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, train_small, write_carries

from plumbing import parallel, tensorboard
from plumbing.command import UserError
from policy import Policy

SETS = ["log=tensorboard", "steps=6", "eval_every=16", "checkpoint_every=4", "data.heldout_size=6"]
SETS += ["rollout.group_size=8", "rollout.max_new_tokens=24", "data.pool_size=0"]

pytestmark = pytest.mark.usefixtures("in_the_project")


@pytest.fixture
def start(tmp_path):
    pool = write_carries(tmp_path / "carries.jsonl")
    return lambda out, *sets, resume=(): train_small(
        out, [*SETS, f"data.pool={pool}", *sets], resume
    )


def scalars(out):
    """{tag: {step: value}} as TensorBoard shows them; a step that stands there twice is refused."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(out), size_guidance={"scalars": 0}).Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), (tag, steps)
        found[tag] = {event.step: event.value for event in events.Scalars(tag)}
    return found


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def expected(out):
    """The same from `metrics.jsonl` and `summary.json`, field by field."""
    summary = json.loads((out / "summary.json").read_text())
    found = {"eval/accuracy": {0: summary["accuracy_before"]}}
    for kind, accuracy in summary["accuracy_by_kind_before"].items():
        found[f"eval/accuracy/{kind}"] = {0: accuracy}
    for line in lines(out):
        of_groups = [np.std(rewards) for rewards in line["rewards"]]
        values = {
            "train/reward": np.mean(line["rewards"]),
            "train/reward_std": np.mean(of_groups),
            "train/frac_reward_zero_std": np.mean([std == 0 for std in of_groups]),
            "train/entropy": line["entropy"],
            "train/completions/mean_length": line["mean_length"],
            "train/completions/clipped_ratio": line["cut_off"],
            "train/num_tokens": line["tokens"],
            "train/rollouts": line["rollouts"],
            "train/step_time": line["seconds"]["total"],
        }
        if "grad_norm" in line:
            values |= {
                "train/loss": line["loss"],
                "train/grad_norm": line["grad_norm"],
                "train/learning_rate": line["learning_rate"],
                "train/clip_ratio/region_mean": line["clip_fraction"],
                "train/kl": line["kl"],
            }
        if "accuracy" in line:
            values["eval/accuracy"] = line["accuracy"]
            for kind, accuracy in line["accuracy_by_kind"].items():
                values[f"eval/accuracy/{kind}"] = accuracy
        for tag, value in values.items():
            found.setdefault(tag, {})[line["step"]] = value
    return found


def assert_shows(out):
    shown, written = scalars(out), expected(out)
    assert shown.keys() == written.keys()
    for tag, values in written.items():
        assert shown[tag] == pytest.approx(values, rel=1e-6, abs=1e-9), tag


def test_every_number_of_a_run_is_shown_at_its_step(tmp_path, start):
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    assert start(out, "update.decay=true") == 0
    assert_shows(out)
    shown = scalars(out)
    assert list(shown["train/reward"]) == [1, 2, 3, 4, 5, 6]
    assert list(shown["eval/accuracy"]) == [0, 2, 4, 6]
    assert shown["train/learning_rate"][4] == pytest.approx(1.5e-4 * 3 / 6)


@pytest.mark.parametrize("checkpoint_every", [4, 100])
def test_steps_that_are_done_again_stand_there_once(tmp_path, start, monkeypatch, checkpoint_every):
    """Killed after step 5: the run goes on from the checkpoint of step 4, or begins anew."""
    pytest.importorskip("tensorboard")
    genuine, n = Policy.attempts, []

    def killed(self, *args):
        n.append(1)
        if len(n) == 6:
            raise KeyboardInterrupt  # as suddenly as a kill
        return genuine(self, *args)

    out, every = tmp_path / "run", f"checkpoint_every={checkpoint_every}"
    with monkeypatch.context() as patch:
        patch.setattr("train.first_look", lambda *asked: None)  # which would be killed
        patch.setattr(Policy, "attempts", killed)
        assert start(out, every) == 130
    assert list(scalars(out)["train/reward"]) == [1, 2, 3, 4, 5]
    assert start(out, every, resume=["--resume"]) == 0
    assert_shows(out)
    assert start(out, every, "steps=8", resume=["--resume"]) == 0
    assert list(scalars(out)["train/reward"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(list(out.glob("events.out.tfevents.*"))) == 3


def test_a_missing_package_ends_in_one_line_before_anything_is_written(
    tmp_path, start, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # what import then refuses
    assert start(tmp_path / "run") == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and "log: " in error[0] and "pip install tensorboard" in error[0]
    assert not (tmp_path / "run").exists()


def test_nothing_is_imported_or_written_where_the_key_is_not_set(tmp_path):
    code = (
        "import sys, train\n"
        "train.report.draw = lambda out: 'not drawn'\n"
        "code = train.main(sys.argv[1:])\n"
        "found = [m for m in sys.modules if m.split('.')[0] == 'tensorboard' or "
        "m.startswith('torch.utils.tensorboard')]\n"
        "sys.exit(code or (str(found) if found else 0))"
    )
    out = tmp_path / "run"
    sets = ["steps=1", "data.heldout_size=2", "data.pool_size=1", "rollout.max_new_tokens=4"]
    words = [word for each in sets for word in ("--set", each)]
    subprocess.run(
        [sys.executable, "-c", code, "--config", "small.json", "--out", str(out), *words],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    assert not list(out.glob("events*"))


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    for rank, files in ((1, 0), (0, 1)):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        events = tensorboard.Events(tmp_path, on=True)
        events.begin(0, {"accuracy": 0.5, "accuracy_by_kind": {"": 0.5}})
        events.close()
        assert len(list(tmp_path.iterdir())) == files
    assert scalars(tmp_path) == {"eval/accuracy": {0: 0.5}}


def test_switched_off_it_does_nothing(tmp_path):
    events = tensorboard.Events(tmp_path, on=False)
    events.begin(0, {"accuracy": 0.5, "accuracy_by_kind": {}})
    events.write({})
    events.close()
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_there_and_broken_is_told_apart(tmp_path, monkeypatch):
    """An old one, or one that another package broke, says so itself."""

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "torch.utils.tensorboard":
                raise ImportError("requires TensorBoard version 1.15 or above")

    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(UserError, match=r"log: .*1\.15 or above.*pip install"):
        tensorboard.Events(tmp_path, on=True)
