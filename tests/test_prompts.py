"""Prompts: the tokens that transformers makes of a chat, and templates that are refused."""

import copy
import dataclasses
import datetime
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from tokenizers.processors import Sequence, TemplateProcessing

import policy
from data import (
    ALPHABET,
    Problem,
    load_jsonl,
    load_tokenizer,
    make_prompts,
    prompt_ids,
    task_problems,
)
from plumbing import chat
from plumbing.command import UserError
from plumbing.config import Config, build, differences, with_date
from warmup import BOS, EOS

SUM = Problem("1+1=", "2")
IDS = [4, 13, 4, 16]


def chatty(template, **names):
    """The shipped tokenizer with a chat template."""
    tokenizer = load_tokenizer(ROOT / "base")
    tokenizer.chat_template = template
    for name, value in names.items():
        setattr(tokenizer, name, value)
    return tokenizer


def refused(template, system=""):
    """The one line that a chat with this template ends in."""
    with pytest.raises(UserError) as error:
        prompt_ids(chatty(template), "chat", SUM, system)
    assert "\n" not in str(error.value) and error.value.code == 2
    return str(error.value)


# ---- templates with {problem}


def test_exactly_one_bos(tokenizer):
    assert prompt_ids(tokenizer, "{problem}", SUM) == [BOS, *IDS]
    assert prompt_ids(tokenizer, "<bos>{problem}", SUM) == [BOS, *IDS]


SINGLE = {"none": "$A", "bos": "<bos> $A", "eos": "$A <eos>", "both": "<bos> $A <eos>"}


def put_around(tokenizer, single):
    """Give a tokenizer a post-processor; None takes it away."""
    special = [("<bos>", BOS), ("<eos>", EOS)]
    processor = TemplateProcessing(single=SINGLE[single], special_tokens=special)
    # as in Llama 3's tokenizer.json
    tokenizer.backend_tokenizer.post_processor = Sequence([processor])
    return tokenizer


@pytest.mark.parametrize("around", SINGLE)
def test_a_prompt_begins_with_the_tokenizers_bos_and_never_ends_in_its_eos(around):
    tokenizer = put_around(load_tokenizer(ROOT / "base"), around)
    first = [BOS] if around in ("bos", "both") else []
    assert prompt_ids(tokenizer, "{problem}", SUM) == [*first, *IDS]
    assert prompt_ids(tokenizer, "<bos>{problem}", SUM) == [BOS, *IDS]
    assert prompt_ids(tokenizer, "{problem}<eos>", SUM) == [*first, *IDS, EOS]  # asked for
    assert prompt_ids(tokenizer, "{problem}", SUM, prefill="1#") == [*first, *IDS, 4, 18]


def test_a_bos_that_only_the_post_processor_knows_is_not_doubled():
    tokenizer = put_around(load_tokenizer(ROOT / "base"), "both")
    tokenizer.bos_token = None
    assert prompt_ids(tokenizer, "{problem}", SUM) == [BOS, *IDS]
    assert prompt_ids(tokenizer, "<bos>{problem}", SUM) == [BOS, *IDS]


def test_a_character_outside_the_vocabulary_is_an_error(tokenizer):
    with pytest.raises(UserError, match="cannot encode '2x='"):
        prompt_ids(tokenizer, "{problem}", Problem("2x=", "2"))


def test_an_unknown_character_is_named_with_the_alphabet_and_where_it_stands(tmp_path, tokenizer):
    file = tmp_path / "p.jsonl"
    file.write_text('{"problem": "1+1=", "answer": 2}\n{"problem": "7 mod 2=", "answer": 1}\n')
    with pytest.raises(UserError) as error:
        for problem in load_jsonl(file):
            prompt_ids(tokenizer, "<bos>{problem}", problem)
    assert str(error.value).startswith(f"{file}:2: ")
    assert f"knows {ALPHABET} and not ' mod'" in str(error.value)
    [problem] = task_problems("arithmetic", 1, np.random.default_rng(0))
    with pytest.raises(UserError, match=r"^task 'arithmetic': .* and not 'Q'"):
        prompt_ids(tokenizer, "Q{problem}", problem)


def test_a_message_about_a_long_prompt_is_short(tokenizer):
    with pytest.raises(UserError) as error:
        prompt_ids(tokenizer, "{problem}", Problem("x" * 100_000, "2"))
    assert len(str(error.value)) < 500


