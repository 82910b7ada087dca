"""The two configurations for GPUs, every step of them on the CPU, with a tiny model of their form.

The folders that they name are made here, in the form that the hub has them: `config.json` with the
sizes lowered, weights in bfloat16, a byte-level BPE tokenizer with Qwen's special tokens at their
ids, a chat template in the ChatML form, `generation_config.json`; and JSONL files as the benchmarks
have them.  Only the device and the lengths are set otherwise.
"""

import json
import signal
from itertools import chain, product
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import train
from lora import add_adapters
from model import Transformer, load
from plumbing import memory
from plumbing.config import read_config
from policy import Policy

OF_BOTH = {
    "attention_dropout": 0.0, "bos_token_id": 151643, "hidden_act": "silu",
    "initializer_range": 0.02, "num_hidden_layers": 28, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
    "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
CONFIGS = {  # the checkpoint of each configuration: its config.json
    "qwen3-0.6b": {
        **OF_BOTH, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
        "attention_bias": False, "eos_token_id": 151645, "head_dim": 128, "hidden_size": 1024,
        "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "rope_scaling": None,
        "rope_theta": 1000000, "sliding_window": None,
    },
    "qwen2.5-math-1.5b": {
        **OF_BOTH, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
        "eos_token_id": 151643, "hidden_size": 1536, "intermediate_size": 8960,
        "max_position_embeddings": 4096, "max_window_layers": 21, "num_attention_heads": 12,
        "num_key_value_heads": 2, "rope_theta": 10000, "sliding_window": 4096,
        "use_mrope": False,
    },
}  # fmt: skip
SIZES = {  # what is lowered; the vocabulary is not, nor that Qwen3's heads are wider than C / H
    "qwen3-0.6b": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                   "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    "qwen2.5-math-1.5b": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                          "num_attention_heads": 4, "num_key_value_heads": 2},
}  # fmt: skip
GENERATION = {
    "qwen3-0.6b": {
        "bos_token_id": 151643, "do_sample": True, "eos_token_id": [151645, 151643],
        "pad_token_id": 151643, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
    },
    "qwen2.5-math-1.5b": {
        "bos_token_id": 151643, "do_sample": False, "eos_token_id": 151643,
        "max_new_tokens": 2048,
    },
}  # fmt: skip
END = {"qwen3-0.6b": "<|im_end|>", "qwen2.5-math-1.5b": "<|endoftext|>"}  # of a tokenizer's texts
STOPS = {
    "qwen3-0.6b": [151645, 151643],
    "qwen2.5-math-1.5b": [151643, 151645],  # the second by the configuration
}  # the second is no chat model
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> "
    "<|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> "
    "<|image_pad|> <|video_pad|>"
).split()  # from 151643 on
MARKS = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> "
    "<|repo_name|> <|file_sep|> <tool_response> </tool_response> <think> </think>"
).split()  # after them; these are no special tokens, and stay when a response is decoded
FIRST_SPECIAL, IM_END = 151643, 151645
PIECES = (  # how Qwen cuts a text before BPE: single digits, words with the space before them
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = """\
{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
ANSWERS = "123"  # what the tiny model says most of the time, each as one token
FAVOURED = [f"\\boxed{{{digit}}}" for digit in ANSWERS]


def build_tokenizer() -> Tokenizer:
    """A byte-level BPE with as many tokens as Qwen's; those of no merge are never made of text."""
    words = ["Please", "step", "answer", "boxed", "system", "user", "assistant", "think"]
    merges, vocabulary = [], dict.fromkeys(sorted(pre_tokenizers.ByteLevel.alphabet()))
    for word in (*words, *("\u0120" + word for word in words)):
        for n in range(1, len(word)):
            merges.append((word[:n], word[n]))
            vocabulary[word[: n + 1]] = None
    vocabulary |= dict.fromkeys(FAVOURED)
    letters = "abcdefghijklmnopqrstuvwxyz"
    fillers = ("-" + "".join(four) for four in product(letters, repeat=4))
    for filler in fillers:
        if len(vocabulary) == FIRST_SPECIAL:
            break
        vocabulary[filler] = None
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=list(dict.fromkeys(merges))))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in MARKS])
    return tokenizer


