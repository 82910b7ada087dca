"""lora.py: the parity with PEFT, what is frozen, what is merged and when, what is saved."""

import json
import os
import shutil
import signal
from functools import partial
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
from conftest import (
    LINEAR,
    LLAMA3,
    NEEDS_TRANSFORMERS_5,
    ROOT,
    SHAPE,
    random_model,
    train_small,
    write_carries,
)  # fmt: skip
from safetensors.torch import load_file
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

import evaluate
from grpo import token_logprobs, update_policy
from lora import Adapted, add_adapters, base_of, merged_weights, save_adapters
from model import Transformer, load
from plumbing import memory
from plumbing.command import UserError
from plumbing.config import Config, LoraConfig, build
from rollout import generate

ALL = LoraConfig(rank=4, alpha=6.0)
TARGETS = ALL.targets


def adapted(model: Transformer, cfg: LoraConfig = ALL, learned: float = 0.3) -> Transformer:
    """A model with adapters that have learned something, if `learned` is above 0."""
    add_adapters(model, cfg, seed=1)
    for name, weight in model.named_parameters():
        if ".lora_B." in name and learned:
            nn.init.normal_(weight, std=learned, generator=torch.Generator().manual_seed(len(name)))
    return model


# ---- one layer


def test_a_layer_by_hand():
    """W = [[1, 0], [0, 2]], b = [1, 1], A = [[1, 1]], B = [[1], [3]], alpha / r = 2; x = [3, 4]."""
    linear = nn.Linear(2, 2)
    linear.load_state_dict({"weight": torch.tensor([[1.0, 0], [0, 2]]), "bias": torch.ones(2)})
    layer = Adapted(linear, rank=1, alpha=2.0)
    layer.lora_A.weight.data = torch.tensor([[1.0, 1.0]])
    layer.lora_B.weight.data = torch.tensor([[1.0], [3.0]])
    assert layer(torch.tensor([3.0, 4.0])).tolist() == [4 + 2 * 7, 9 + 2 * 3 * 7]
    assert layer.weight.tolist() == [[1 + 2, 2], [6, 2 + 6]]
    assert layer.bias is linear.bias


def test_a_is_uniform_as_in_peft_and_b_is_zero():
    """Kaiming uniform with a = sqrt 5 is U(-1/sqrt(in), 1/sqrt(in)), whose variance is 1/(3 in)."""
    model = random_model(hidden_size=256, num_hidden_layers=1)
    add_adapters(model, LoraConfig(rank=64, targets=("q_proj",)), seed=5)
    layer = model.model["layers"][0].self_attn.q_proj
    A = layer.lora_A.weight
    assert not layer.lora_B.weight.any()
    assert A.abs().max() <= 1 / 16 and A.abs().max() > 0.99 / 16
    assert 3 * 256 * A.detach().var().item() == pytest.approx(1, rel=0.03)
    again = random_model(hidden_size=256, num_hidden_layers=1)
    add_adapters(again, LoraConfig(rank=64, targets=("q_proj",)), seed=5)
    assert torch.equal(again.model["layers"][0].self_attn.q_proj.lora_A.weight, A)


# ---- a model

FAMILIES = {
    "qwen2": {},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "llama": {"model_type": "llama", "num_key_value_heads": 4, "tie_word_embeddings": False},
    "biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
}


@pytest.fixture(params=FAMILIES)
def model(request):
    return random_model(**FAMILIES[request.param])


@torch.no_grad()
def test_before_the_first_update_it_is_the_checkpoint_to_the_last_bit(model):
    tokens = torch.arange(20)[None]
    before = model(tokens)
    assert torch.equal(adapted(model, learned=0)(tokens), before)


