"""What `train.py --report` adds to a run: each token in the record, and a page kept fresh.

Where it stands: beside `record.py`, which asks it for the tokens of each response, and `run.py`,
which has the page written after an evaluation.  Without `--report` there is none, and nothing here
is computed.  It reads the model and changes nothing, so that the run ends with the same bits.
"""

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from plumbing import parallel
from plumbing.command import UserError, mendable
from plumbing.tokenizer import pieces
from rollout import Group

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EVERY = 5.0  # seconds between two pages at least
SHARE = 0.05  # of the time that pages may take: a long record waits longer


class Live:
    """Looks at every token of a group, and has the page written now and then.

    `log_ratios` says how far the weights have moved each token of a group since it was sampled,
    and `write_page` writes the page of what the run's folder holds.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        log_ratios: Callable[[Group], list[list[float]]],
        write_page: Callable[[], object],
    ) -> None:
        self.tokenizer, self.log_ratios, self.write_page = tokenizer, log_ratios, write_page
        self.next_page = time.monotonic() + EVERY

    def add_tokens(self, responses: list[dict], group: Group, moved: bool) -> None:
        """Add to each response its `pieces` of text, `logprobs`, and `log_ratios` where `moved`."""
        rows = group.tokens[:, group.prompt_len :].tolist()
        lengths = group.lengths.tolist()
        for response, row, logp, n in zip(
            responses, rows, group.logprobs.tolist(), lengths, strict=True
        ):
            response["pieces"] = pieces(self.tokenizer, row[:n])
            response["logprobs"] = rounded(logp[:n])
        if not moved:
            return
        for response, ratios in zip(responses, self.log_ratios(group), strict=True):
            if all(map(math.isfinite, ratios)):
                response["log_ratios"] = rounded(ratios)

    def refresh(self) -> None:
        """Write the page where the last one is old enough; a page that fails ends no run."""
        begun = time.monotonic()
        if parallel.rank() > 0 or begun < self.next_page:
            return
        try:
            self.write_page()
        except (OSError, UserError) as error:
            print(f"warning: no page of the run: {mendable(error)}", file=sys.stderr)
        now = time.monotonic()
        self.next_page = now + max(EVERY, (now - begun) / SHARE)


def rounded(values: list[float]) -> list[float]:
    """Return numbers with the four decimals that a page shows, and no -0.0."""
    return [round(value, 4) + 0.0 for value in values]
