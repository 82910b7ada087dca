"""rollout.py: sampling frequencies, recorded log-probabilities, stops, rows that leave early."""

import pytest
import torch
from conftest import random_model

import rollout
from rollout import Sampler, generate, generate_batch, generate_groups, uniforms

PROMPT = [3, 7, 1, 9]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(model, n=6, **changes):
    arguments = dict(max_new_tokens=12, stop_ids=[2, 5], generator=seeded())
    return generate(model, PROMPT, n, **(arguments | changes))


def truncated_softmax(logits, temperature, top_k, top_p):
    """By the definitions, one token at a time."""
    p = (logits.double() / temperature).softmax(0)
    order = sorted(range(len(p)), key=lambda i: -float(p[i]))
    kept = order[:top_k] if top_k else order
    p = torch.tensor(
        [float(p[i]) if i in kept else 0.0 for i in range(len(p))], dtype=torch.float64
    )
    p /= p.sum()
    mass, nucleus = 0.0, []
    for i in order:
        if mass >= top_p:
            break
        nucleus.append(i)
        mass += float(p[i])
    p = torch.tensor([float(p[i]) if i in nucleus else 0.0 for i in range(len(p))])
    return p / p.sum()


@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (0, 0.8), (6, 0.7)])
def test_frequencies_are_those_of_the_softmax(temperature, top_k, top_p):
    """Chi-square over 20,000 draws at the 1e-4 level; a token outside the cut is never drawn."""
    draws = 20_000
    logits = torch.randn(12, generator=seeded(7))
    pick = Sampler(uniforms(draws, 1, seeded(8)), temperature, top_k, top_p)
    tokens, _ = pick(logits.expand(draws, -1), torch.arange(draws), 0)
    counts = tokens.bincount(minlength=12).double()
    expected = draws * truncated_softmax(logits, temperature, top_k, top_p).double()
    assert counts[expected == 0].sum() == 0
    real = expected > 0
    chi2 = ((counts - expected)[real] ** 2 / expected[real]).sum()
    degrees = int(real.sum()) - 1
    # Wilson and Hilferty's cube-root approximation of the 0.9999 quantile
    limit = degrees * (1 - 2 / (9 * degrees) + 3.72 * (2 / (9 * degrees)) ** 0.5) ** 3
    assert chi2 < limit


@pytest.mark.parametrize("temperature", [0.6, 1.0])
@pytest.mark.parametrize("cut", [{}, {"top_k": 4}, {"top_p": 0.7}])
def test_recorded_logprobs_equal_a_fresh_forward(tiny, temperature, cut):
    """Of the whole distribution at the sampling temperature, whatever top-k and top-p cut."""
    group = sample(tiny, temperature=temperature, **cut)
    logits = tiny(group.tokens[:, :-1])[:, group.prompt_len - 1 :] / temperature  # (n, T_new, V)
    fresh = logits.log_softmax(-1).gather(2, group.tokens[:, group.prompt_len :, None])[..., 0]
    torch.testing.assert_close(group.logprobs, fresh * group.mask, atol=1e-5, rtol=0)


def test_every_stop_id_ends_a_row_and_is_part_of_it(tiny):
    group = sample(tiny, n=64, max_new_tokens=30)
    stops = set()
    for row, length, finished in zip(
        group.tokens[:, 4:].tolist(), group.lengths.tolist(), group.finished.tolist(), strict=True
    ):
        inside, last = row[: length - 1], row[length - 1]
        assert not {2, 5} & set(inside)
        assert finished == (last in (2, 5))
        assert not any(row[length:])
        stops.add(last)
    assert {2, 5} <= stops


def test_lengths_are_carried_not_read_off_the_padding(tiny):
    """Token 0 is a word like any other; it also fills the columns after the end."""
    group = sample(tiny, n=64, stop_ids=[0], max_new_tokens=30)
    assert group.finished.any()
    for row, length in zip(
        group.tokens[group.finished][:, 4:], group.lengths[group.finished], strict=True
    ):
        assert row[length - 1] == 0
        assert (row[: length - 1] != 0).all()
    assert group.mask.sum(1).tolist() == group.lengths.tolist()