def test_only_adapters_learn_and_all_of_them(model):
    group = some_group(adapted(model))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = learn(model, group)
    for name, weight in model.named_parameters():
        is_adapter = ".lora_" in name
        assert weight.requires_grad == is_adapter
        assert torch.equal(weight, before[name]) != is_adapter, name
    held = [weight for weights in optimizer.param_groups for weight in weights["params"]]
    assert len(held) == len(optimizer.state) == 2 * 2 * 7  # layers, A and B, projections


def some_group(model, **how):
    return generate(
        model, [3, 7, 1], 4, max_new_tokens=10, stop_ids=[2],
        generator=torch.Generator().manual_seed(0), **how,
    )  # fmt: skip


def learn(model, group, optimizer_class=torch.optim.AdamW, **update):
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = optimizer_class(weights, lr=1e-2, fused=True)
    cfg = build(Config, {"rollout": {"group_size": 4, "max_new_tokens": 10}, "update": update})
    update_policy(model, optimizer, [group], [torch.tensor([1.0, -0.5, 0.3, -0.8])], cfg)
    return optimizer


@pytest.mark.parametrize("update", [{"micro_batch": 1}, {"recompute": True}, {"offload": True}])
def test_what_saves_memory_gives_the_same_adapters(update):
    found = []
    for keys in ({}, update):
        model = adapted(random_model())
        model.recompute = "recompute" in keys
        adamw = memory.OffloadedAdamW if "offload" in keys else torch.optim.AdamW
        learn(model, some_group(model), adamw, **keys)
        found.append(model.state_dict())
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("graph", [False, True])
def test_the_sampler_says_what_the_adapted_model_says(model, graph):
    group = some_group(adapted(model), graph=graph)
    again = token_logprobs(model, group.tokens, 3, 1.0) * group.mask
    torch.testing.assert_close(again, group.logprobs, atol=1e-4, rtol=0)
    without = token_logprobs(base_of(model), group.tokens, 3, 1.0) * group.mask
    assert (without - group.logprobs).abs().max() > 0.1  # it would not pass without adapters


def test_adapters_are_merged_once_per_rollout_and_not_per_token(tiny, monkeypatch):
    adapted(tiny)
    merges, calls, merge, call = [], [], Adapted.weight.fget, Adapted.forward
    monkeypatch.setattr(Adapted, "weight", property(lambda a: merges.append(a) or merge(a)))
    monkeypatch.setattr(Adapted, "forward", lambda a, x: calls.append(a) or call(a, x))
    group = some_group(tiny)
    assert group.logprobs.shape[1] > 2
    assert len(merges) == len(calls) == 2 * 7  # each projection: merged once, called for the prompt


@torch.no_grad()
def test_the_base_is_there_without_memory_of_its_own(model):
    tokens = torch.arange(20)[None]
    before, names = model(tokens), list(model.state_dict())
    adapted(model)
    base = base_of(model)
    assert torch.equal(base(tokens), before) and list(base.state_dict()) == names
    assert not torch.equal(model(tokens), before)  # which still has its adapters
    ours = {weight.data_ptr() for weight in model.parameters()}
    assert {weight.data_ptr() for weight in base.parameters()} <= ours


@torch.no_grad()
def test_merged_weights_are_a_plain_model_that_says_the_same(model, tmp_path):
    tokens = torch.arange(20)[None]
    adapted(model)
    model.save(tmp_path, merged_weights(model))
    torch.testing.assert_close(load(tmp_path)(tokens), model(tokens), atol=1e-5, rtol=1e-5)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(theirs(tokens).logits, model(tokens), atol=1e-4, rtol=0)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("down_proj",), ("k_proj", "up_proj")])
def test_the_projections_that_are_not_named_have_none(targets):
    model = adapted(random_model(), LoraConfig(rank=2, targets=targets))
    found = {n.split(".")[-1] for n, m in model.named_modules() if isinstance(m, Adapted)}
    assert found == set(targets)
    group = some_group(model)
    with torch.no_grad():
        again = token_logprobs(model, group.tokens, 3, 1.0) * group.mask
    torch.testing.assert_close(again, group.logprobs, atol=1e-4, rtol=0)
    learn(model, group)


