"""What several tests need: one thread, the shipped base model, small random models."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from data import draw_problem, load_tokenizer, write_jsonl
from model import Transformer, load

ROOT = Path(__file__).parents[1]
NEEDS_TRANSFORMERS_5 = pytest.mark.skipif(
    int(version("transformers").split(".")[0]) < 5,
    reason="transformers 4 reads such files in another way, or cannot",
)
TINY = {
    "model_type": "qwen2", "vocab_size": 23, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}  # fmt: skip


def write_carries(file: Path) -> Path:
    """A pool of ten problems, every one of which can teach."""
    rng = np.random.default_rng(0)
    problems = [draw_problem("arithmetic", "carry", "+-"[i % 2], rng) for i in range(10)]
    write_jsonl(file, problems)
    return file


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base():
    return load(ROOT / "base")


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(ROOT / "base")


# what tiny models of transformers have: their sizes, and two kinds of rope
SHAPE = dict(
    vocab_size=53, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, eos_token_id=None, bos_token_id=None,
)  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 5e3, "factor": 4.0}


def random_model(**changes) -> Transformer:
    """A tiny model with weights large enough that its distributions are far from flat."""
    torch.manual_seed(0)
    model = Transformer({**TINY, **changes})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def tiny() -> Transformer:
    return random_model()


@pytest.fixture
def in_the_project(monkeypatch):
    """Commands find base/ and small.json, and no run draws its figure, which takes the longest."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("report.draw", lambda out: "not drawn: takes longer than the run")


def train_small(out: Path, sets: Sequence[str], resume: Sequence[str] = ()) -> int:
    """Run `train.py` with small.json and these keys set; return its exit code."""
    words = [word for pair in sets for word in ("--set", pair)]
    return train.main(["--config", "small.json", "--out", str(out), *words, *resume])
