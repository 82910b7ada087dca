"""A run: everything that changes while training, and so everything that a checkpoint has to hold.

Where it stands: `train.py` builds one and its loop uses it; `checkpoint.py` puts it on the disk.
"""

import json
import operator
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from model import Transformer
from plumbing import checkpoint, disk, parallel
from plumbing.command import UserError
from plumbing.config import Config, selectors, stream_seed
from plumbing.device import generator
from plumbing.memory import OffloadedAdamW
from plumbing.record import Costs, Record, Step, refuse_links
from plumbing.setup import check_folder, refuse_another_start
from plumbing.stop import Stop
from plumbing.watch import Watch

LAYOUT = 3  # of a checkpoint; one of another layout is refused


class Run:
    """The state of a run: model, optimizer, selector, random streams, costs and record.

    `fixed` names what lies outside of the configuration and must not change before a resume.
    """

    def __init__(
        self,
        cfg: Config,
        model: Transformer,
        optimizer: torch.optim.Optimizer,
        selector: selectors.OneShotSelector,
        *,
        record: Record,
        fixed: dict,
    ) -> None:
        self.cfg, self.out, self.fixed = cfg, record.out, fixed
        self.model, self.optimizer, self.selector = model, optimizer, selector
        self.step = 0
        self.candidate_stream = np.random.default_rng(stream_seed(cfg.seed, "candidates"))
        self.rollout_stream = generator(model.device)
        self.rollout_stream.manual_seed(stream_seed(cfg.seed, "rollouts"))
        self.costs = Costs(cfg.update.updates_per_group)
        self.record = record
        self.stop = Stop()
        self.stopped_by = 0  # the number of the signal that ended the loop
        self.saved_at = -1  # the step of the latest checkpoint

    @contextmanager
    def open(self, resume: str | None) -> Iterator[None]:
        """Take the run's folder for this process, and go on from a checkpoint where asked to.

        The folder is checked again once no other process can change it.  Within, Ctrl-C and SIGTERM
        end the run in good order.
        """
        first = parallel.rank() == 0
        with ExitStack() as stack:
            with parallel.all_or_none():
                self.out.mkdir(parents=True, exist_ok=True)
                if first:
                    busy = "another process is training in this folder"
                    stack.enter_context(disk.appending(self.out / "lock", busy))
                    check_folder(self.cfg, self.out, resume)
                    refuse_links(self.out)
            stack.enter_context(self.stop)
            stack.enter_context(self.record)
            with parallel.all_or_none():  # the folder is changed only once all have what they need
                lengths = self.restore(resume) if resume else {}
            with parallel.all_or_none():
                if first:
                    self.record.cut_back(lengths)
                    if resume == checkpoint.PREVIOUS:
                        checkpoint.set_latest_aside(self.out)
                    config = json.dumps(asdict(self.cfg), indent=2) + "\n"
                    disk.write_text(self.out / "config.json", config)
            yield

    # ------------------------------------------------------------------------ what the loop asks

    def goes_on(self) -> bool:
        """Return whether there is another step: none after the last, or a signal to any process."""
        if self.is_over() or self.record.may_end_early():
            return False
        self.stopped_by = max(parallel.gather(self.stop.asked))
        return not self.stopped_by

    def is_over(self) -> bool:
        """Return whether all steps are done, or the rollouts of several problems per step spent."""
        spent = 0 < self.cfg.max_rollouts <= self.costs.rollouts
        return spent or self.step >= self.record.n_steps

    def offer(self, candidates: np.ndarray) -> dict:
        """Return what the selector thinks of the candidates, before it chooses."""
        return {
            "candidates": candidates.tolist(),
            "scores": self.selector.scores(candidates).tolist(),
            "volatility": self.selector.volatility(candidates).tolist(),
            "bonus": self.selector.exploration(candidates).tolist(),
        }

    def checked(self, chosen: object) -> list[int]:
        """Return a selector's choice as plain numbers; `UserError` if it is no list of indices."""
        found = indices(chosen, len(self.record.pool))
        if not found:
            name = type(self.selector).__name__
            raise UserError(f"{name}.choose: must return indices in the pool, not {chosen}", code=1)
        return found

    def evaluation_due(self) -> bool:
        """Return whether the step that has just been counted is one after which to evaluate."""
        return self.record.evaluation_due(self.costs.rollouts) or self.is_over()

    def write(self, step: Step) -> None:
        """Record the step, save where a checkpoint is due, and show how far the run is."""
        self.record.write(step, self.costs)
        if self.step % self.cfg.checkpoint_every == 0:
            self.save()
        if step.evaluation and self.record.live:
            self.record.live.refresh()

    # ------------------------------------------------------------------------------- checkpoints

    def keepers(self) -> dict[str, Costs | Record | Watch]:
        """Return what counts along with the steps; each names in `KEPT` what has to be saved."""
        return {"costs": self.costs, "record": self.record, "watch": self.record.watch}

    def save(self) -> None:
        """Write a checkpoint into the run's folder."""
        tensors = tensors_of(self.model, self.optimizer)
        tensors["rollout_stream"] = self.rollout_stream.get_state()
        self.costs.count_total()
        values = {
            "layout": LAYOUT, "fixed": self.fixed, **self.plain_state(),
            "selector": self.selector.state_dict(),
            "files": {name: file.length() for name, file in self.record.files.items()},
        }  # fmt: skip
        if parallel.rank() == 0:
            checkpoint.save(self.out, tensors, values)
        self.saved_at = self.step

    def plain_state(self) -> dict:
        """Return the state in plain numbers and texts, but for what the selector remembers."""
        return {
            "step": self.step,
            "candidate_stream": self.candidate_stream.bit_generator.state,
            "counts": {
                kind: {name: getattr(keeper, name) for name in keeper.KEPT}
                for kind, keeper in self.keepers().items()
            },
        }

    def restore(self, which: str) -> dict[str, int]:
        """Go on from a checkpoint of this run; return how long each file of the record was then.

        `UserError` where the checkpoint is not of this run.  A process that was killed before its
        first checkpoint had written nothing, and begins anew.
        """
        if not checkpoint.exists(self.out):
            self.record.refuse_lines()
            return {}
        tensors, values = checkpoint.load(self.out, which)
        with checkpoint.refusing_foreign_state(self.out):
            if values.get("layout") != LAYOUT:
                raise UserError(f"{self.out}: its checkpoint is of another version of this project")
            refuse_another_start(self.out, values["fixed"], self.fixed)
            fresh = self.plain_state()
            evaluated = {"accuracy": 0.0, "accuracy_by_kind": {}}  # before the first step, always
            fresh["counts"]["record"] |= {"before": evaluated, "last": evaluated}
            checkpoint.check_structure({name: values[name] for name in fresh}, fresh)
            lengths = self.record.lengths_to_restore(values["files"], values["step"])
            restore_model(self.model, self.optimizer, tensors)
            restore_generator(self.rollout_stream, tensors["rollout_stream"])
            self.selector.load_state_dict(values["selector"])
            check_selector(self.selector, len(self.record.pool))
            self.candidate_stream.bit_generator.state = values["candidate_stream"]
        self.step = values["step"]
        for kind, keeper in self.keepers().items():
            for name, value in values["counts"][kind].items():
                setattr(keeper, name, value)
        return lengths