# ---- in bfloat16


def in_bfloat16(family):
    """A model whose products are in bfloat16, of weights that bfloat16 holds exactly."""
    model = random_model(**FAMILIES[family])
    for weight in model.parameters():
        weight.data = weight.data.bfloat16().float()
    model.low_precision = torch.bfloat16
    return model


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_storing_the_base_in_bfloat16_changes_no_bit(family):
    """Neither in the forward pass, nor in decoding, of what autocast makes of float32 weights."""
    plain, frozen = in_bfloat16(family), adapted(in_bfloat16(family), learned=0)
    tokens = torch.arange(20)[None]
    with plain.autocast():
        expected = plain(tokens)
    with frozen.autocast():
        assert torch.equal(frozen(tokens), expected)
    theirs, ours = some_group(plain), some_group(frozen)
    assert torch.equal(ours.tokens, theirs.tokens) and torch.equal(ours.logprobs, theirs.logprobs)
    kinds = {name: weight.dtype for name, weight in frozen.named_parameters()}
    for name, kind in kinds.items():
        exact = ".lora_" in name or "norm" in name or name.endswith("bias")
        assert kind == (torch.float32 if exact else torch.bfloat16), name


def test_adapters_their_gradients_and_moments_are_float32():
    model = adapted(in_bfloat16("qwen2"))
    optimizer = learn(model, some_group(model))
    for weight, state in optimizer.state.items():
        assert weight.dtype == state["exp_avg"].dtype == torch.float32
        assert weight.numel() > 0 and state["exp_avg"].abs().max() > 0


@torch.no_grad()
def test_what_is_merged_in_float32_is_not_rounded_away():
    """A correction of a thousandth of a weight is none in bfloat16."""
    model = adapted(in_bfloat16("qwen2"), learned=1e-4)
    layer = model.model["layers"][0].self_attn.q_proj
    merged = merged_weights(model)["model.layers.0.self_attn.q_proj.weight"]
    base = layer.base_layer.weight.float()
    A, B = layer.lora_A.weight, layer.lora_B.weight
    torch.testing.assert_close(merged - base, 1.5 * B @ A, atol=1e-6, rtol=0)
    assert (merged.bfloat16().float() == base).float().mean() > 0.9


# ---- PEFT

THEIRS = {
    "qwen2": lambda: Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen2-linear": lambda: Qwen2Config(**SHAPE, tie_word_embeddings=False, rope_parameters=LINEAR),
    "qwen3": lambda: Qwen3Config(**SHAPE, head_dim=32, tie_word_embeddings=True),
    "llama": lambda: LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama3-bias": lambda: LlamaConfig(
        **SHAPE, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3
    ),
}
NEW = ("qwen2-linear", "llama3-bias")  # version 4 has no `rope_parameters`
KINDS = [pytest.param(k, marks=[NEEDS_TRANSFORMERS_5] if k in NEW else []) for k in THEIRS]


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip(
        "peft", reason="peft is not installed; it is one of requirements-dev.txt"
    )


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    """A random model as transformers saves it."""
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(THEIRS[request.param]())
    for name, parameter in theirs.named_parameters():
        nn.init.normal_(parameter, mean="norm" in name, std=0.1)
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    return folder


