"""Tokenizers: malformed files are one line, and what is saved is read alike by other versions."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest
import transformers
from conftest import ROOT
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

import data
from data import ALPHABET, Problem, load_tokenizer, prompt_ids
from plumbing import tokenizer as tokenizers
from plumbing.command import UserError
from plumbing.config import Config, build
from plumbing.tokenizer import fingerprint, generation_settings, library_errors, save_tokenizer
from policy import Policy
from warmup import build_tokenizer

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
GOOD = {name: json.loads((ROOT / "base" / name).read_text()) for name in (FILE, CONFIG)}


@pytest.fixture
def folder(tmp_path):
    """A copy of the shipped model, to be spoilt."""
    return shutil.copytree(ROOT / "base", tmp_path / "model")


def write(path, content):
    """Write bytes and texts as they are, and anything else as JSON."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def refused(folder):
    """The one line that loading the tokenizer ends in."""
    with pytest.raises(UserError) as error:
        load_tokenizer(folder)
    message = str(error.value)
    assert "\n" not in message and error.value.code == 2
    assert message.startswith(str(folder)) and message.count(str(folder)) == 1
    return message


def test_the_shipped_tokenizer_is_the_one_that_warmup_builds(tokenizer):
    built = build_tokenizer()
    assert built.get_vocab() == tokenizer.get_vocab() and len(built) == 19
    text = "0123456789+-*=,#"
    assert text == ALPHABET
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    assert tokenizer.encode(text) == built.encode(text)


def test_load_tokenizer_is_a_name_of_data():
    assert data.load_tokenizer is tokenizers.load_tokenizer


# ---- malformed files


@pytest.mark.parametrize("name", [FILE, CONFIG, "special_tokens_map.json", "added_tokens.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe{}", "codec can't decode"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("1" * 5000, "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('"text"', "not a JSON object"),
    ],
)
def test_a_file_that_is_no_json_object_is_named(folder, name, content, words):
    write(folder / name, content)
    assert f"{folder / name}: " in refused(folder) and words in refused(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": None}, ""),
        ({"model": {**GOOD[FILE]["model"], "vocab": []}}, ""),
        ({"model": {**GOOD[FILE]["model"], "vocab": {"1": 10**400}}}, "number out of range"),
        ({"model": {"type": "Unigram", "vocab": [], "unk_id": 5}}, ""),
        ({"added_tokens": [{**GOOD[FILE]["added_tokens"][0], "id": 10**400}]}, "out of range"),
        ({"added_tokens": 5}, ""),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}}}, ""),
        ({"pre_tokenizer": {"type": "Nowhere"}}, ""),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "Precompiled"),
        ({"truncation": {"max_length": 3, "stride": 5, "strategy": "LongestFirst",
                         "direction": "Right"}}, "stride"),
    ],
)  # fmt: skip
def test_a_malformed_tokenizer_file_is_refused(folder, capfd, changes, words):
    write(folder / FILE, {**GOOD[FILE], **changes})
    assert words in refused(folder)
    assert capfd.readouterr().err == ""  # a panic has a report of its own


@pytest.mark.parametrize("key", ["added_tokens", "model"])
def test_a_missing_piece_is_named(folder, key):
    write(folder / FILE, {k: v for k, v in GOOD[FILE].items() if k != key})
    assert key in refused(folder).lower() and "download it again" in refused(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"bos_token": 5}, {"bos_token": ["<bos>"]}, {"eos_token": {"a": 1}},
        {"model_max_length": "long"}, {"padding_side": 3}, {"chat_template": [1]},
        {"added_tokens_decoder": []}, {"added_tokens_decoder": {"x": {}}},
        {"extra_special_tokens": 5}, {"model_input_names": 5}, {"init_inputs": 5}, {"self": 1},
        {"split_special_tokens": "x"}, {"auto_map": {}},
    ],
)  # fmt: skip
def test_a_wrong_type_in_the_tokenizers_configuration_is_refused(folder, changes):
    write(folder / CONFIG, {**GOOD[CONFIG], **changes})
    refused(folder)


def test_a_number_beyond_all_floats_is_no_obstacle(folder):
    write(folder / CONFIG, {**GOOD[CONFIG], "model_max_length": 10**400})
    assert prompt_ids(load_tokenizer(folder), "{problem}", Problem("1=", "1")) == [1, 4, 16]


def test_a_post_processor_that_panics_is_found_when_the_tokenizer_is_loaded(folder, capfd):
    piece = {"SpecialToken": {"id": "<nowhere>", "type_id": 0}}
    processor = {"type": "TemplateProcessing", "single": [piece], "pair": [], "special_tokens": {}}
    write(folder / FILE, {**GOOD[FILE], "post_processor": processor})
    assert "no entry found for key" in refused(folder)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("pattern", [r"(\d+)+\+", r"(\d*)*\1\+", r"((\d*)*)*\+"])
