"""Draw one step of one-shot RLVR, with the numbers of a real one, into docs/step.svg.

python tools/draw_step.py

SVG is text, so boxes, lines and words need no library.  The numbers are those of
docs/one-step.ipynb, and a test compares them.  The colours follow the reader's light or dark theme,
on a ground of the picture's own, so that it can be read on any page.
"""

import sys
from html import escape
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "docs" / "step.svg"
TITLE = "One step of one-shot RLVR"
DESCRIPTION = (
    "Four stages in three panels. 1, choose: of the candidates 214+352=, 478+365=, 523-178= and "
    "123*45= the selector takes 478+365=, which has the highest score. 2, roll out and reward: "
    "the policy writes eight responses to it, and the verifier finds two of them right. 3, "
    "remember: an arrow takes the eight verdicts back to the selector. 4, learn: each reward "
    "less the mean of its group is an advantage, +0.75 for the two right responses and -0.25 for "
    "the six wrong ones; an arrow takes the new weights back to the policy, and the next step "
    "begins."
)
SCORES = {"214+352=": 0.14, "478+365=": 0.91, "523-178=": 0.74, "123*45=": 0.39}
RESPONSES = [  # in the order in which they were sampled, and what each is paid
    ("8+5=13,7+6=13,4+3=7#733", 0),
    ("8+5=13,7+6+1=14,4+3=7#743", 0),
    ("8+5=13,7+6=13,4+3+1=8#833", 0),
    ("8+5=13,7+6+1=14,4+3+1=8#843", 1),
    ("8+5=13,7+6+1=14,4+3=7#743", 0),
    ("8+5=13,7+6+1=14,4+3=7#743", 0),
    ("8+5=13,7+6+1=14,4+3+1=8#843", 1),
    ("8+5=13,7+6=13,4+3+1=8#833", 0),
]
REWARDS = [reward for _, reward in RESPONSES]
ADVANTAGES = [reward - sum(REWARDS) / len(REWARDS) for reward in REWARDS]