def assert_same_logits_and_gradients(ours, theirs):
    """Within 1e-5, of the logits of three rows and of a loss on them in every adapter."""
    tokens = torch.randint(0, 53, (3, 40), generator=torch.Generator().manual_seed(1))
    logits, expected = ours(tokens), theirs(tokens).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    for each in (logits, expected):
        F.cross_entropy(each[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    learned = {n: w.grad for n, w in ours.named_parameters() if w.requires_grad}
    found = {
        n.removeprefix("base_model.model.").replace(".default.", "."): w.grad
        for n, w in theirs.named_parameters()
        if w.requires_grad
    }
    assert found.keys() == learned.keys() and len(found) == 2 * 2 * 7
    for name, gradient in learned.items():
        assert gradient.abs().max() > 1e-4, name
        torch.testing.assert_close(gradient, found[name], atol=1e-5, rtol=0)


def test_peft_loads_what_we_save(peft, folder, tmp_path):
    ours = adapted(load(folder))
    save_adapters(ours, Config(model=str(folder), lora=ALL), tmp_path)
    base = AutoModelForCausalLM.from_pretrained(folder)
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path), is_trainable=True)
    assert_same_logits_and_gradients(ours, theirs)
    merged = theirs.merge_and_unload().state_dict()
    for name, weight in merged_weights(ours).items():
        torch.testing.assert_close(weight, merged[name], atol=1e-6, rtol=0)


def test_what_peft_saves_has_our_names_and_gives_our_model(peft, folder, tmp_path):
    base = AutoModelForCausalLM.from_pretrained(folder)
    settings = peft.LoraConfig(r=4, lora_alpha=6, target_modules=list(TARGETS), lora_dropout=0.0)
    theirs = peft.get_peft_model(base, settings)
    for name, weight in theirs.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    theirs.save_pretrained(str(tmp_path))
    saved = load_file(tmp_path / "adapter_model.safetensors")
    ours = load(folder)
    add_adapters(ours, ALL, seed=0)
    learned = {name.removeprefix("base_model.model."): weight for name, weight in saved.items()}
    missing, unexpected = ours.load_state_dict(learned, strict=False)
    assert not unexpected and not any(".lora_" in name for name in missing)
    assert_same_logits_and_gradients(ours, theirs)