def test_a_pattern_that_panics_on_a_prompt_is_one_line(folder, capfd, pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    write(folder / FILE, {**GOOD[FILE], "pre_tokenizer": {**split, "invert": False}})
    tokenizer = load_tokenizer(folder)
    with pytest.raises(UserError, match=r"^p:3: the tokenizer cannot encode .*retry-limit"):
        prompt_ids(tokenizer, "{problem}", Problem("1" * 30 + "=+", "2", source="p:3"))
    assert capfd.readouterr().err == ""


def test_what_is_written_meanwhile_is_shown_at_the_end_and_interrupts_pass(capfd):
    with library_errors("it fails"):
        os.write(2, b"a warning\n")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "a warning\n"
    with pytest.raises(KeyboardInterrupt), library_errors("it fails"):
        raise KeyboardInterrupt
    told = pytest.raises(UserError, match=r"^it fails \(KeyError: 'a'\); mend it")
    with told, library_errors("it fails", "; mend it"):
        raise KeyError("a")


def test_where_no_file_can_be_made_nothing_is_held_back(monkeypatch, capfd):
    def none(*args, **options):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    before = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0
    for _ in range(3):
        with library_errors("it fails"):
            os.write(2, b"a warning\n")
    with pytest.raises(UserError, match=r"^it fails \(no library\)"), library_errors("it fails"):
        raise ImportError("no library")
    assert capfd.readouterr().err == "a warning\n" * 3
    assert before == (len(os.listdir("/dev/fd")) if before else 0)


def test_an_error_is_not_lost_where_the_reports_cannot_be_shown(monkeypatch, capfd):
    def broken(*args):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    write = os.write
    monkeypatch.setattr(sys.stderr, "flush", broken)
    with pytest.raises(UserError, match=r"^it fails \(one\)"), library_errors("it fails"):
        write(2, b"a report\n")
        raise ValueError("one")
    monkeypatch.setattr(os, "write", broken)
    with library_errors("it fails"):
        write(2, b"a report\n")
    monkeypatch.undo()
    os.write(2, b"here again\n")
    assert capfd.readouterr().err == "here again\n"


def test_without_a_standard_error_a_tokenizer_loads_all_the_same():
    code = "import os, data; os.close(2); print(len(data.load_tokenizer('base')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "19\n"


# ---- files that are none, are too large, or are links


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", [FILE, CONFIG, "special_tokens_map.json", "chat_template.jinja"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert f"{folder / name}: cannot be read (it is no file" in refused(folder)


@pytest.mark.parametrize("name", [FILE, CONFIG, "chat_template.jinja", "vocab.json"])
def test_a_folder_or_a_device_in_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    assert f"{folder / name}: cannot be read (it is no file" in refused(folder)
    (folder / name).rmdir()
    (folder / name).symlink_to("/dev/zero")
    assert f"{folder / name}: cannot be read (it is no file" in refused(folder)


def test_a_link_that_leads_nowhere_is_named(folder):
    (folder / FILE).unlink()
    (folder / FILE).symlink_to(folder / "gone.json")
    assert f"{folder / FILE}: cannot be read (it is a link to a file that is not there" in refused(
        folder
    )


def test_a_tokenizer_is_read_through_links(folder, tmp_path):
    cache = tmp_path / "snapshot"
    cache.mkdir()
    for path in folder.iterdir():  # as a Hugging Face cache is made
        (cache / path.name).symlink_to(path)
    assert load_tokenizer(cache).get_vocab() == load_tokenizer(folder).get_vocab()
    assert fingerprint(cache) == fingerprint(folder)


@pytest.mark.parametrize("name", [FILE, CONFIG, "merges.txt", "additional_chat_templates/a.jinja"])
def test_a_file_of_absurd_size_is_refused_before_it_is_read(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    with (folder / name).open("ab") as file:
        file.truncate(10**10)  # of which the disk holds nothing
    assert f"{folder / name}: has 10,000,000,000 bytes; " in refused(folder)


@pytest.mark.parametrize("name", ["chat_template.jinja", "additional_chat_templates/rag.jinja"])
def test_a_template_that_is_not_utf8_is_named(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes("{{ 'é' }}".encode("latin-1"))
    assert f"{folder / name}: cannot be read, as it is not UTF-8" in refused(folder)


# ---- saving

TEMPLATE = "{{ bos_token }}{% for m in messages %}<|im|>{{ m['content'] }}{% endfor %}<|im|>"
TEXTS = ["1+1=", "hello  world", "<bos>a <|im|> b\n", "é 数 don't"]
SOURCES = {  # what tokenizer_config.json of a source says, and what its post-processor adds
    "a Qwen": ({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<eos>", "pad_token": "<pad>",
                "additional_special_tokens": ["<|im|>"], "padding_side": "left"}, "$A"),
    "a Llama": ({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": False,
                 "bos_token": "<bos>", "eos_token": "<eos>", "legacy": False}, "$A <eos>"),
    "of version 5": ({"tokenizer_class": "TokenizersBackend", "backend": "tokenizers",
                      "is_local": True, "local_files_only": False, "bos_token": "<bos>",
                      "eos_token": "<eos>", "extra_special_tokens": ["<|im|>"]}, "<bos> $A"),
    "with a named token": ({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>",
                            "image_token": "<|im|>"}, "<bos> $A <eos>"),
}  # fmt: skip


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    """A folder with a tokenizer of bytes, as other people's models have it."""
    if request.param == "of version 5" and int(transformers.__version__.split(".")[0]) < 5:
        pytest.skip("transformers 4 cannot read what version 5 wrote")
    config, around = SOURCES[request.param]
    names = ["<pad>", "<bos>", "<eos>", "<|im|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(names + letters)}, merges=[]))
    made.add_special_tokens(names)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = [("<bos>", 1), ("<eos>", 2)]
    made.post_processor = processors.TemplateProcessing(single=around, special_tokens=special)
    folder = tmp_path / "source"
    folder.mkdir()
    made.save(str(folder / FILE))
    write(folder / CONFIG, {**config, "chat_template": TEMPLATE})
    return folder


def told(tokenizer):
    """All that a tokenizer says of itself."""
    turns = [{"role": "user", "content": "1+1="}]
    return {
        "tokens": [tokenizer.encode(text) for text in TEXTS],
        "texts": [tokenizer.decode(tokenizer.encode(t), skip_special_tokens=True) for t in TEXTS],
        "chat": tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False),
        "names": {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)},
        "special": sorted(tokenizer.all_special_tokens),
        "padding": tokenizer.padding_side,
        "template": tokenizer.chat_template,
    }


def test_a_saved_tokenizer_is_the_source_again(source, tmp_path):
    tokenizer = load_tokenizer(source)
    save_tokenizer(tokenizer, tmp_path / "model")
    assert told(load_tokenizer(tmp_path / "model")) == told(tokenizer)
    assert told(transformers.AutoTokenizer.from_pretrained(tmp_path / "model")) == told(tokenizer)


def test_a_saved_tokenizer_has_only_what_transformers_4_57_can_read(source, tmp_path):
    """Each of these was tried there: it fails, or it makes other tokens."""
    save_tokenizer(load_tokenizer(source), tmp_path / "model")
    config = json.loads((tmp_path / "model" / CONFIG).read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"  # not "TokenizersBackend"
    assert isinstance(config.get("extra_special_tokens", {}), dict)  # it asks a list for its keys
    # else `model.generate(**tokenizer(text))` is given token types
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    assert not {"backend", "is_local", "local_files_only"} & set(config)


# ---- the settings of generation


def policy_of(folder):
    return Policy(build(Config, {"model": str(folder)}))


def test_a_trained_model_gets_the_settings_of_generation_that_are_known(folder, tmp_path):
    secret = tmp_path / "credentials.json"
    write(secret, {"password": "hunter2", "eos_token_id": [2], "temperature": 0.6})
    (folder / "generation_config.json").symlink_to(secret)
    policy = policy_of(folder)
    policy.save(tmp_path / "trained", dict(policy.model.state_dict()))
    saved = tmp_path / "trained" / "generation_config.json"
    assert json.loads(saved.read_text()) == {"eos_token_id": [2], "temperature": 0.6}
    assert not saved.is_symlink()
    assert not any(b"hunter2" in p.read_bytes() for p in (tmp_path / "trained").iterdir())


@pytest.mark.parametrize("content", ["root:x:0:0:root", b"\xff", "[1]", "[" * 100_000])
def test_settings_of_generation_that_are_no_json_are_refused_before_the_run(folder, content):
    write(folder / "generation_config.json", content)
    with pytest.raises(UserError, match=r"generation_config\.json: ") as error:
        policy_of(folder)
    assert "\n" not in str(error.value)


def test_a_model_without_settings_of_generation_gets_none(folder, tmp_path):
    assert generation_settings(folder) == {}
    policy = policy_of(folder)
    policy.save(tmp_path / "trained", dict(policy.model.state_dict()))
    assert not (tmp_path / "trained" / "generation_config.json").exists()


# ---- has anything changed?


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", FILE, CONFIG, "generation_config.json", "merges.txt",
     "chat_template.jinja", "additional_chat_templates/rag.jinja", "tokenizer.model"],
)  # fmt: skip
def test_a_file_that_changed_is_named(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    before = fingerprint(folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + b"x" if content else b"x")
    after = fingerprint(folder)
    assert {n for n in before | after if before.get(n) != after.get(n)} == {name}
    (folder / name).unlink()
    assert before.keys() - fingerprint(folder).keys() == {name}


def test_a_file_that_nothing_reads_may_be_malformed(folder):
    (folder / "vocab.txt").write_bytes(b"\xff")
    (folder / "chat_template.json").write_text("[")
    assert len(load_tokenizer(folder)) == 19


def test_files_that_are_not_read_may_change(folder):
    before = fingerprint(folder)
    (folder / "README.md").write_text("A model.")
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert fingerprint(folder) == before
