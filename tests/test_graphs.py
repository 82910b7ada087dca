"""graphs.py and the loop above it: the tokens of the loop that grows, whatever is dropped when."""

import contextlib
import shutil
import types
from typing import ClassVar

import pytest
import torch
from conftest import random_model
from torch._dynamo.backends.common import aot_autograd

import graphs
from grpo import token_logprobs
from plumbing.config import Config, build
from plumbing.device import graph_and_compiled
from rollout import generate, generate_batch, generate_groups

FAMILIES = {
    "qwen2": {},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "llama": {"model_type": "llama", "num_key_value_heads": 4, "tie_word_embeddings": False},
}


def sampled(model, graph, n=9, new=23, seed=0, prompts=None, stops=(2, 5), **how):
    """A group of a shared prompt, or of one prompt per row."""
    draw = torch.Generator().manual_seed(seed)
    rest = {"max_new_tokens": new, "stop_ids": list(stops), "generator": draw, "graph": graph}
    if prompts:
        return generate_batch(model, prompts, **rest, **how)
    return generate(model, [3, 4, 5, 6], n, **rest, **how)


def assert_same(one, other):
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.lengths, other.lengths)
    assert torch.equal(one.finished, other.finished)
    torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-5, rtol=0)


@pytest.fixture(params=[(4, 1), (4, 3), (8, 16), (128, 16)], ids=str)
def often(request, monkeypatch):
    """How often there is another graph, and a look at which rows have stopped."""
    monkeypatch.setattr(graphs, "WIDEN", request.param[0])
    monkeypatch.setattr(graphs, "LOOK", request.param[1])