def test_the_folder_has_the_names_and_settings_of_peft_without_it(tmp_path):
    """What PEFT and vLLM ask for, also where PEFT is not installed to say so."""
    cfg = Config(model="owner/name", lora=LoraConfig(4, 8.0, ("up_proj",)))
    save_adapters(adapted(random_model(num_hidden_layers=1), cfg.lora), cfg, tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    wanted = {"peft_type": "LORA", "r": 4, "lora_alpha": 8.0, "target_modules": ["up_proj"],
              "bias": "none", "base_model_name_or_path": "owner/name"}  # fmt: skip
    assert wanted.items() <= settings.items()
    saved = load_file(tmp_path / "adapter_model.safetensors")
    shapes = {name: list(weight.shape) for name, weight in saved.items()}
    place = "base_model.model.model.layers.0.mlp.up_proj"
    assert shapes == {f"{place}.lora_A.weight": [4, 32], f"{place}.lora_B.weight": [48, 4]}


# ---- runs

SETS = ["steps=6", "eval_every=1000", "checkpoint_every=2", "data.heldout_size=6", "lora.rank=3",
        "data.pool_size=0", "rollout.group_size=4", "update.lr=0.01", "update.decay=false",
        "update.kl_coef=0.01"]  # fmt: skip


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    file = write_carries(tmp_path_factory.mktemp("pool") / "carries.jsonl")
    return [*SETS, f"data.pool={file}"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, sets):
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("report.draw", lambda out: "not drawn: takes longer than the run")
        assert train_small(out, sets) == 0
    return out


def test_a_run_leaves_adapters_and_the_model_that_they_make(run, base):
    merged, start = load(run / "model"), base.state_dict()
    for name, weight in merged.state_dict().items():
        changed = any(f".{target}.weight" in name for target in TARGETS)
        assert torch.equal(weight, start[name]) != changed, name
    ours = load(ROOT / "base")
    add_adapters(ours, LoraConfig(rank=3), seed=0)
    saved = load_file(run / "adapter" / "adapter_model.safetensors")
    learned = {name.removeprefix("base_model.model."): weight for name, weight in saved.items()}
    ours.load_state_dict(learned, strict=False)
    tokens = torch.arange(19)[None]
    torch.testing.assert_close(ours(tokens), merged(tokens), atol=1e-4, rtol=0)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["kl"] > 0  # to the base, which has not moved


def test_a_checkpoint_holds_adapters_and_their_moments_alone(run):
    tensors = load_file(run / "checkpoint" / "tensors.safetensors")
    del tensors["rollout_stream"]
    assert all(".lora_" in name for name in tensors)
    assert len(tensors) == 4 * 2 * 7 * 3  # the weight and three of AdamW's; A and B; layers


def killed_in_update(n, out, keys):
    """A run in a process of its own that dies in its n-th update; returns its wait status."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        genuine, left = torch.optim.AdamW.step, [n]

        def fatal(optimizer):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            genuine(optimizer)

        torch.optim.AdamW.step = fatal
        train_small(out, keys)
        os._exit(99)
    return os.waitpid(child, 0)[1]


@pytest.mark.usefixtures("in_the_project")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_stopped_or_killed_and_resumed_it_ends_with_the_same_bits(tmp_path, sets, precision, end):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    keys = [*sets, f"precision={precision}"]
    assert train_small(whole, keys) == 0
    if end == "stopped":
        assert train_small(parts, [*keys, "steps=3"]) == 0
    else:  # after the checkpoint of step 4
        assert killed_in_update(6, parts, keys) == signal.SIGKILL
    assert train_small(parts, keys, ["--resume"]) == 0
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    assert (whole / "responses.jsonl").read_bytes() == (parts / "responses.jsonl").read_bytes()


@pytest.mark.usefixtures("in_the_project")
def test_a_run_goes_on_only_with_its_own_adapters(tmp_path, sets, run, capsys):
    out = shutil.copytree(run, tmp_path / "run")
    assert train_small(out, [*sets, "lora.rank=2"], ["--resume"]) == 2
    assert "lora.rank 3, not 2" in capsys.readouterr().err
    assert train_small(out, [*sets, "lora.rank=0"], ["--resume"]) == 2
    assert "lora.rank 3, not 0" in capsys.readouterr().err


# ---- bad input


@pytest.mark.usefixtures("in_the_project")
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (['lora.targets=["q_proj", "proj"]'], "lora.targets: must be a list of 'q_proj' or "),
        (["lora.targets=q_proj"], "lora.targets: must be a list of 'q_proj' or "),
        (["lora.targets=[]"], "lora.targets: names no projection; rank=0 is a run without"),
        (["lora.alpha=-1"], "lora.alpha: must be above 0, not -1"),
        (["lora.rank=-1"], "lora.rank: must be at least 0, not -1"),
        (["lora.rank=1.5"], "lora.rank: must be a whole number, not 1.5"),
        (["lora.rank=49"], "lora.rank: 49 is more than k_proj can have, a matrix of 48 x 96; take "
                           "at most 48, or leave it out of lora.targets"),
        (["lora.rank=2", "shard=true"], "shard: splits what is learned, and adapters are small"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(tmp_path, capsys, keys, said):
    assert train_small(tmp_path / "run", keys) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and said in errors[0], errors
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("in_the_project")
def test_a_folder_of_adapters_is_no_model_and_the_line_says_what_is(run, tmp_path, capsys):
    """It has no config.json, of which a first message would be."""
    adapter = str(run / "adapter")
    assert train_small(tmp_path / "run", [f"model={adapter}"]) == 2
    words = ["--model", adapter, "--data", "arithmetic", "--out", str(tmp_path / "e.jsonl")]
    assert evaluate.main(words) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    for error in errors:
        assert f"{adapter}: holds an adapter; give the model that it was merged into" in error
    with pytest.raises(UserError, match="RUN/model"):
        load(adapter)


# ---- memory


def test_the_parts_of_the_prediction_by_hand():
    """1,000,000 frozen weights in bfloat16 and 10,000 that are learned."""
    model = random_model().config
    keys = {"eval_batch": 1, "rollout": {"group_size": 2, "max_new_tokens": 5}}
    keys |= {"update": {"kl_coef": 0.1}, "precision": "bfloat16"}
    parts = memory.predict(model, 1_010_000, build(Config, keys), 3, n_learned=10_000)
    assert parts["weights"] == 2e6 + 4e4
    assert parts["AdamW"] == 8e4 and "reference" not in parts
    assert parts["sampling"] > 2e6  # the decoder's own, merged weights
    keys["rollout"]["max_new_tokens"] = 5000
    cfg = build(Config, {**keys, "precision": "float32"})
    parts = memory.predict(model, 1_010_000, cfg, 3, n_learned=10_000)
    assert parts["weights"] == 4e6 + 4e4 and parts["gradients"] == 4e4


def allocated(function):
    """The most bytes that the CPU's allocator had given out at once within a call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        function()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("update", [{}, {"micro_batch": 1, "recompute": True}], ids=str)
def test_an_update_takes_the_memory_that_is_predicted(precision, update):
    """Of a tiny model, whose weights, moments and activations are of like size."""
    shape = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "head_dim": 64}
    keys = {"rollout": {"group_size": 4, "max_new_tokens": 20}, "update": update}
    cfg = build(Config, {"precision": precision, "lora": {"rank": 16}, **keys})
    model = random_model(vocab_size=1000, **shape)
    model.low_precision = torch.bfloat16 if precision == "bfloat16" else None
    model.recompute = cfg.update.recompute
    add_adapters(model, cfg.lora, seed=0)
    group = generate(
        model, range(3, 33), 4, max_new_tokens=20, stop_ids=[],
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, fused=True)
    step = partial(update_policy, model, optimizer, [group], [torch.tensor([1.0, -1, 2, -2])], cfg)
    step()  # from now on the moments are there
    moments = [m for state in optimizer.state.values() for m in state.values()]
    measured = sum(t.nbytes for t in (*model.parameters(), *moments)) + allocated(step)
    n, n_learned = (sum(w.numel() for w in ws) for ws in (model.parameters(), learned))
    activations = memory._activations(model.config, n_learned, cfg, 30, 4)
    parts = memory.predict(model.config, n, cfg, 30, n_learned=n_learned)
    predicted = parts["weights"] + parts["AdamW"] + 4 * n_learned + activations
    assert 0.8 < measured / predicted < 1.1


