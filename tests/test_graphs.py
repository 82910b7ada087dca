"""graphs.py and the loop above it: the tokens of the loop that grows, whatever is dropped when."""

import contextlib
import types
from typing import ClassVar

import pytest
import torch
from conftest import random_model

import graphs
from rollout import generate, generate_batch

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
        def __init__(self, graph):
            if cuda.refuses:
                raise RuntimeError("operation not permitted\nmore of it")
            self.graph = graph

        def __enter__(self):
            cuda.recording = self.graph

        def __exit__(self, *_):
            cuda.recording = None

    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    cuda = types.SimpleNamespace(refuses=False, recording=None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
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
    return cuda


def test_each_graph_replays_its_own_step(cuda, often):
    model = random_model()
    plain = sampled(model, False)
    assert_same(sampled(model, True), plain)
    assert Graph.made and sum(graph.replays for graph in Graph.made) > 0


def test_a_step_that_cannot_be_recorded_is_carried_out_as_it_is(cuda, capsys):
    cuda.refuses = True
    model = random_model()
    assert_same(sampled(model, True), sampled(model, False))
    assert "cannot be a CUDA graph (operation not permitted)" in capsys.readouterr().err
    assert not any(graph.replays for graph in Graph.made)


def test_without_cuda_a_step_is_a_step():
    done = []
    again = graphs.begin(lambda: done.append(1), torch.device("cpu"))
    again()
    assert len(done) == 2