def write_tokenizer(folder: Path, eos: str) -> list[int]:
    """Write its files as the hub has them; return the ids that the model is to favour."""
    tokenizer = build_tokenizer()
    assert tokenizer.token_to_id("<|im_end|>") == IM_END
    assert tokenizer.token_to_id("</think>") == 151668
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {
        tokenizer.token_to_id(text): {"content": text, "special": text in SPECIAL}
        for text in (*SPECIAL, *MARKS)
    }
    settings = {
        "add_bos_token": False, "bos_token": None, "eos_token": eos, "pad_token": "<|endoftext|>",
        "unk_token": None, "errors": "replace", "split_special_tokens": False,
        "clean_up_tokenization_spaces": False, "model_max_length": 131072,
        "tokenizer_class": "Qwen2Tokenizer", "chat_template": CHATML,
        "additional_special_tokens": SPECIAL[1:], "added_tokens_decoder": {
            str(i): {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                     **token} for i, token in added.items()
        },
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return [tokenizer.token_to_id(text) for text in (*FAVOURED, "\u0120answer", eos)]


def write_checkpoint(folder: Path, name: str) -> None:
    """Write a random model that says one of a few tokens most of the time, never surely which."""
    folder.mkdir(parents=True)
    favoured = write_tokenizer(folder, END[name])
    (folder / "generation_config.json").write_text(json.dumps(GENERATION[name]))
    (folder / "config.json").write_text(json.dumps(CONFIGS[name] | SIZES[name]))
    draw = torch.Generator().manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        for parameter in model.parameters():  # norms near 1; biases that are not 0
            centre = 1.0 if parameter.dim() == 1 and parameter.min() == 1 else 0.0
            parameter.copy_(centre + 0.1 * torch.randn(parameter.shape, generator=draw))
        embedding = model.get_input_embeddings().weight  # the head as well
        embedding[:, 0] = 3.0  # a direction that all states have in common, and these more of it
        embedding[favoured, 0] = 12.0
        embedding[favoured, 1:] *= 3
    weights = {n: w.bfloat16() for n, w in model.state_dict().items() if n != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_benchmarks(folder: Path) -> None:
    """Problem files by the names of the configurations, with and without GSM8K's solutions."""
    folder.mkdir()
    for name, n in (("gsm8k_train", 260), ("gsm8k_test", 9), ("dsr_sub", 12), ("math500", 7)):
        problems = []
        for i in range(n):
            text, gold = f"{name}: a box has {i} pens. How many lids?", ANSWERS[i % len(ANSWERS)]
            solution = f"It is <<1*{gold}={gold}>>{gold}.\n#### {gold}"
            problems.append(
                {"question": text, "answer": solution} if "gsm8k" in name
                else {"problem": text, "answer": gold, "kind": "Algebra"}
            )  # fmt: skip
        lines = "".join(json.dumps(problem) + "\n" for problem in problems)
        (folder / f"{name}.jsonl").write_text(lines)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which both configurations find what they name."""
    folder = tmp_path_factory.mktemp("gpu")
    for name in CONFIGS:
        cfg = json.loads((ROOT / f"configs/{name}.json").read_text())
        write_checkpoint(folder / cfg["model"], name)
    write_benchmarks(folder / "benchmarks")
    return folder


@pytest.fixture
def start(place, monkeypatch):
    """`train.py` with one of the configurations, there: on the CPU, with short responses."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("report.draw", lambda out: "not drawn")
    lengths = ["device=cpu", "steps=3", "rollout.max_new_tokens=10"]

    def run(name, out, *sets, resume=()):
        words = list(chain(*(("--set", pair) for pair in (*lengths, *sets))))
        config = ["--config", str(ROOT / f"configs/{name}.json"), "--out", str(out)]
        return train.main([*config, *words, *resume])

    return run


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@torch.no_grad()
def assert_transformers_reads(folder, name):
    """The trained folder, as it stands: the same logits, and the same ends of a response."""
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(theirs).__name__ == CONFIGS[name]["architectures"][0]
    tokens = torch.randint(0, 151669, (2, 24), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(load(folder)(tokens), theirs(tokens).logits, atol=2e-4, rtol=1e-5)
    assert theirs.generation_config.eos_token_id == GENERATION[name]["eos_token_id"]


RUNS = [*((name, []) for name in CONFIGS), ("qwen3-0.6b", ["lora.rank=16"])]


@pytest.mark.parametrize(("name", "sets"), RUNS, ids=str)
def test_every_step_of_a_gpu_configuration(start, tmp_path, monkeypatch, capsys, name, sets):
    """Load, sample, verify, update, evaluate, save, stop, resume, and a folder for transformers."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert start(name, whole, *sets) == 0
    said = capsys.readouterr().out
    assert "memory: about" in said and "held-out accuracy" in said
    steps = lines(whole / "metrics.jsonl")
    responses = lines(whole / "responses.jsonl")
    assert len(steps) == 3 and len(responses) == 24 and "accuracy" in steps[-1]
    assert {r["solved"] for r in responses} == {0, 1} == {r["reward"] for r in responses}
    assert {r["answer"] for r in responses} >= set(ANSWERS)
    assert {r["cut_off"] for r in responses} == {True, False}  # some end by themselves
    assert not any("<|" in r["text"] for r in responses)
    updated = [step for step in steps if "grad_norm" in step]
    assert updated and all(step["grad_norm"] > 0 and "skipped" not in step for step in updated)
    assert all(("kl" in step) == (name == "qwen2.5-math-1.5b") for step in updated)

    genuine, calls = Policy.attempts, []

    def interrupted(self, *args):
        calls.append(signal.raise_signal(signal.SIGINT) if len(calls) == 1 else None)
        return genuine(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Policy, "attempts", interrupted)
        patch.setattr(train, "first_look", lambda *asked: None)  # or it would be interrupted
        assert start(name, parts, *sets) == 130
    assert len(lines(parts / "metrics.jsonl")) == 2
    assert start(name, parts, *sets, resume=["--resume"]) == 0
    one, other = (load_file(out / "model/model.safetensors") for out in (whole, parts))
    assert all(torch.equal(one[weight], other[weight]) for weight in one)
    cfg = read_config(f"{ROOT}/configs/{name}.json", [])
    before = load_file(Path(cfg.model) / "model.safetensors")
    changed = [weight for weight in before if (one[weight].float() - before[weight].float()).any()]
    assert any("q_proj" in weight for weight in changed)
    assert ("model.embed_tokens.weight" in changed) == (not sets)
    assert_transformers_reads(whole / "model", name)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_prompt_is_the_templates_and_no_token_of_it_is_torn(place, monkeypatch, name):
    monkeypatch.chdir(place)
    cfg = read_config(f"{ROOT}/configs/{name}.json", ["device=cpu"])
    policy = Policy(cfg)
    (problem,) = train.setup.read_problems(cfg.data.pool, 1, 0, heldout=False)
    turns = [{"role": "system", "content": cfg.data.system}]
    turns += [{"role": "user", "content": problem.text}]
    theirs = AutoTokenizer.from_pretrained(cfg.model).apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=False,
        **cfg.data.template_args,
    )  # fmt: skip
    found = policy.prompt(problem)
    assert found == theirs
    no_thoughts = "<think>\n\n</think>\n\n" if name == "qwen3-0.6b" else ""  # enable_thinking=false
    thought = [151667, 151668] if no_thoughts else []
    assert [i for i in found if i >= FIRST_SPECIAL] == [151644, IM_END] * 2 + [151644, *thought]
    text = policy.tokenizer.decode(found)
    assert text.endswith("lids?<|im_end|>\n<|im_start|>assistant\n" + no_thoughts)
    assert policy.limits["stop_ids"] == STOPS[name]
    assert policy.model.low_precision == torch.bfloat16 and policy.model.recompute


@pytest.mark.parametrize("name", CONFIGS)
def test_the_prediction_of_memory_at_the_real_sizes(name):
    """In GB, for weights that are nowhere and the longest prompts that the configuration takes."""
    totals = []
    for sets in ([], ["lora.rank=16"]):
        cfg = read_config(f"{ROOT}/configs/{name}.json", sets)
        with torch.device("meta"):
            model = Transformer(CONFIGS[name])
            if sets:
                add_adapters(model, cfg.lora, seed=0)
        learned = sum(w.numel() for w in model.parameters() if w.requires_grad)
        n = sum(w.numel() for w in model.parameters())
        parts = memory.predict(model.config, n, cfg, cfg.data.max_prompt_tokens, n_learned=learned)
        assert parts["weights"] == 4 * learned + 2 * (n - learned)
        totals.append(sum(parts.values()) / 1e9)
    full, lora = {"qwen3-0.6b": ((11, 13), (5, 6)), "qwen2.5-math-1.5b": ((37, 41), (12, 16))}[name]
    assert full[0] < totals[0] < full[1] and lora[0] < totals[1] < lora[1], totals