QWEN25_15B = {"model_type": "qwen2", "hidden_size": 1536, "intermediate_size": 8960,
              "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
              "vocab_size": 151936, "tie_word_embeddings": True}  # fmt: skip
QWEN3_06B = {"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "head_dim": 128,
             "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
             "vocab_size": 151936, "tie_word_embeddings": True}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "hf_config", "keys", "most"),
    [
        ("qwen2.5-math-1.5b", QWEN25_15B, {}, 24e9),
        ("qwen3-0.6b", QWEN3_06B, {"eval_batch": 16}, 8e9),
    ],
)
def test_by_prediction_a_small_card_is_enough(file, hf_config, keys, most):
    """Also of 10% that allocators and libraries may take besides; without adapters it is not."""
    cfg = build(Config, json.loads((ROOT / "configs" / f"{file}.json").read_text()) | keys)
    assert cfg.update.micro_batch == 4 and cfg.update.recompute
    with torch.device("meta"):
        model = Transformer(hf_config)
    n = sum(weight.numel() for weight in model.parameters())
    thin = sum(
        16 * sum(weight.shape)
        for name, weight in model.named_parameters()
        if any(f".{target}.weight" in name for target in TARGETS)
    )
    longest = cfg.data.max_prompt_tokens
    found = [
        memory.predict(model.config, n + thin, cfg, longest, n_learned=thin),
        memory.predict(model.config, n, cfg, longest),
    ]
    with_adapters, without = (sum(parts.values()) for parts in found)
    assert with_adapters < most / 1.1 and without > most