def test_a_prompt_without_tokens_is_refused_with_its_place(monkeypatch):
    model = policy.Policy(build(Config, {"model": str(ROOT / "base")}))
    for ids, why in (([], "empty"), ([3, 19], "token 19 is not in its vocabulary of 19")):
        monkeypatch.setattr(policy, "make_prompts", lambda *given, ids=ids, **named: [ids])
        with pytest.raises(UserError, match=rf"^p\.jsonl:7: its prompt .*\({why}\)"):
            model.prompt(dataclasses.replace(SUM, source="p.jsonl:7"))


def test_a_policy_makes_each_prompt_once(monkeypatch):
    asked, make = [], policy.make_prompts
    monkeypatch.setattr(policy, "make_prompts", lambda t, name, new, *more, **named: (
        asked.extend(new), make(t, name, new, *more, **named))[1])  # fmt: skip
    model = policy.Policy(build(Config, {"model": str(ROOT / "base")}))
    other = Problem("2+2=", "4")
    assert model.prompts([SUM, other, SUM]) == [[BOS, *IDS], [BOS, 5, 13, 5, 16], [BOS, *IDS]]
    assert model.prompt(SUM) == [BOS, *IDS] and asked == [SUM, other]


# ---- chats, beside transformers

# written as the templates of ChatML, Llama 2, Llama 3 and Gemma are
TEMPLATES = {
    "no bos": "{% for m in messages %}{{ m['content'] }}#{% endfor %}",
    "one bos": "{{ bos_token }}{% for m in messages %}{{ m.content }}#{% endfor %}",
    "two": "{{ bos_token }}<bos>{% for m in messages %}{{ m.content }}{% endfor %}",
    "eos": "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}<bos>#",
    "newline": "\n{{- bos_token }}{%- for m in messages %}\n{{- m.content }}#\n{%- endfor %}",
    "blocks": "{% for m in messages %}\n    {% if loop.first %}\n{{ bos_token -}}\n"
    "    {% endif %}\n{{- m['content'] | trim -}}\n{% endfor %}\n"
    "{%- if add_generation_prompt %}#{% endif %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% if loop.index > 5 %}{% break %}{% endif %}{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% endfor %}{{ ns.n }}{{ messages[-1]['content'] }}",
    "names": "{% if tools is none and documents is none and not x is defined %}1{% endif %}"
    "{{ dict(a=5).a }}{{ 7 | tojson }}{{ messages[0].content }}{% if strftime_now %}2{% endif %}",
    "roles": "{% for m in messages %}{{ {'user': '1', 'system': '2'}[m.role] }}{% endfor %}",
    "macro": "{% macro turn(m) %}{{ m.content }}{% endmacro %}{{ turn(messages[0]) }}",
}