@pytest.mark.parametrize("how", [{}, {"temperature": 0.0}, {"top_k": 5}, {"top_p": 0.8}], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_has_the_same_tokens(often, family, how):
    model = random_model(**FAMILIES[family])
    assert_same(sampled(model, True, **how), sampled(model, False, **how))


@pytest.mark.parametrize("stops", [(2,), (2, 5, 7, 9, 11), tuple(range(23))], ids=len)
def test_rows_that_stop_early_late_or_at_once_are_dropped_alike(often, stops):
    model = random_model()
    for seed in range(5):
        some = {"stops": stops, "seed": seed, "n": 12}
        assert_same(sampled(model, True, **some), sampled(model, False, **some))


@pytest.mark.parametrize("new", [1, 2, 4, 5, 8, 9])
def test_the_limit_may_be_anywhere_in_a_graph(often, new):
    model = random_model()
    assert_same(sampled(model, True, new=new), sampled(model, False, new=new))


def test_padded_prompts_have_the_same_answers(often):
    prompts = [[3, 4], [5, 6, 7, 8, 9], [10], [4] * 7]
    model = random_model()
    assert_same(sampled(model, True, prompts=prompts), sampled(model, False, prompts=prompts))


def test_no_row_depends_on_its_neighbours(often):
    model = random_model()
    whole, part = (sampled(model, True, n=8, part=p) for p in (slice(None), slice(2, 5)))
    L = part.logprobs.shape[1]
    assert torch.equal(whole.tokens[2:5, : 4 + L], part.tokens)


# ---- a stand-in for CUDA


class Graph:
    """Records a step and replays it: what `torch.cuda.CUDAGraph` does, seen from outside."""

    made: ClassVar[list["Graph"]] = []

    def __init__(self):
        Graph.made.append(self)
        self.replays, self.step = 0, None

    def replay(self):
        self.replays += 1
        self.step()


@pytest.fixture
def cuda(monkeypatch):
    """CUDA as far as `graphs.begin` asks for it; recording computes nothing."""

    class Recording:
        def __init__(self, graph, stream):
            if cuda.refuses:
                raise RuntimeError("operation not permitted\nmore of it")
            self.graph = graph

        def __enter__(self):
            cuda.recording = self.graph

        def __exit__(self, *_):
            cuda.recording = None

    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    cuda = types.SimpleNamespace(refuses=False, recording=None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    genuine = graphs.begin

    def begin(step, device):
        def once():
            if cuda.recording:  # the operations are noted, and not carried out
                cuda.recording.step = step
            else:
                step()

        return genuine(once, torch.device("cuda"))

    monkeypatch.setattr(graphs, "begin", begin)
    Graph.made.clear()
    graphs.recorder.cache_clear()
    yield cuda
    graphs.recorder.cache_clear()


def test_each_graph_replays_its_own_step(cuda, often):
    model = random_model()
    plain = sampled(model, False)
    assert_same(sampled(model, True), plain)
    assert Graph.made and sum(graph.replays for graph in Graph.made) > 0


def test_a_step_that_cannot_be_recorded_is_carried_out_as_it_is(cuda, capsys):
    cuda.refuses = True
    model = random_model()
    assert_same(sampled(model, True), sampled(model, False))
    said = capsys.readouterr().err
    assert "cannot be a CUDA graph (RuntimeError: operation not permitted)" in said
    assert not any(graph.replays for graph in Graph.made)
    cuda.refuses = False  # no other is tried, or every rollout would say so again
    tried = len(Graph.made)
    sampled(model, True)
    assert len(Graph.made) == tried == 1 and not capsys.readouterr().err


def test_without_cuda_a_step_is_a_step():
    done = []
    again = graphs.begin(lambda: done.append(1), torch.device("cpu"))
    again()
    assert len(done) == 2


# ---- torch.compile


def counted(graph_module, inputs):
    """A backend that compiles nothing and counts what it was asked for."""
    counted.graphs += 1
    return graph_module.forward


def refusing(graph_module, inputs):
    raise RuntimeError("no such operation\nmore of it")


@pytest.fixture
def compiler(monkeypatch):
    """Chooses the backend of torch.compile, which has compiled nothing yet."""

    def choose(backend):
        torch._dynamo.reset()
        graphs.compiled_step.cache_clear()
        counted.graphs = 0
        monkeypatch.setattr(graphs, "COMPILER", {"backend": backend})

    yield choose
    graphs.compiled_step.cache_clear()


GROUPS = ([[3, 4, 5, 6]], [[3, 4], [5, 6, 7, 8, 9], [10]])


def groups(model, prompts, n=16, **how):
    rest = {"max_new_tokens": 11, "stop_ids": [2, 5], **how}
    return generate_groups(
        model, prompts, n, generator=torch.Generator().manual_seed(0), **rest
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("prompts", GROUPS, ids=len)
@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_layers_say_the_same(compiler, family, prompts, backend):
    compiler(backend)
    model = random_model(**FAMILIES[family])
    both = zip(
        groups(model, prompts, graph=True, compiled=True), groups(model, prompts), strict=True
    )
    for one, other in both:
        assert_same(one, other)


def test_what_a_compiler_writes_says_the_same(compiler):
    """Inductor's C++, with which CUDA's Triton shares all but the last stage."""
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler")
    compiler("inductor")
    model = random_model()
    (one,), (other,) = (
        groups(model, GROUPS[0], graph=True, compiled=c, stop_ids=[]) for c in (True, False)
    )
    assert_same(one, other)


def test_a_shape_is_compiled_once_for_all_layers_and_rollouts(compiler, monkeypatch):
    """Prompts of 3 and of 4 tokens are of one shape, and so are all rollouts of a run."""
    monkeypatch.setattr(graphs, "WIDEN", 4)
    compiler(counted)
    model = random_model(num_hidden_layers=5)
    for seed in range(3):
        for prompt in ([3, 4, 5], [6, 7, 8, 9]):
            generate(
                model, prompt, 8, max_new_tokens=11, stop_ids=[], graph=True, compiled=True,
                generator=torch.Generator().manual_seed(seed),
            )  # fmt: skip
    assert counted.graphs == 3  # that read 4, 8 and 11 own tokens


def test_where_compiling_fails_one_line_says_so_and_the_tokens_are_the_same(compiler, capsys):
    compiler(refusing)
    model = random_model()
    for _ in range(2):
        for one, other in zip(
            groups(model, GROUPS[1], graph=True, compiled=True), groups(model, GROUPS[1]),
            strict=True,
        ):  # fmt: skip
            assert_same(one, other)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("warning: a layer cannot be compiled (")
    assert "no such operation" in said and "more of it" not in said


def test_a_compiler_that_fails_later_leaves_the_step_as_it_was(compiler, monkeypatch, capsys):
    """The step in which it fails is carried out again: nothing may be stored twice."""
    monkeypatch.setattr(graphs, "WIDEN", 4)

    def second_fails(graph_module, inputs):
        return refusing(graph_module, inputs) if counted.graphs else counted(graph_module, inputs)

    compiler(second_fails)
    model = random_model()
    some = {"stop_ids": []}
    (one,), (other,) = (
        groups(model, GROUPS[0], **some, graph=g, compiled=g) for g in (True, False)
    )
    assert_same(one, other)
    assert capsys.readouterr().err.count("cannot be compiled") == 1


def test_too_little_memory_is_no_failure_to_compile():
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        graphs.or_eager(lambda: None, full)()


# ---- the blocks of an update


def gradients(model, group, **switches):
    for name, value in switches.items():
        setattr(model, name, value)
    model.zero_grad()
    logp = token_logprobs(model, group.tokens, 4, 1.0)
    (logp * group.mask).sum().backward()
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize(
    ("family", "recompute", "whole"),
    [
        ("qwen2", True, False),
        ("qwen2", False, True),
        ("qwen3", False, True),
        ("llama", True, True),
    ],
)
def test_compiled_blocks_have_the_same_gradients(compiler, monkeypatch, family, recompute, whole):
    """Of groups of two lengths, with the prompt read once for all rows, or rows whole."""
    compiler("aot_eager")
    monkeypatch.setattr("plumbing.memory.reads_rows_whole", lambda *sizes: whole)
    model = random_model(**FAMILIES[family])
    compiled = graphs.compiled_block(model)
    assert compiled and all(p.grad is None for p in model.parameters())
    for new in (9, 5):
        group = sampled(model, False, new=new)
        plain = gradients(model, group, compiled=None, recompute=recompute)
        fast = gradients(model, group, compiled=compiled)
        for one, other in zip(fast, plain, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)


def test_what_a_compiler_writes_takes_groups_of_any_length(compiler):
    """With the attention in the graph, lengths of a second group failed on the way back."""
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler")
    compiler("inductor")
    model = random_model()
    compiled = graphs.compiled_block(model)
    for n, new in ((8, 17), (8, 18), (8, 30)):
        group = sampled(model, False, n=n, new=new, stops=())
        plain = gradients(model, group, compiled=None)
        fast = gradients(model, group, compiled=compiled)
        for one, other in zip(fast, plain, strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_blocks_are_compiled_where_there_is_a_gradient_and_nowhere_else(compiler):
    """And once for all of them: of a model with more layers nothing is left to compile."""
    compiler(counted)
    more = []
    for n_layers in (2, 4):
        model = random_model(num_hidden_layers=n_layers)
        model.compiled = graphs.compiled_block(model)
        begun = counted.graphs
        group = sampled(model, False, stops=())
        assert counted.graphs == begun > 0
        gradients(model, group)
        more.append(counted.graphs - begun)
    assert more[0] > more[1] == 0


def test_blocks_that_can_be_compiled_on_the_way_there_alone_are_not(compiler, capsys):
    compiler(aot_autograd(fw_compiler=lambda g, i: g.forward, bw_compiler=refusing))
    assert graphs.compiled_block(random_model()) is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no such operation" in said


# ---- the keys


@pytest.mark.parametrize(
    ("device", "keys", "graph", "compiled"),
    [
        ("cpu", {}, False, False),
        ("cuda", {}, True, False),  # 185 steps of 40 tokens
        ("cuda", {"rollout": {"max_new_tokens": 1024}}, True, True),
        ("cpu", {"rollout": {"max_new_tokens": 1024}}, False, False),
        ("mps", {"rollout": {"max_new_tokens": 1024}}, False, False),
        # of 1,480 rollouts 185 are paid for at 8 each, however many steps are allowed
        ("cuda", {"steps": 10**6}, True, False),
        ("cuda", {"steps": 10**6, "max_rollouts": 0}, True, True),
        ("cuda", {"compile": "on", "rollout": {"graph": "off"}}, False, True),
        ("cuda", {"compile": "off", "rollout": {"max_new_tokens": 1024}}, True, False),
        ("cpu", {"compile": "on", "rollout": {"graph": "on"}}, True, True),
    ],
)
def test_auto_is_on_where_it_was_measured_to_pay(device, keys, graph, compiled):
    found = graph_and_compiled(build(Config, keys), torch.device(device))
    assert found == {"graph": graph, "compiled": compiled}
