"""The house: what stands where, who may import whom, and that what the pages name exists."""

import ast
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

TOP = "bound data decode evaluate graphs grpo lora model policy report reward rollout select train"
TOP += " verifier warmup"
FILES = {f"{name}.py" for name in TOP.split()}
FILES |= {"README.md", "LICENSE", "small.json", "pyproject.toml", ".gitignore"}
FILES |= {"requirements.txt", "requirements-dev.txt", "requirements-tested.txt"}
FOLDERS = set(
    "answers plumbing experiments tools exercises docs tests base base-tables configs".split()
)
PACKAGES = ("answers", "plumbing")
OURS = {*TOP.split(), *PACKAGES}
HOUSE = sorted([ROOT / f"{name}.py" for name in TOP.split()]) + sorted(
    path for package in PACKAGES for path in (ROOT / package).glob("*.py")
)


def name_of(path: Path) -> str:
    """plumbing/record.py -> plumbing.record"""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules of ours that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = node.module in PACKAGES  # from plumbing import record
            found |= {f"{node.module}.{a.name}" for a in node.names} if whole else {node.module}
    return frozenset(name for name in found if name.split(".")[0] in OURS)


def tracked() -> list[str]:
    """Every file of the repository, without what a user made beside them."""
    asked = ["git", "-C", str(ROOT), "ls-files"]
    listed = subprocess.run(asked, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git repository")
    return listed.stdout.splitlines()


def test_on_the_top_level_is_what_a_student_reads():
    names = {path for path in tracked() if "/" not in path}
    assert names == FILES, names ^ FILES
    folders = {path.split("/")[0] for path in tracked() if "/" in path} - {".ci"}
    assert folders <= FOLDERS, folders - FOLDERS


ALLOWED = {  # a file or folder, and all that it may import of ours
    "select": {"plumbing.selectors"},  # its own part: the name it shares with the standard library
    "bound": {"plumbing.command"},  # only as a command
    "verifier": {"answers", "plumbing.command"},  # the second only as a command
    "answers": {"answers"},
    "data": {
        "plumbing.chat",
        "plumbing.command",
        "plumbing.hub",
        "plumbing.json_files",
        "plumbing.tokenizer",
        "answers.golds",
    },
    "model": {"plumbing.settings", "plumbing.weights"},
    "decode": {"model", "plumbing.weights"},
    "graphs": {"decode", "model", "plumbing.text_stops", "plumbing.weights"},
    "rollout": {"model", "decode", "graphs", "plumbing.text_stops", "plumbing.weights"},
    "plumbing.hub": {"plumbing", "answers"},  # golds are read as in files
    "plumbing": {"plumbing", "model", "rollout", "data"},
    "grpo": {"model", "rollout", "plumbing"},
    "lora": {"model", "plumbing"},
    "reward": {"rollout", "verifier", "data", "plumbing"},
    "policy": {"model", "lora", "reward", "rollout", "graphs", "verifier", "data", "plumbing"},
}


@pytest.mark.parametrize("path", HOUSE, ids=name_of)
def test_imports_point_one_way(path):
    name = name_of(path)
    allowed = ALLOWED.get(name, ALLOWED.get(name.split(".")[0]))
    if allowed is not None:
        foreign = {i for i in imports(path) if i not in allowed and i.split(".")[0] not in allowed}
        assert not foreign, f"{name} must not import {foreign}"


def test_no_circle():
    graph = {name_of(path): imports(path) for path in HOUSE}

    def follow(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        for other in graph.get(name, ()):
            follow(other, (*way, name))

    for name in graph:
        follow(name, ())


SCRIPTS = sorted((ROOT / "experiments").glob("*.py")) + sorted((ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_puts_the_project_on_the_path_first(path):
    """Else it runs in the tests, whose path holds the project, and nowhere else."""
    names = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module.split(".")[0])
    theirs = [name for name in names if name in OURS | {"project"}]
    library = path.name == "runs.py"  # imported by scripts that did so
    assert theirs[:1] in ([], ["project"]) or library, theirs


# ---- sizes


def functions(path: Path):
    tree = ast.parse(path.read_text())
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", HOUSE, ids=name_of)
def test_a_function_fits_a_screen_and_a_class_a_few(path):
    for f in functions(path):
        assert f.end_lineno - f.lineno < 50, f.name
        positional = [
            a.arg for a in f.args.posonlyargs + f.args.args if a.arg not in ("self", "cls")
        ]
        assert len(positional) <= 6, f.name
    classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    for c in classes:
        assert c.end_lineno - c.lineno < 160, c.name


# ---- pages

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "exercises").rglob("*.md"))
NAMES_FUNCTIONS = {ROOT / "README.md", ROOT / "docs/walk.md", ROOT / "docs/equations.md"}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1800


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_is_read_in_one_sitting(page):
    """At most 1,500 words, the strokes of tables among them."""
    words = len(page.read_text().split())
    assert words <= 1500, words


def anchors(page: Path) -> set[str]:
    """What a link may name behind its #: the page's headings, as code hosts spell them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve_and_lines_are_short(page):
    text = page.read_text()
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if "://" not in target:
            path = page.parent / target if target else page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), f"{target}#{anchor}"
    long = [n for n, line in enumerate(text.splitlines(), 1) if len(line) > 120 and line[0] != "|"]
    assert not long, long


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_rows_of_a_table_stand_on_lines_of_their_own(page):
    """A page that is wrapped anew may run them together, which no reader can undo."""
    for line in page.read_text().splitlines():
        assert "|---" not in line.strip()[1:] or line.strip().startswith("|---"), line


def commands(page: Path):
    """The words of every `python FILE ...` line in the fenced blocks of a page."""
    for block in re.findall(r"^```(?:bash|sh)\n(.*?)^```", page.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = min(
                    (words.index(o) for o in ("&&", "|", ">") if o in words), default=len(words)
                )
                if {"python", "torchrun"} & set(words[:end]):
                    yield words[:end]
                words = words[end + 1 :]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_name_files_and_options_that_exist(page):
    for words in commands(page):
        scripts = [n for n, word in enumerate(words) if word.endswith(".py")]
        if not scripts:
            continue
        script, options = ROOT / words[scripts[0]], words[scripts[0] + 1 :]
        assert script.is_file(), words
        source = script.read_text()
        if script.parent != ROOT:
            source += "".join(p.read_text() for p in script.parent.glob("*.py"))
        if script.name == "train_with.py":  # it hands on all options but its own
            source += (ROOT / "train.py").read_text()
        if words[scripts[0] :][1:2] == ["hub"]:  # `data.py hub` has a parser of its own
            source = (ROOT / "plumbing" / "hub.py").read_text()
        for option in options:
            if option.startswith("--") and option != "--help":
                assert f'"{option.split("=")[0]}"' in source, (words, option)
        named = [options[n + 1] for n, o in enumerate(options) if o == "--config"]
        assert script.name == "data.py" or all((ROOT / name).is_file() for name in named), words


NAMED = re.compile(r"`((?:\w+/)?\w+\.py)(?:`: `|: )([\w.]+)`")  # `grpo.py: grpo_loss`


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_functions_exist(page):
    """`file.py: name` or `file.py: Class.method`, of which docs/walk.md is full."""
    found = NAMED.findall(page.read_text())
    assert found or page not in NAMES_FUNCTIONS
    for file, name in found:
        scope = ast.parse((ROOT / file).read_text()).body
        for part in name.split("."):
            defined = {n.name: n for n in scope if hasattr(n, "name")}
            defined |= {t.id: n for n in scope if isinstance(n, ast.Assign) for t in n.targets
                        if isinstance(t, ast.Name)}  # fmt: skip
            assert part in defined, f"{page.name}: {file} has no {name}"
            scope = getattr(defined[part], "body", [])


def test_the_walk_of_one_step_needs_few_files():
    files = {file for file, _ in NAMED.findall((ROOT / "docs" / "walk.md").read_text())}
    assert len(files) <= 8, files
