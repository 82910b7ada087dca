r"""What `verifier.py` stands on, in the order in which an answer passes through it.

extraction.py   where in the response the answer is
spelling.py     typography taken away; characters.py: what is not ASCII, in LaTeX
wording.py      answers that are no formulas: choices, words, times of day
finished.py     a computation that is left undone is no number
latex.py        from text to a tree: the grammar and its loose rules; atoms.py, commands.py: its
                tight ones; reader.py: the place in the text; units.py: what a unit is
trees.py        what a formula is
comparison.py   the rules for each kind of answer; values.py: formulas compared at points
algebra.py      the arithmetic, exact for as long as possible
patterns.py     regular expressions, each with an example
"""
