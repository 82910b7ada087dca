"""Warnings: what goes wrong in RLVR without any curve showing it.

What it teaches: a reward is a target, and a rising curve can mean that the policy found a way to be
paid without solving anything.  Three signs are cheap to watch for: every response is cut off, so
that nobody ever reads an answer; all rewards of a group are equal for very long, so that nothing
is learned; a problem that never was solved is paid from one visit to the next, every time.  None of
them is a proof: the remedy is always to read `responses.jsonl`.

Where it stands: `record.py` shows it every group, prints a new warning above the progress bar, and
the summary repeats it.
"""

CUT_OFF = 8  # groups in a row without a response that ended by itself
EQUAL = 50  # groups in a row whose rewards were equal
NEVER, ALWAYS = 24, 16  # responses of a problem: so many failed, then so many were all paid


class Watch:
    """Looks at the groups of a run, one after the other, and keeps its warnings."""

    KEPT = ("cut_off", "equal", "failed", "paid", "warnings")

    def __init__(self) -> None:
        self.cut_off = 0  # groups in a row of which every response was cut off
        self.equal = 0  # groups in a row of equal rewards
        self.failed: dict[str, int] = {}  # problem -> responses that failed, before any was paid
        self.paid: dict[str, int] = {}  # problem -> responses paid since, without an exception
        self.warnings: dict[str, str] = {}  # kind -> what to say of it, the latest time

    def see(
        self, step: int, problem: str, solved: list[float], rewards: list[float], cut_off: bool
    ) -> list[str]:
        """Look at one group, of which all were `cut_off` or not; return the warnings it is new to.

        solved and rewards are (G,); a verdict between 0 and 1 counts as paid.
        """
        self.cut_off = self.cut_off + 1 if cut_off else 0
        self.equal = 0 if max(rewards) > min(rewards) else self.equal + 1
        found = {}
        if self.cut_off >= CUT_OFF:
            found["cut off"] = (
                f"all responses of the last {self.cut_off} groups were cut off; raise "
                "rollout.max_new_tokens, or name what ends a response in rollout.stop or .stop_ids"
            )
        if self.equal >= EQUAL:
            found["equal"] = (
                f"in the last {self.equal} groups all rewards were equal, so nothing was learned; "
                "read some responses: where none is right, say how to answer (data.system, "
                "data.prefill, a data.template with examples) or take easier problems; where all "
                "are, harder ones"
            )
        if self.pays_suddenly(problem, solved):
            found[f"sudden {problem}"] = (
                f"{problem[:40]!r} never was solved, and now is paid every time"
            )
        new = [text for kind, text in found.items() if kind not in self.warnings]
        self.warnings |= {kind: f"step {step}: {text}" for kind, text in found.items()}
        return new

    def pays_suddenly(self, problem: str, solved: list[float]) -> bool:
        """Say whether a problem went from never solved to always paid, with nothing between."""
        if not any(solved) and problem not in self.paid:
            self.failed[problem] = self.failed.get(problem, 0) + len(solved)
        elif all(solved) and self.failed.get(problem, 0) >= NEVER:
            self.paid[problem] = self.paid.get(problem, 0) + len(solved)
        else:  # sometimes right and sometimes wrong: this is how learning looks
            self.failed[problem], self.paid[problem] = 0, 0
        return self.paid.get(problem, 0) >= ALWAYS