@pytest.mark.parametrize("around", ["none", "both"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_has_the_tokens_of_transformers(name, around):
    tokenizer = put_around(chatty(TEMPLATES[name]), around)
    for system in ("", "1-1=0"):
        turns = [{"role": "system", "content": system}] if system else []
        turns += [{"role": "user", "content": SUM.text}]
        ids = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert prompt_ids(tokenizer, "chat", SUM, system) == ids
    first_words = tokenizer.encode("1+1=2", add_special_tokens=False)
    assert prompt_ids(tokenizer, "chat", SUM, "1-1=0", "{problem}2") == ids + first_words


def test_a_template_that_begins_with_a_space_has_it_before_its_bos():
    template = " {{ bos_token }}{{ messages[0].content }}\n"
    turns = [{"role": "user", "content": SUM.text}]
    tokenizer = chatty(template)
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert chat.lay_out(tokenizer, [turns]) == [text] == [" <bos>1+1="]


def test_a_tokenizer_of_bytes_makes_the_same_chat(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: i for i, token in enumerate(names + letters)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.add_special_tokens(names)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": "<bos>", "eos_token": "<eos>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "chat_template.jinja").write_text(
        " {{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    )
    tokenizer = load_tokenizer(tmp_path)
    turns = [{"role": "system", "content": "Sí."}, {"role": "user", "content": "1 < 2\n数?"}]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert prompt_ids(tokenizer, "chat", Problem("1 < 2\n数?", "2"), "Sí.") == ids
    assert ids.count(0) == 1 and 1 not in ids


def test_a_chat_has_its_system_line_and_its_first_words(tokenizer):
    talking = copy.deepcopy(tokenizer)
    talking.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{{ '+' if m['role'] == 'system' else '=' }}"
        "{% endfor %}"
    )
    ids = prompt_ids(talking, "chat", Problem("2", ""), system="1", prefill="{problem}+3#")
    assert talking.decode(ids) == "1+2=2+3#"
    assert talking.decode(prompt_ids(talking, "chat", Problem("2", ""))) == "2="


# ---- templates that are refused


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('System role not supported') }}", "says: System role not supported"),
        ("{{ raise_exception('a\nb\x1b[31m\u2028c') }}", r"says: a b\x1b[31m\u2028c;"),
        ("{{ raise_exception('') }}", "refuses this chat"),
        ("{% if %}", "line 1 is not valid Jinja (Expected an expression"),
        ("1\n{{ 2 | nosuch }}", "line 2 is not valid Jinja (No filter named 'nosuch'"),
        ("{{ conversation[0].content }}", "('conversation' is undefined)"),
        ("{{ messages[0]['content'].text.x }}", "uses a name that is not there"),
        ("{{ ''.__class__.__mro__ }}", "does what the sandbox forbids"),
        ("{% set n = namespace(a=1) %}{{ n.__class__.__mro__ }}", "does what the sandbox forbids"),
        ("{{ dict.__subclasses__() }}", "does what the sandbox forbids"),
        ("{{ dict.mro() }}", "does what the sandbox forbids"),
        ("{{ messages.append(1) }}", "does what the sandbox forbids"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "fails with RecursionError"),
        ("{{ 1 / 0 }}", "fails with ZeroDivisionError (division by zero)"),
        ("{{ 1 + messages }}", "fails with TypeError"),
        ("{{ {}[[]] }}", "template"),
        ("{% include 'other' %}", "fails with TypeError (no loader"),
        ("{# nothing #}", "makes an empty text"),
        ("{{ " + "(" * 3000 + ")" * 3000 + " }}", "fails with RecursionError"),
        ("", "has no chat template"),
        (5, "must be a text in tokenizer_config.json, not a int"),
        (["1"], "must be a text in tokenizer_config.json, not a list"),
        ({"rag": "1", "tool_use": "1"}, "no default among rag, tool_use"),
        ({"default": 5}, "must be a text"),
    ],
)
def test_what_is_wrong_with_a_template_is_one_line_with_its_words(template, words):
    assert words in refused(template)


def test_only_the_chat_that_a_template_refuses_is_refused():
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{{ messages[0].content }}"
    )
    assert "System role not supported" in refused(template, system="1")
    assert prompt_ids(chatty(template), "chat", SUM) == IDS
    assert "System role not supported" in refused(template, system="1")


def test_of_several_templates_the_default_is_used():
    assert (
        prompt_ids(chatty({"default": "{{ messages[0].content }}", "rag": "1"}), "chat", SUM) == IDS
    )


def test_a_tokenizer_without_a_template_says_what_to_use(tokenizer):
    with pytest.raises(UserError, match=r"no chat template; use '\{problem\}'"):
        prompt_ids(tokenizer, "chat", SUM)


# ---- templates without an end

LOOPS = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "template", [LOOPS, "{{ 10 ** (10 ** 8) }}", "{{ (7 ** (10 ** 8)) is odd }}"]
)
def test_a_template_without_end_is_stopped(template, monkeypatch):
    monkeypatch.setattr(chat, "MOST_SECONDS", 1)
    assert "takes more than 1 seconds; mend it" in refused(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10000000000 }}",
        "{% set x = range(90000) | map('string') | list %}{{ (x * 90000) | length }}",
        "{{ '%09999999999d' % 1 }}",
    ],
)
def test_a_template_that_fills_the_memory_is_stopped(template):
    pytest.importorskip("resource", reason="this system has no limit on memory")
    assert "takes more than 1 GiB of memory; mend it" in refused(template)


def test_a_text_of_millions_of_characters_is_refused():
    limit = "makes a text of more than 4,000,000 characters"
    assert limit in refused("{{ '1' * 5000000 }}")
    ten_gigabytes = "{% for a in range(100000) %}{{ '1' * 100000 }}{% endfor %}"
    assert limit in refused(ten_gigabytes)


