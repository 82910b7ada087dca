"""The configuration: numbers of the key's own type, and float16 refused with reasons."""

from dataclasses import asdict, fields
from typing import get_type_hints

import pytest

from plumbing.command import UserError
from plumbing.config import Config, build, differences

WHOLE = {
    "stop_accuracy": 1,
    "selector": {"ema": 1, "bonus": 1},
    "lora": {"alpha": 1},
    "rollout": {"temperature": 1, "top_p": 1},
    "update": {
        "lr": 1, "beta1": 0, "beta2": 0, "weight_decay": 1, "grad_clip": 2, "clip_low": 1,
        "clip_high": 1, "sampler_cap": 1, "kl_coef": 1,
    },
}  # fmt: skip


def decimal_keys(config, path=""):
    """Each key whose value is a decimal number, with that value."""
    for field in fields(config):
        value = getattr(config, field.name)
        if hasattr(value, "__dataclass_fields__"):
            yield from decimal_keys(value, f"{path}{field.name}.")
        elif get_type_hints(type(config))[field.name] is float:
            yield path + field.name, value


def test_whole_numbers_of_decimal_keys_become_decimal():
    found = dict(decimal_keys(build(Config, WHOLE)))
    assert len(found) == sum(len(v) if isinstance(v, dict) else 1 for v in WHOLE.values())
    assert all(type(value) is float for value in found.values()), found


def test_a_whole_and_a_decimal_number_are_the_same_on_resume():
    ours = asdict(build(Config, {"update": {"beta1": 0}, "rollout": {"temperature": 1}}))
    theirs = {**ours, "update": {**ours["update"], "beta1": 0}}
    theirs["rollout"] = {**ours["rollout"], "temperature": 1}
    assert differences(ours, theirs) == []


@pytest.mark.parametrize("other", [0.5, True, "0.0", None, 10**400, float("nan"), [0]])
def test_any_other_value_is_a_difference_on_resume(other):
    ours = asdict(build(Config, {"update": {"beta1": 0}}))
    theirs = {**ours, "update": {**ours["update"], "beta1": other}}
    assert [key for key, *_ in differences(ours, theirs)] == ["update.beta1"]


def test_float16_is_refused_with_what_to_use():
    with pytest.raises(UserError, match=r"^precision: float16 .* loss scaling; .* T4, float32$"):
        build(Config, {"precision": "float16"})
    with pytest.raises(UserError, match=r"^precision: must be 'float32' or 'bfloat16', not 'half'"):
        build(Config, {"precision": "half"})


@pytest.mark.parametrize("value", [True, "1", None, [1], 10**400, float("inf")])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(UserError, match=r"^update\.beta1: must be a finite number"):
        build(Config, {"update": {"beta1": value}})
