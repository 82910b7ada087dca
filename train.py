"""One-shot RLVR: at each step one problem is chosen, tried G times, and learned from.

What it teaches: GRPO with verifiable rewards is a page of code, and so is what DoPR adds to it.
One step:

    candidates ~ the pool                       M of N problems                  `train`, below
    i = argmax A_i                              the most promising problem       `select.py`
    y_1..y_G ~ pi_old( . | x_i)                 the step's only rollouts         `rollout.py`
    r_g = 1 if y_g's answer equals the gold     the verifiable reward            `verifier.py`
    remember (r_1..r_G) of problem i            its pass rate, spread, visits    `select.py`
    A_g = r_g - mean r                          plain GRPO divides by std r      `grpo.py`
    theta <- theta - lr * gradient              of clipped surrogate and KL      `grpo.py`

Where it stands: this is where everything meets.  `train` carries out these lines, stage by stage.
`build` makes what it needs, and what surrounds it (reading input, checkpoints, the record) is in
`plumbing/`.  The full-batch baseline runs through the same loop: its selector returns all M
candidates.

Try changing first: `--set selector.name=random_one`, then `full_batch`, each with an `--out` of its
own.  Within the same 1,480 rollouts they end at 60.0 and 20.0% instead of 99.0% (seed 0): of the
groups of random problems 13 are informative instead of 101, and one skill is learned; and 1,480
rollouts buy the full batch of 32 problems five updates.
"""

import plumbing  # noqa: F401, I001 (first: it lets Ctrl-C end the imports below in one line)
import argparse
import json
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

import report
from data import Problem
from grpo import (
    group_advantages, grpo_loss, is_used, log_ratios, token_logprobs, token_weights, update_policy,
)  # fmt: skip
from lora import merged_weights, save_adapters
from plumbing import checkpoint, disk, parallel, setup
from plumbing.command import Parser, UserError, command, why
from plumbing.config import Config, all_keys, read_config, selectors, stream_seed
from plumbing.first_look import first_look
from plumbing.live import Live
from plumbing.memory import OffloadedAdamW
from plumbing.record import Record, Step
from plumbing.run import Run, learned_weights, summary_of, weights_of
from policy import Policy

# what `grpo.py` defines can be imported from here as well
__all__ = ["group_advantages", "grpo_loss", "main", "token_logprobs", "token_weights", "train"]


