"""model.py against transformers, its cache against itself, and checkpoints that are not whole."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import LINEAR, LLAMA3, NEEDS_TRANSFORMERS_5, ROOT, SHAPE, random_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

import rollout
from model import KVCache, load
from plumbing.command import UserError
from plumbing.weights import stop_ids

CONFIGS = {
    "qwen2-tied": lambda: Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen2-linear": lambda: Qwen2Config(**SHAPE, tie_word_embeddings=False, rope_parameters=LINEAR),
    "qwen3": lambda: Qwen3Config(**SHAPE, head_dim=32, tie_word_embeddings=True),
    "qwen3-bias": lambda: Qwen3Config(**SHAPE, head_dim=8, attention_bias=True),
    "llama": lambda: LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama3-bias": lambda: LlamaConfig(
        **SHAPE, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3
    ),
}


NEW = ("qwen2-linear", "llama3-bias")  # version 4 has no `rope_parameters`
KINDS = [pytest.param(k, marks=[NEEDS_TRANSFORMERS_5] if k in NEW else []) for k in CONFIGS]


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """A random transformers model, and ours loaded from what it saved."""
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(CONFIGS[request.param]()).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    return theirs, load(folder), folder


@torch.no_grad()
def test_logits_equal_transformers(pair):
    theirs, ours, _ = pair
    tokens = torch.randint(0, 53, (3, 120), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_greedy_tokens_equal_transformers(pair):
    theirs, ours, _ = pair
    prompt = [5, 17, 2, 40, 8]
    expected = theirs.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, 5), max_new_tokens=30, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    group = rollout.generate(
        ours, prompt, 1, max_new_tokens=30, temperature=0, stop_ids=[], generator=torch.Generator()
    )
    assert group.tokens.tolist() == expected.tolist()


@torch.no_grad()
def test_a_saved_folder_loads_in_transformers(pair, tmp_path):
    _, ours, _ = pair
    ours.save(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = torch.arange(40)[None]
    torch.testing.assert_close(again(tokens).logits, ours(tokens), atol=1e-4, rtol=0)


@NEEDS_TRANSFORMERS_5  # whose form is turned into the older one
@torch.no_grad()
def test_config_of_transformers_4_is_read(pair, tmp_path):
    """It had rope_theta, rope_scaling and torch_dtype at the top; the new names do not suffice."""
    _, ours, folder = pair
    hf = json.loads((folder / "config.json").read_text())
    rope = hf.pop("rope_parameters")
    hf["rope_theta"] = rope.pop("rope_theta")
    hf["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    hf["torch_dtype"] = hf.pop("dtype")
    ours.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(hf))
    tokens = torch.arange(40)[None]
    assert torch.equal(load(tmp_path)(tokens), ours(tokens))


@torch.no_grad()
def test_base_model_equals_transformers(base):
    theirs = AutoModelForCausalLM.from_pretrained(ROOT / "base")
    tokens = torch.randint(0, 19, (4, 30), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(base(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)


# ---- the cache


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 5, 12])
def test_cached_equals_uncached(tiny, chunk):
    """Chunks of 2 and more fail where is_causal is used with fewer queries than keys."""
    tokens = torch.randint(0, 23, (2, 12), generator=torch.Generator().manual_seed(3))
    cache = KVCache()
    pieces = [tiny(piece, cache) for piece in tokens.split(chunk, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), tiny(tokens), atol=1e-5, rtol=0)
    assert cache.length == 12


@torch.no_grad()
def test_one_row_of_a_cache_serves_many_and_need_not_grow(tiny):
    tokens = torch.randint(0, 23, (3, 9), generator=torch.Generator().manual_seed(4))
    tokens[:, :5] = tokens[0, :5]
    cache = KVCache()
    tiny(tokens[:1, :5], cache)
    cache.grows = False
    for _ in range(2):
        rest = tiny(tokens[:, 5:], cache)
        torch.testing.assert_close(rest, tiny(tokens)[:, 5:], atol=1e-5, rtol=0)
    assert cache.length == 5


# ---- checkpoints


@pytest.fixture
def folder(tmp_path):
    random_model().save(tmp_path)
    return tmp_path


def edit_config(folder, **changes):
    hf = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(hf))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def only_index(folder, text):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)


def of_type(name, kind):
    return lambda f: edit_weights(f, lambda w: w.update({name: w[name].to(kind)}))


def with_value(name, value):
    return lambda f: edit_weights(f, lambda w: w[name].view(-1)[0].fill_(value))


HEAD, EMBEDDING, NORM = "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: edit_weights(f, lambda w: w.update({HEAD: 2 * w[EMBEDDING]})),
            "'tie_word_embeddings' is true, but lm_head.weight is not the embedding",
        ),
        (
            lambda f: edit_weights(f, lambda w: w.update({HEAD: w[EMBEDDING][:-1].clone()})),
            r"lm_head.weight has shape \[22, 32\]",
        ),
        (of_type(NORM, torch.int8), r"model.norm.weight is quantised \(I8\)"),
        (of_type(EMBEDDING, torch.uint8), r"embed_tokens.weight is quantised \(U8\)"),
        (of_type(NORM, torch.int64), r"model.norm.weight is quantised \(I64\)"),
        (of_type(NORM, torch.float8_e4m3fn), r"model.norm.weight is quantised \(F8_E4M3\)"),
        (with_value(NORM, float("nan")), "model.norm.weight holds values that are not finite"),
        (with_value(EMBEDDING, float("inf")), "embed_tokens.weight holds values that are not"),
        (
            lambda f: edit_config(
                f,
                rope_parameters={"rope_type": "default", "rope_theta": 1e4},
                rope_scaling={"rope_type": "yarn", "factor": 4.0},
            ),
            "'rope_scaling': rope_type 'yarn' is not supported",
        ),
        (
            lambda f: edit_config(
                f,
                rope_parameters={"rope_type": "default", "rope_theta": 1e4},
                rope_scaling={"type": "linear", "factor": 2.0},
            ),
            "'rope_scaling' and 'rope_theta' say different things",
        ),
        (lambda f: edit_config(f, auto_map={"AutoModel": "code.py"}), "'auto_map' names code"),
        (lambda f: edit_config(f, quantization_config={"bits": 4}), "'quantization_config' asks"),
        (lambda f: edit_config(f, per_layer_config={"0": {}}), "'per_layer_config' gives layers"),
        (lambda f: edit_config(f, transformers_weights="other.safetensors"), "another file of we"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "holds an adapter"),
        (lambda f: edit_config(f, model_type="gpt2"), "model_type 'gpt2' is not supported"),
        (lambda f: edit_config(f, hidden_act="gelu"), "hidden_act"),
        (lambda f: edit_config(f, num_key_value_heads=3), "do not divide"),
        (lambda f: edit_config(f, hidden_size="32"), "'hidden_size' must be a positive int"),
        (lambda f: edit_config(f, use_sliding_window=True, max_window_layers=1), "sliding-window"),
        (lambda f: edit_config(f, use_sliding_window=True, max_window_layers="x"), "sliding-wind"),
        (
            lambda f: edit_config(f, layer_types=["full_attention", "sliding_attention"]),
            "sliding-window",
        ),
        (lambda f: edit_config(f, partial_rotary_factor=0.5), "partial_rotary_factor"),
        (lambda f: edit_config(f, rope_scaling={"type": "yarn"}), "rope_type 'yarn'"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read as JSON"),
        (lambda f: (f / "config.json").unlink(), "config.json: cannot be read"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
        (
            lambda f: edit_weights(f, lambda w: w.pop("model.norm.weight")),
            "missing tensor model.norm",
        ),
        (lambda f: edit_weights(f, lambda w: w.update(odd=torch.ones(1))), "unexpected tensor odd"),
        (
            lambda f: edit_weights(f, lambda w: w.update({"model.norm.weight": torch.ones(31)})),
            r"model.norm.weight has shape \[31\], not \[32\]",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(
                (f / "model.safetensors").read_bytes()[:-100]
            ),
            "model.safetensors: not a whole safetensors file",
        ),
        (
            lambda f: only_index(
                f, '{"weight_map": {"model.norm.weight": "../other.safetensors"}}'
            ),
            "not the name of a safetensors file",
        ),
        (
            lambda f: only_index(f, '{"weight_map": {"model.norm.weight": "model-2.safetensors"}}'),
            "model-2.safetensors: missing",
        ),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        load(folder)
    assert "\n" not in str(error.value)


def logits_of_both(folder):
    tokens = torch.arange(12).view(2, 6) % 23
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return load(folder)(tokens), theirs(tokens).logits


def test_a_leftover_index_of_shards_does_not_count(folder):
    """Its old shards were loaded silently, or their absence was an error."""
    old = load_file(folder / "model.safetensors")
    save_file({name: w + 1 for name, w in old.items()}, folder / "model-1.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(old, "model-1.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for _ in range(2):
        ours, theirs = logits_of_both(folder)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        (folder / "model-1.safetensors").unlink(missing_ok=True)  # and with the shards gone


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.update({HEAD: w.pop(EMBEDDING)}),  # the head alone stands for both
        lambda w: w.update({HEAD: w[EMBEDDING].clone()}),  # both, and they are the same
        lambda w: None,
    ],
)
def test_a_tied_head_may_stand_for_the_embedding(folder, change):
    before = load(folder)(torch.arange(5)[None])
    edit_weights(folder, change)
    torch.testing.assert_close(load(folder)(torch.arange(5)[None]), before, atol=0, rtol=0)


def test_names_without_the_prefix_are_read(folder):
    """AutoModel, which has no head, saves a tied model like that."""
    edit_weights(folder, lambda w: [w.update({n.removeprefix("model."): w.pop(n)}) for n in [*w]])
    ours, theirs = logits_of_both(folder)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_every_floating_type_of_weights_is_read(folder, kind):
    edit_weights(folder, lambda w: w.update({n: t.to(kind) for n, t in w.items()}))
    ours, theirs = logits_of_both(folder)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": True},  # of the layers from 28 on, and there are two
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
        {"use_sliding_window": True, "layer_types": ["full_attention"] * 2},
        {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
        {"use_sliding_window": False, "sliding_window": 4, "max_window_layers": 0},
        {"hidden_act": "swish"},
        pytest.param({"partial_rotary_factor": None}, marks=NEEDS_TRANSFORMERS_5),
        {"partial_rotary_factor": 1},
    ],
    ids=str,
)
def test_what_only_looks_different_is_read_as_transformers_reads_it(folder, changes):
    edit_config(folder, **changes)
    ours, theirs = logits_of_both(folder)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_rope_said_twice_in_the_same_words_is_read(folder):
    rope = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    edit_config(folder, rope_parameters=rope, rope_scaling=rope)
    ours, theirs = logits_of_both(folder)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_shards_are_joined(folder):
    whole = load_file(folder / "model.safetensors")
    names = sorted(whole)
    weight_map = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    for shard in set(weight_map.values()):
        part = {name: whole[name] for name in names if weight_map[name] == shard}
        save_file(part, folder / shard)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert all(torch.equal(w, whole[name]) for name, w in load(folder).state_dict().items())


def test_a_tied_head_has_one_weight_and_an_untied_two():
    assert "lm_head.weight" not in random_model().state_dict()
    untied = random_model(tie_word_embeddings=False)
    tokens = torch.arange(5)[None]
    before = untied(tokens)
    with torch.no_grad():
        untied.lm_head.weight.mul_(2)
    torch.testing.assert_close(untied(tokens), 2 * before)


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "expected"),
    [
        ([4, 2], 3, 1, [4, 2, 1]),
        (7, 3, 7, [7]),
        ([4, 7, 4], 3, 7, [4, 7]),
        (None, 3, 1, [3, 1]),
        ([], [3, 5], 1, [3, 5, 1]),
        (0, 3, None, [0]),  # token 0 is one like all others
        (None, None, 1, [1]),
        (None, None, 0, [0]),
        (7, 3, 23, [7]),  # the model has 23 tokens, 0 to 22: it never says this one
        ("no such file", 3, 1, [3, 1]),
    ],
)
def test_the_checkpoint_and_its_tokenizer_both_name_stop_tokens(
    folder, generation, config, tokenizer, expected
):
    """The generation config, or else `config.json`; and beside them the tokenizer."""
    edit_config(folder, eos_token_id=config)
    if generation != "no such file":
        text = json.dumps({"eos_token_id": generation})
        (folder / "generation_config.json").write_text(text)
    assert stop_ids(folder, SimpleNamespace(eos_token_id=tokenizer)) == expected


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
@pytest.mark.parametrize(
    "eos", ["2", ["</s>"], True, [[2]], [2, None], -1, 2.0, {}, 10**400], ids=lambda e: str(e)[:9]
)
def test_a_stop_token_that_is_none_is_named_with_its_file(folder, name, eos):
    hf = json.loads((folder / "config.json").read_text()) | {"eos_token_id": eos}
    (folder / name).write_text(json.dumps(hf))
    with pytest.raises(UserError, match=f"{name}: 'eos_token_id' must be the number") as error:
        stop_ids(folder, SimpleNamespace(eos_token_id=1))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_checkpoint_without_stop_tokens_is_named(folder):
    with pytest.raises(UserError, match="names no stop token"):
        stop_ids(folder, SimpleNamespace(eos_token_id=None))