WIDTH, HEIGHT = 880, 406
TOP, BOTTOM = 20, 316  # of the panels
ROW, FIRST = 24, 108  # height of a row, and where the first one is written
CHOOSE, ROLL_OUT, LEARN = (20, 226), (280, 336), (650, 210)  # x and width of each panel
STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de }
  .panel { fill: #f6f8fa; stroke: #d0d7de }
  .taken { fill: #0072b2; fill-opacity: .12; stroke: #0072b2 }
  text { fill: #1f2328; font: 14px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif }
  .head { font-size: 16px; font-weight: 600 }
  .small, .file { fill: #59636e; font-size: 12.5px }
  .code, .file { font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace }
  .code { font-size: 12.5px }
  .axis { stroke: #8c959f }
  .good { fill: #0072b2 } .bad { fill: #c26a00 } .rest { fill: #afb8c1 }
  .way { fill: none; stroke: #59636e; stroke-width: 2 }
  .tip { fill: #59636e }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d }
    .panel { fill: #151b23; stroke: #3d444d }
    .taken { fill: #56b4e9; stroke: #56b4e9 }
    text { fill: #f0f6fc }
    .small, .file { fill: #b1bac4 }
    .axis { stroke: #656c76 }
    .good { fill: #56b4e9 } .bad { fill: #e69f00 } .rest { fill: #656c76 }
    .way { stroke: #b1bac4 }
    .tip { fill: #b1bac4 }
  }
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return words whose baseline is at y."""
    words = escape(words, quote=False)
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def code(x: float, y: float, words: str) -> str:
    """Return words in a fixed width of 7.2 per character, whatever font a reader has."""
    room = f'textLength="{7.2 * len(words):g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:g}" y="{y:g}" class="code" {room}>{escape(words, quote=False)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str, round_by: float = 3) -> str:
    """Return a rectangle whose upper left corner is at x, y."""
    size = f'width="{width:g}" height="{height:g}"'
    return f'<rect x="{x:g}" y="{y:g}" {size} rx="{round_by:g}" class="{kind}"/>'


def way(points: str) -> str:
    """Return a line along a path of SVG, with an arrow at its end."""
    return f'<path d="{points}" class="way" marker-end="url(#tip)"/>'


def panel(place: tuple[int, int], head: str, below: str, file: str) -> list[str]:
    """Return the frame of a stage: what it does, in a word and in a line, and in which file."""
    x, width = place
    return [
        box(x, TOP, width, BOTTOM - TOP, "panel", 8),
        text(x + 16, TOP + 30, head, "head"),
        text(x + 16, TOP + 52, below, "small"),
        text(x + 16, BOTTOM - 14, file, "file"),
    ]


def choose() -> list[str]:
    """Return the candidates with a bar for each score; the highest is taken."""
    x, width = CHOOSE
    parts = panel(CHOOSE, "1  Choose", "the highest score", "select.py")
    for n, (problem, score) in enumerate(SCORES.items()):
        y = FIRST + 4 + n * 44
        taken = score == max(SCORES.values())
        if taken:
            parts.append(box(x + 8, y - 19, width - 16, 40, "taken", 6))
        parts += [
            code(x + 16, y, problem),
            text(x + width - 18, y, f"{score:.2f}", "", "end"),
            box(x + 16, y + 7, score * (width - 34), 7, "good" if taken else "rest", 2),
        ]
    return parts


def roll_out() -> list[str]:
    """Return the eight responses to the chosen problem, each with its reward."""
    x, width = ROLL_OUT
    said = "eight responses to 478+365="
    parts = panel(ROLL_OUT, "2  Roll out and reward", said, "rollout.py · verifier.py")
    parts.append(text(x + width - 18, TOP + 52, "reward", "small", "end"))
    for g, (response, reward) in enumerate(RESPONSES):
        y, kind = FIRST + g * ROW, "good" if reward else "bad"
        parts += [
            code(x + 16, y, response),
            text(x + width - 52, y, "right" if reward else "wrong", f"small {kind}", "end"),
            text(x + width - 18, y, str(reward), f"head {kind}", "end"),
        ]
    return parts


def learn() -> list[str]:
    """Return a bar for the advantage of each response, to the right where it was better."""
    x, width = LEARN
    parts = panel(LEARN, "4  Learn", "reward − mean, here 0.25", "grpo.py")
    zero, unit = x + 66, 96  # where 0 is, and how long 1 would be
    ends = FIRST - 16, FIRST + len(ADVANTAGES) * ROW - 16
    parts.append(f'<path d="M{zero} {ends[0]}V{ends[1]}" class="axis"/>')
    for g, advantage in enumerate(ADVANTAGES):
        y, better = FIRST + g * ROW, advantage > 0
        start = zero if better else zero + unit * advantage
        parts.append(box(start, y - 11, unit * abs(advantage), 13, "good" if better else "bad", 2))
        label = f"{advantage:+.2f}".replace("-", "−")
        parts.append(text(x + width - 16, y, label, "", "end"))
    return parts


def ways() -> list[str]:
    """Return the arrows between the panels, and what each of them carries."""
    (a, a_width), (b, b_width), (c, c_width) = CHOOSE, ROLL_OUT, LEARN
    across, under, low = (TOP + BOTTOM) / 2, BOTTOM + 2, BOTTOM + 34
    left, right = b + b_width * 0.25, b + b_width * 0.75
    return [
        way(f"M{a + a_width + 2} {across}H{b - 6}"),
        way(f"M{b + b_width + 2} {across}H{c - 6}"),
        way(f"M{left} {under}V{low}H{a + a_width / 2}V{under + 6}"),
        way(f"M{c + c_width / 2} {under}V{low}H{right}V{under + 6}"),
        text((left + a + a_width / 2) / 2, low + 22, "3  Remember", "head", "middle"),
        text((left + a + a_width / 2) / 2, low + 42, "two of eight were right", "small", "middle"),
        text((right + c + c_width / 2) / 2, low + 22, "new weights", "head", "middle"),
        text(
            (right + c + c_width / 2) / 2, low + 42, "what was better becomes likelier", "small",
            "middle",
        ),
    ]  # fmt: skip


def picture() -> str:
    """Return the whole drawing as the text of an SVG file."""
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        'role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(TITLE)}</title>',
        f'<desc id="description">{escape(DESCRIPTION)}</desc>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="6" refY="5" markerWidth="5" '
        'markerHeight="5" orient="auto"><path d="M0 0L10 5L0 10Z" class="tip"/></marker></defs>',
        box(0.5, 0.5, WIDTH - 1, HEIGHT - 1, "ground", 10),
    ]
    return "\n".join([*head, *choose(), *roll_out(), *learn(), *ways(), "</svg>"]) + "\n"


def main() -> None:
    """Write the drawing into the place of the older one."""
    OUT.write_text(picture(), encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    sys.exit(main())
