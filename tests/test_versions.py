"""Versions: the ranges that are supported, the versions that were tested, and files for both."""

import json
import re
from importlib.metadata import PackageNotFoundError, version

import pytest
import transformers
from conftest import ROOT
from packaging.requirements import Requirement

from data import load_tokenizer
from plumbing.tokenizer import save_tokenizer
from warmup import build_tokenizer

RUN_TIME = {"torch", "transformers", "safetensors", "numpy", "tqdm"}


def read(name: str) -> dict[str, Requirement]:
    """The packages of a requirements file, and of those that it names with -r."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            found |= read(line.removeprefix("-r ").strip())
        elif line:
            requirement = Requirement(line)
            found[requirement.name] = requirement
    return found


def allows(requirement: Requirement, number: str) -> bool:
    """A build of one's own, such as 2.11.0+cu130 or a nightly one, is in the range too."""
    return requirement.specifier.contains(number, prereleases=True)


def test_at_run_time_there_are_five_packages():
    assert set(read("requirements.txt")) == RUN_TIME


@pytest.mark.parametrize("name", read("requirements-dev.txt"))
def test_a_range_holds_the_tested_and_the_installed_version(name):
    wanted = read("requirements-dev.txt")[name]
    (pin,) = read("requirements-tested.txt")[name].specifier
    assert pin.operator == "==" and allows(wanted, pin.version)
    try:
        installed = version(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed, and what needs it is skipped too")
    assert allows(wanted, installed)


def test_every_tested_version_is_of_a_package_that_is_needed():
    assert set(read("requirements-tested.txt")) == set(read("requirements-dev.txt"))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("torch", "2.11.0+cu130"), ("torch", "2.9.0"), ("torch", "2.14.1"),
        ("transformers", "4.57.6"), ("transformers", "5.17.0"), ("numpy", "1.26.4"),
        ("numpy", "2.5.0"),
    ],
)  # fmt: skip
def test_what_a_machine_already_has_need_not_be_replaced(name, number):
    assert allows(read("requirements.txt")[name], number)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_each_range_says_its_lowest_version_as_the_checks_read_it(name):
    """.ci/run installs what stands behind ">=", which no package may lack."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    ranges = [line for line in lines if not line.startswith("-r ")]
    assert all(re.fullmatch(r"[a-z-]+>=[0-9.]+(,<[0-9.]+)?", line) for line in ranges)


def test_what_the_pages_install_from_is_there():
    named = []
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for command in re.findall(r"pip install[^\n`]*", page.read_text(encoding="utf-8")):
            named += re.findall(r"(?:-r|-c|--requirement|--constraint)[ =](\S+)", command)
    assert {"requirements.txt", "requirements-dev.txt"} <= set(named)
    assert all((ROOT / name).is_file() for name in named), named


# ---- the tokenizers that are shipped


@pytest.mark.parametrize("folder", ["base", "base-tables"])
def test_a_shipped_tokenizer_is_what_warmup_writes_and_both_major_versions_load(folder, tmp_path):
    built = build_tokenizer()
    save_tokenizer(built, tmp_path)
    name = "tokenizer_config.json"
    shipped, written = (json.loads((f / name).read_text()) for f in (ROOT / folder, tmp_path))
    assert shipped.items() <= written.items()  # version 4 writes further keys
    # 5 writes TokenizersBackend for a class that 4 knows by this name only
    assert shipped["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert hasattr(transformers, shipped["tokenizer_class"])
    graphs = [json.loads((f / "tokenizer.json").read_text()) for f in (ROOT / folder, tmp_path)]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("folder", ["base", "base-tables"])
def test_whoever_loads_a_shipped_tokenizer_gets_the_same_tokens(folder):
    text = "0123456789+-*=,#"
    theirs = transformers.AutoTokenizer.from_pretrained(str(ROOT / folder))
    fast = transformers.PreTrainedTokenizerFast.from_pretrained(str(ROOT / folder))
    expected = [1, *range(3, 19)]  # BOS, and one token per character
    ours = load_tokenizer(ROOT / folder)
    assert [t.encode(text) for t in (theirs, fast, ours)] == [expected] * 3
    assert {t.eos_token_id for t in (theirs, fast, ours)} == {2}