@pytest.mark.parametrize("limit", ["time", "memory", "text"])
def test_a_template_that_some_problem_lets_run_for_ever_is_stopped(monkeypatch, limit):
    if limit == "memory":
        pytest.importorskip("resource", reason="this system has no limit on memory")
    monkeypatch.setattr(chat, "MOST_SECONDS", 2)
    harm, words = {
        "time": (LOOPS, "takes more than 2 seconds"),
        "memory": ("{{ 'x' * 10000000000 }}", "takes more than 1 GiB of memory"),
        "text": ("{{ '1' * 5000000 }}", "makes a text of more than"),
    }[limit]
    tokenizer = chatty("{% if messages[0].content == '3' %}" + harm + "{% endif %}1")
    some = [Problem(text, "") for text in "123"]
    assert make_prompts(tokenizer, "chat", some[:2]) == [[4], [4]]
    with pytest.raises(UserError, match=words):
        make_prompts(tokenizer, "chat", some)


def test_one_process_lays_out_many_chats_and_this_one_none(monkeypatch):
    def started(*args, run=subprocess.run, **options):
        processes.append(args)
        return run(*args, **options)

    processes = []
    monkeypatch.setattr(chat, "AT_ONCE", 3)
    monkeypatch.setattr(chat, "run", lambda **given: pytest.fail("a template ran here"))
    monkeypatch.setattr(subprocess, "run", started)
    some = [Problem(text, "") for text in "1234567"]
    ids = make_prompts(chatty("{{ messages[0].content }}"), "chat", some)
    assert ids == [[n] for n in range(4, 11)] and len(processes) == 3


def test_a_process_that_ends_otherwise_is_no_lack_of_memory(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [])
        assert "cannot be run in a process of its own (ModuleNotFoundError" in refused("1")
    for code in ("import os; os.kill(os.getpid(), 9)", "import os; os._exit(3)"):
        crashing = [sys.executable, "-c", code]
        with monkeypatch.context() as patch:
            patch.setattr(
                subprocess, "run", lambda _, run=subprocess.run, c=crashing, **o: run(c, **o)
            )
            assert "cannot be run in a process of its own (it crashed)" in refused("1")


def test_the_process_that_lays_out_chats_imports_little():
    code = "import sys; from plumbing import chat; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


# ---- the day

DAY = "{{ strftime_now('%Y-%m-%d') | replace('-', '+') }}#{{ messages[0].content }}"


def test_a_template_prints_the_day_that_it_is_given():
    tokenizer = chatty(DAY)
    ids = prompt_ids(tokenizer, "chat", SUM, date="2024-02-29")
    assert tokenizer.decode(ids) == "2024+02+29#1+1="
    today = [datetime.date.today().isoformat() for _ in range(2)]  # midnight may be near
    shown = tokenizer.decode(prompt_ids(tokenizer, "chat", SUM))
    today.append(datetime.date.today().isoformat())
    assert shown.removesuffix("#1+1=").replace("+", "-") in today


def test_a_date_that_a_template_makes_of_the_day_is_frozen_too():
    tokenizer = chatty(
        "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d+%m+%Y') %}"
        "{%- endif %}{{ date_string }}"
    )
    assert tokenizer.decode(prompt_ids(tokenizer, "chat", SUM, date="2024-02-29")) == "29+02+2024"


def config(**data):
    return build(Config, {"data": data})


def test_the_day_is_filled_in_where_a_run_begins_and_kept_when_it_is_resumed():
    begun = with_date(config(template="chat"))
    assert begun.data.date == datetime.date.today().isoformat()
    assert with_date(config(template="chat"), "2024-02-29").data.date == "2024-02-29"
    recorded = dataclasses.asdict(config(template="chat", date="2024-02-29"))
    assert not differences(dataclasses.asdict(config(template="chat")), recorded)
    other = dataclasses.asdict(config(template="chat", date="2024-03-01"))
    assert differences(other, recorded) == [("data.date", "2024-03-01", "2024-02-29")]


def test_a_run_without_a_chat_template_has_no_day():
    assert with_date(config()) == config()


@pytest.mark.parametrize("began", ["", None, 5, "2024-02-30", ["2024-02-29"]])
def test_an_older_run_has_no_day_to_keep(began):
    begun = with_date(config(template="chat"), began)
    assert begun.data.date == datetime.date.today().isoformat()


@pytest.mark.parametrize("day", ["2024-02-30", "29.02.2024", "20240229", "today", "2024-2-9"])
def test_what_is_no_day_is_refused(day):
    with pytest.raises(UserError, match=r"^data\.date: must be a day as YYYY-MM-DD"):
        config(template="chat", date=day)
    with pytest.raises(UserError, match=r"^data\.date: only the template 'chat'"):
        config(date=day)