def test_dropping_finished_rows_changes_no_token(tiny):
    """What a row says until its stop is what it says when nothing ever stops."""
    stopped = sample(tiny, n=16, max_new_tokens=40)
    free = sample(tiny, n=16, max_new_tokens=40, stop_ids=[])
    assert len(set(stopped.lengths.tolist())) > 3
    for row, length in enumerate(stopped.lengths.tolist()):
        assert stopped.tokens[row, : 4 + length].tolist() == free.tokens[row, : 4 + length].tolist()
    torch.testing.assert_close(
        stopped.logprobs,
        (free.logprobs[:, : stopped.logprobs.shape[1]] * stopped.mask),
        atol=1e-5,
        rtol=0,
    )


def test_a_part_of_the_rows_is_as_in_the_whole(tiny):
    """What lets several processes share a group; and the next group begins alike for all."""
    whole, stream = sample(tiny, n=6, max_new_tokens=40), seeded()
    part = sample(tiny, n=6, max_new_tokens=40, generator=stream, part=slice(2, 5))
    used = part.tokens.shape[1]
    assert part.tokens.tolist() == whole.tokens[2:5, :used].tolist()
    assert part.lengths.tolist() == whole.lengths[2:5].tolist()
    after_whole = seeded()
    sample(tiny, n=6, max_new_tokens=40, generator=after_whole)
    assert torch.rand(1, generator=stream) == torch.rand(1, generator=after_whole)


def test_the_rows_of_a_group_differ_from_the_first_token_on(tiny):
    first = sample(tiny, n=64).tokens[:, 4]
    assert len(set(first.tolist())) > 3


def test_a_stop_id_inside_the_prompt_ends_nothing(tiny):
    group = generate(tiny, [2, 5, 2], 8, max_new_tokens=5, stop_ids=[2, 5], generator=seeded())
    assert (group.lengths > 1).any()


def test_greedy_is_the_argmax(tiny):
    group = sample(tiny, n=3, temperature=0, stop_ids=[])
    expected = tiny(group.tokens[:, :-1])[:, 3:].argmax(-1)
    assert torch.equal(group.tokens[:, 4:], expected)


def test_the_same_generator_state_gives_the_same_group(tiny):
    assert torch.equal(sample(tiny).tokens, sample(tiny).tokens)
    assert not torch.equal(sample(tiny).tokens, sample(tiny, generator=seeded(1)).tokens)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_batch_of_different_prompts_equals_each_alone(tiny, temperature):
    """Fails where positions count from the padding, or pads are seen."""
    prompts = [[4], PROMPT * 3, PROMPT, [8, 6]]
    arguments = dict(max_new_tokens=12, temperature=temperature, stop_ids=[2])
    batch = generate_batch(tiny, prompts, generator=seeded(), **arguments)
    # one uniform number a row and step, so the numbers of a row alone can be handed to it
    for row, prompt in enumerate(prompts):
        tokens = batch.responses()[row]
        context = torch.tensor([prompt + tokens])
        logp = tiny(context)[0, len(prompt) - 1 :].log_softmax(-1)
        alone = logp[range(len(tokens)), tokens]
        torch.testing.assert_close(batch.logprobs[row, : len(tokens)], alone, atol=1e-5, rtol=0)
        if temperature == 0:
            one = generate(tiny, prompt, 1, generator=seeded(), **arguments)
            assert one.responses()[0] == tokens


# ---- several prompts, n rows each, in one batch

FAMILIES = {
    "qwen2": {},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "llama": {"model_type": "llama", "num_key_value_heads": 4, "tie_word_embeddings": False},
}


def prompts_of(lengths):
    draw = seeded(4)
    return [torch.randint(0, 23, (length,), generator=draw).tolist() for length in lengths]


def one_after_the_other(model, prompts, n, **how):
    return [generate(model, prompt, n, **how) for prompt in prompts]