def indices(chosen: object, n: int) -> list[int]:
    """Return numbers of Python, numpy or torch as indices below n; none where one is no index."""
    try:
        found = [operator.index(i) for i in np.atleast_1d(chosen).tolist()]
    except (TypeError, ValueError):
        return []
    return found if all(0 <= i < n for i in found) else []


def weights_of(model: Transformer) -> dict[str, Tensor]:
    """Return the whole weights by name, in CPU memory; every process has to ask for them."""
    return {name: parallel.whole(w).cpu() for name, w in model.state_dict().items()}


def learned_weights(model: Transformer) -> list[tuple[str, Tensor]]:
    """Return the weights that training changes, with their names: all, or those of adapters."""
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def tensors_of(model: Transformer, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the whole weights that are learned and AdamW's state, by name, in CPU memory."""
    tensors = {}
    for name, parameter in learned_weights(model):
        tensors[f"model.{name}"] = parallel.whole(parameter.detach()).cpu()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = parallel.whole(value).cpu()
    return tensors


def restore_model(
    model: Transformer, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Copy weights and AdamW's state into place, split as they are on this process.

    Raises KeyError or ValueError where a tensor is missing or has another shape than its weight.
    """
    for name, parameter in learned_weights(model):
        prefix = f"optimizer.{name}."
        slots = {n.removeprefix(prefix): w for n, w in tensors.items() if n.startswith(prefix)}
        if slots and slots.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"AdamW's state of {name} is {sorted(slots)}")
        for key, tensor in {"weight": tensors[f"model.{name}"], **slots}.items():
            like = torch.zeros(()) if key == "step" else parameter
            if tensor.shape != like.shape or tensor.dtype != like.dtype:
                raise ValueError(f"{key} of {name} is {tensor.dtype}, {tuple(tensor.shape)}")
            if not tensor.isfinite().all() or (
                key in ("step", "exp_avg_sq") and (tensor < 0).any()
            ):
                raise ValueError(f"{key} of {name} holds values that no run has")
        with torch.no_grad():
            parameter.copy_(parallel.like(tensors[f"model.{name}"], parameter))
        waits = isinstance(optimizer, OffloadedAdamW)
        if slots:  # the count of steps is a number even where the weight is a shard
            count = slots.pop("step").to(parameter.device)
            state = {n: m if waits else parallel.like(m, parameter) for n, m in slots.items()}
            # copies, or they would be pieces of the checkpoint's file as long as the run lasts
            optimizer.state[parameter] = {n: t.clone() for n, t in {"step": count, **state}.items()}


def check_selector(selector: selectors.OneShotSelector, n: int) -> None:
    """Raise ValueError where what a selector remembers gives it no scores."""
    with np.errstate(all="ignore"):
        if not np.isfinite(selector.scores(np.arange(n))).all():
            raise ValueError("the selector's scores are not finite")


def restore_generator(generator: torch.Generator, state: Tensor) -> None:
    """Go on from the state of a generator; ValueError where it is of another kind."""
    if state.shape != generator.get_state().shape:
        raise ValueError(f"the state of a generator has shape {tuple(state.shape)}")
    generator.set_state(state)


def summary_of(run: Run) -> dict:
    """Return what `summary.json` holds."""
    run.costs.count_total()
    before, after = run.record.before, run.record.last
    return {
        "accuracy_before": before["accuracy"],
        "accuracy_after": after["accuracy"],
        "accuracy_by_kind_before": before["accuracy_by_kind"],
        "accuracy_by_kind_after": after["accuracy_by_kind"],
        "steps": run.step,
        "updates": run.costs.updates,
        "rollouts": run.costs.rollouts,
        "tokens": run.costs.tokens,
        "informative_groups": run.costs.informative_groups,
        "group_size": run.costs.group_size,
        "seconds": run.costs.seconds,
        "warnings": list(run.record.watch.warnings.values()),
        "examples": run.record.examples,
    }
