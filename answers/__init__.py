r"""What `verifier.py` stands on, in the order in which an answer passes through it.

extraction.py   where in the response the answer is; boxes.py: what boxes hold and stand beside
spelling.py     typography taken away; characters.py: what is not ASCII, in LaTeX
remarks.py      what stands around an answer and adds nothing, and what takes it away
doubt.py        words that doubt, deny or change a value, for all that leaves words out
wording.py      answers that are no formulas: choices, words, times of day
finished.py     what is paid where the gold answer is a number: only a finished number
latex.py        from text to a tree: the grammar and its loose rules; atoms.py, commands.py: its
                tight ones; reader.py: the place in the text; units.py: what a unit is
names.py        what may stand on the left of "= 5"
trees.py        what a formula is
comparison.py   the rules for each kind of answer; values.py: formulas compared at points
algebra.py      the arithmetic, exact for as long as possible
patterns.py     regular expressions, each with an example
"""