def assert_same(groups, others):
    for group, other in zip(groups, others, strict=True):
        assert group.prompt_len == other.prompt_len
        assert torch.equal(group.tokens, other.tokens)
        assert torch.equal(group.lengths, other.lengths)
        assert torch.equal(group.finished, other.finished)
        torch.testing.assert_close(group.logprobs, other.logprobs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("lengths", "n", "stops", "how"),
    [
        ((4, 4, 4), 3, (2, 5), {}),  # nothing is padded
        ((9, 1, 4, 4, 7), 4, (2, 5), {}),
        ((3, 8, 5), 6, (2, 5, 7, 9, 11), {"top_p": 0.8}),  # rows end early, and are dropped often
        ((6, 2), 5, tuple(range(23)), {}),  # all at the first token
        ((2, 6, 3), 2, (), {"top_k": 4}),  # none
        ((5, 3, 8), 1, (2, 5), {"temperature": 0.7}),
        ((9, 1, 4, 4, 7, 2), 4, (2, 5), {"at_once": 9}),  # two prompts at a time
        ((9, 1, 4), 4, (2, 5), {"at_once": 1}),  # a prompt's rows stay together
    ],
)
def test_several_prompts_say_what_each_says_alone(family, graph, lengths, n, stops, how):
    model, prompts = random_model(**FAMILIES[family]), prompts_of(lengths)
    for seed in range(3):
        rest = {"max_new_tokens": 17, "stop_ids": stops, **how}
        streams = seeded(seed), seeded(seed)
        groups = generate_groups(model, prompts, n, generator=streams[0], graph=graph, **rest)
        assert_same(groups, one_after_the_other(model, prompts, n, generator=streams[1], **rest))
        assert torch.equal(*(torch.rand(1, generator=stream) for stream in streams))


@pytest.mark.parametrize("graph", [False, True])
def test_processes_that_share_the_rows_of_several_prompts_say_the_same(tiny, graph):
    prompts, rest = prompts_of((9, 1, 4, 7)), {"max_new_tokens": 17, "stop_ids": [2, 5]}
    whole = generate_groups(tiny, prompts, 6, generator=seeded(), **rest)
    for part in (slice(0, 3), slice(3, 6)):
        mine = generate_groups(
            tiny, prompts, 6, generator=seeded(), part=part, graph=graph, at_once=7, **rest
        )
        for group, of_all in zip(mine, whole, strict=True):
            used = group.tokens.shape[1]
            assert group.tokens.tolist() == of_all.tokens[part, :used].tolist()
            assert group.lengths.tolist() == of_all.lengths[part].tolist()


def test_a_batch_has_no_more_rows_than_it_may(tiny, monkeypatch):
    """Prompts of like length go together; those of one prompt are never parted."""
    begun = []
    decoder = rollout.Decoder
    monkeypatch.setattr(
        rollout, "Decoder",
        lambda model, cache, n, *rest, **how: begun.append((cache.length, n))
        or decoder(model, cache, n, *rest, **how),
    )  # fmt: skip
    rest = {"max_new_tokens": 2, "stop_ids": [], "generator": seeded()}
    generate_groups(tiny, prompts_of((9, 1, 4, 4, 7)), 4, at_once=11, **rest)
    assert begun == [(4, 8), (7, 8), (9, 4)]
    begun.clear()
    generate_groups(tiny, prompts_of((9, 1)), 4, at_once=3, **rest)
    assert begun == [(1, 4), (9, 4)]


def test_a_group_keeps_no_memory_of_the_others(tiny):
    """What is sent to other processes is the whole storage of a tensor, also that of a view."""
    rest = {"max_new_tokens": 9, "stop_ids": [2], "generator": seeded()}
    for group in generate_groups(tiny, prompts_of((3, 3, 5)), 4, **rest):
        for tensor in (group.tokens, group.logprobs, group.lengths, group.finished):
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_a_group_can_be_differentiated(tiny):
    """Inference-mode tensors would raise here."""
    group = sample(tiny)
    tiny(group.tokens).log_softmax(-1).gather(2, group.tokens[..., None]).sum().backward()
    assert tiny.model["norm"].weight.grad is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stop_ids": [23]}, "stop id 23 is outside the vocabulary of 23"),
        ({"stop_ids": [-1]}, "stop id -1"),
        ({"n": 0}, "at least 1"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
    ],
)
def test_arguments_without_sense_are_refused(tiny, changes, message):
    with pytest.raises(ValueError, match=message):
        sample(tiny, **changes)


def test_an_empty_prompt_is_refused(tiny):
    with pytest.raises(ValueError, match="empty prompt"):
        generate(tiny, [], 2, max_new_tokens=3, stop_ids=[], generator=seeded())


def test_entropy_estimates_that_of_the_policy():
    model = random_model()
    group = sample(model, n=2000, max_new_tokens=1, stop_ids=[])
    logp = model(torch.tensor([PROMPT]))[0, -1].log_softmax(-1).detach()
    assert abs(group.entropy() + float((logp.exp() * logp).sum())) < 0.1


def test_no_prompts_have_no_groups():
    arguments = dict(max_new_tokens=4, stop_ids=[], generator=seeded())
    assert generate_groups(random_model(), [], 3, **arguments) == []
