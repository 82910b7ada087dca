"""Stop texts: words that end a response, such as a line break or the next question.

What it teaches: a text is not a token.  The "\\n" of a stop may come as one token, within another
(".\\n"), or, where it is longer, in several; so it is looked for in what the tokens so far say.
When a response has ended depends on its own tokens alone: neither on the other rows, nor on how
often somebody looks.

Where it stands: below both loops of decoding (`rollout.py`, `graphs.py`), which ask `going` so that
no row is sampled in vain, and `rollout._group`, which asks `ends` for the exact place.

Try changing first: `--set 'rollout.stop=["#"]'` with `small.json`.  A response then ends before its
answer, and its text holds none.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from plumbing.command import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNSEEN = 24  # tokens beyond a text's own bytes: those since the last look, and some that show none


def refuse_hidden(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise `UserError` for a text with a special token in it, which no response shows."""
    special = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    for text, hidden in product(texts, special):
        if hidden and hidden in text:
            raise UserError(
                f"rollout.stop: {text!r} is never read, as {hidden!r} is a special token; give its "
                f"id, {special[hidden]}, in rollout.stop_ids"
            )


class TextStops:
    """The stop texts of a run, perhaps none, and what a list of token ids says."""

    def __init__(self, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> None:
        self.texts, self.decode = tuple(texts), partial(tokenizer.decode, skip_special_tokens=True)
        if texts:  # what more tokens say begins with what fewer say, but where this tidies up
            self.decode = partial(self.decode, clean_up_tokenization_spaces=False)
        # a token that shows holds a byte at least: within so many the end of a text is seen
        self.recent = max((len(text.encode()) for text in texts), default=0) + UNSEEN

    def __bool__(self) -> bool:
        return bool(self.texts)

    def read(self, ids: list[int]) -> str:
        """Return what a response says, up to the first of the texts."""
        said = self.decode(ids)
        return said[: min((said.index(text) for text in self.texts if text in said), default=None)]

    def held(self, ids: list[int]) -> bool:
        """Return whether any of the texts stands in what these tokens say."""
        said = self.decode(ids)
        return any(text in said for text in self.texts)

    def going(self, tokens: Tensor, going: Tensor) -> Tensor:
        """Return which of the rows (live,) that were going have not come to a text yet.

        tokens (live, t) are all that the rows have said.
        """
        still = going.tolist()
        for row, ids in enumerate(tokens[:, -self.recent :].tolist()):
            if still[row] and self.held(ids):
                still[row] = not self.held(tokens[row].tolist())
        return torch.tensor(still, device=going.device)  # (live,)

    def ends(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return how many tokens each row has up to the one that completes a text; 0 for none.

        tokens (n, T), of which lengths (n,) count, to (n,).
        """
        rows = zip(tokens.tolist(), lengths.tolist(), strict=True)
        return lengths.new_tensor([self._end(ids[:length]) for ids, length in rows])

    def _end(self, ids: list[int]) -> int:
        if not self.held(ids):
            return 0
        low, high = 1, len(ids)  # the fewest tokens that hold a text: bisection
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.held(ids[:middle]) else (middle + 1, high)
        return low