def train(
    cfg: Config, policy: Policy, pool: list[Problem], heldout: list[Problem], run: Run
) -> None:
    """Carry out the algorithm above, stage by stage, until the steps or rollouts are spent."""
    model, selector, costs = policy.model, run.selector, run.costs
    reference = policy.reference() if cfg.update.kl_coef > 0 else None
    M, G = min(cfg.selector.candidates, len(pool)), cfg.rollout.group_size

    while run.goes_on():
        # 1. Choose.  M problems are drawn from the pool, and of these the selector takes the one
        # that promises most by what it remembers.  So far nothing has been paid for.
        candidates = run.candidate_stream.choice(len(pool), M, replace=False)  # (M,)
        offer = run.offer(candidates)  # their scores, for the record
        chosen = run.checked(selector.choose(candidates))  # one index; the full batch has all M

        # 2. Roll out and reward.  The policy tries the problem G times, which is what a step costs,
        # and the verifier says of each response whether it is right.
        with costs.clock("rollout"):
            attempts = policy.attempts([pool[i] for i in chosen], G, run.rollout_stream)

        # 3. Remember.  A group that was all right or all wrong is remembered as well: that is how
        # the selector learns where there is nothing to learn.
        for i, attempt in zip(chosen, attempts, strict=True):
            selector.update(i, attempt.solved, attempt.entropy(cfg.selector.entropy))

        # 4. Learn.  Each response is compared with the mean of its group.  In a group of equal
        # rewards none was better than another: it teaches nothing, though it was paid for.  Only a
        # KL penalty uses it: it keeps the policy near its start there, so that less is forgotten.
        pairs = [
            (attempt.group, group_advantages(attempt.rewards, cfg.update.advantage))
            for attempt in attempts
        ]  # each a group and its advantages (G,)
        informative = sum(bool(A.any()) for _, A in pairs)
        learned = [(g, A.to(model.device)) for g, A in pairs if is_used(g, A, cfg.update)]
        stats = {"loss": 0.0}
        if learned:
            if cfg.update.decay:  # the rate falls linearly, to 0 after the last step
                set_rate(run.optimizer, cfg.update.lr * (1 - run.step / run.record.n_steps))
            with costs.clock("update"):
                groups, A = zip(*learned, strict=True)
                stats = update_policy(model, run.optimizer, groups, A, cfg, reference)

        # 5. Record.  Now and then the policy answers held-out problems, greedily; these responses
        # are not training's, and not counted as its cost.
        run.step += 1
        step = Step(run.step, offer, chosen, attempts, informative, stats)
        costs.count(step)
        if run.evaluation_due():
            step.evaluation = policy.evaluate(heldout, costs.clock)
        run.write(step)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all weights."""
    for weights in optimizer.param_groups:
        weights["lr"] = lr


# ----------------------------------------------------------------------------------- the command


def build(
    cfg: Config, out: Path, resume: str | None
) -> tuple[Policy, list[Problem], list[Problem], Run]:
    """Return the policy, the pool, the held-out problems and the run, once all input is checked.

    Nothing is written here, so that a run that cannot begin leaves nothing behind.
    """
    with parallel.all_or_none():
        setup.check_folder(cfg, out, resume)
        cfg = setup.dated(cfg, out, resume)
    cfg = parallel.gather(cfg)[0]  # it may be midnight: all have the day of the first process
    with parallel.all_or_none():
        torch.set_num_threads(cfg.threads)
        print(f"loading {cfg.model}; the run will be in {out}", flush=True)
        pool, heldout = setup.pool_and_heldout(cfg)
        policy = Policy(cfg)
        # every prompt is made once, so that a problem that cannot be encoded is refused here
        prompts, others = policy.prompts(pool), policy.prompts(heldout)
        pool, prompts = setup.fitting_problems(cfg, pool, prompts)
        n_steps = setup.plan_steps(cfg, len(pool))
        setup.say_memory(cfg, policy.model, prompts)
        problems, prompts = pool + heldout, prompts + others
        setup.check_lengths(policy.model, problems, prompts, cfg.rollout.max_new_tokens)
        fixed = setup.fingerprints(policy.folder, problems, prompts)
        fixed |= policy.reward.fingerprints(problems)
    with parallel.all_or_none():
        setup.refuse_overflow(policy.model, prompts[0], policy.folder)
        record = Record(cfg, out, pool, n_steps)
    adamw = OffloadedAdamW if cfg.update.offload else torch.optim.AdamW
    optimizer = adamw(
        [weight for _, weight in learned_weights(policy.model)],
        lr=cfg.update.lr, betas=(cfg.update.beta1, cfg.update.beta2),
        weight_decay=cfg.update.weight_decay,
        fused=True,  # one pass over the weights instead of a dozen, and no temporary copies
    )  # fmt: skip
    selector = selectors.SELECTORS[cfg.selector.name](
        len(pool), cfg.selector.ema, cfg.selector.bonus, cfg.selector.entropy,
        seed=stream_seed(cfg.seed, "selector"), tour=cfg.selector.tour,
    )  # fmt: skip
    if cfg.report:
        moved = partial(log_ratios, policy.model, cfg=cfg)
        record.live = Live(policy.tokenizer, moved, partial(report.write_page, [out]))
    run = Run(cfg, policy.model, optimizer, selector, record=record, fixed=fixed)
    return policy, pool, heldout, run


def start(cfg: Config, out: Path, resume: str | None = None) -> int:
    """Make one run, from the configuration to the trained model in the folder `out`.

    Returns 0, or 128 + the number of the signal that stopped the run.
    """
    policy, pool, heldout, run = build(cfg, out, resume)
    try:
        with run.open(resume):
            if not resume:
                first_look(run, pool, policy.attempts)
            if not run.record.before:  # how good is the policy before the first step?
                run.record.before = run.record.last = policy.evaluate(heldout, run.costs.clock)
                run.save()
            run.record.show(run.step)
            train(cfg, policy, pool, heldout, run)
            run.record.bar.close()
            if run.saved_at != run.step:
                run.save()
            if run.stopped_by:
                print(f"stopped after step {run.step}, which is saved; add --resume to go on")
                return 128 + run.stopped_by
            whole = merged_weights if cfg.lora.rank else weights_of
            weights, summary = whole(policy.model), summary_of(run)
            if parallel.rank() == 0:
                disk.replace_folder(out / "model", partial(policy.save, weights=weights))
                if cfg.lora.rank:
                    disk.replace_folder(out / "adapter", partial(save_adapters, policy.model, cfg))
                disk.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
                report.show(out)
                if cfg.report:
                    report.show_page([out])
    except KeyboardInterrupt as error:  # a second signal, or one before `Run.open` minds them
        begun = (out / "config.json").exists()
        how = "add --resume to go on from the last checkpoint" if begun else "no run has begun"
        raise UserError(
            f"left at once, after step {run.step}; {how}",
            code=128 + (run.stop.asked or signal.SIGINT),
        ) from error
    except FloatingPointError as error:
        raise UserError(
            f"{error}: lower update.lr; the checkpoints in {out} are of earlier steps", code=1
        ) from error
    except BrokenPipeError:  # it is an OSError, but nobody is to mend it
        raise
    except OSError as error:
        raise UserError(f"{error.filename or out}: {why(error)}", code=1) from error
    return 0


def read_arguments(argv: Sequence[str] | None) -> tuple[Config, Path, str | None]:
    """Return the configuration, the run's folder, and which checkpoint to go on from, if any."""
    lines = [f"  {path:26} {text} [{default!r}]" for path, default, text in all_keys()]
    parser = Parser(
        prog="train.py", description="Train a policy by one-shot RLVR (DoPR).",
        epilog="keys of the configuration, each with its [default]:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--config", required=True, help="a JSON file of the keys below")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="override a key by its dotted path; may be given again")  # fmt: skip
    parser.add_argument("--out", help="the run's folder [runs/<name of the config>]")
    parser.add_argument("--report", action="store_true",
                        help="keep the page RUN/report.html fresh, with each token of the "
                        "responses; the same as --set report=true")  # fmt: skip
    parser.add_argument("--resume", nargs="?", const=checkpoint.LATEST, metavar="previous",
                        choices=[checkpoint.LATEST, checkpoint.PREVIOUS],
                        help="go on exactly where the run in the folder was when it last saved; "
                        "'--resume previous' from the checkpoint before")  # fmt: skip
    arguments = parser.parse_args(argv)
    out = Path(arguments.out or Path("runs") / Path(arguments.config).stem)
    overrides = arguments.set + ["report=true"] * arguments.report
    return read_config(arguments.config, overrides), out, arguments.resume


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 for bad input, 1 if training cannot go on, 128 + signal."""
    arguments = read_arguments(argv)
    try:
        parallel.start()
        return start(*arguments)
    finally:
        parallel.end()


if __name__ == "__main__":
    sys.exit(main())
