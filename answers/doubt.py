r"""Doubt: words that take an answer away, or that change its value.

What it teaches: "43, false", "a guess: 43" and "43 doubled" hold the digits of the answer, and none
of them says that the answer is 43.  A policy that is paid for them learns to hedge.  So there is
one list of such words, and every place that leaves words out asks it: words before an answer
(`spelling.py`), words behind it (`remarks.py`, `units.py`), and the rest of the sentence
(`extraction.py`).

Where it stands: beside `remarks.py`.  Only whole words count, and a word that describes what is
counted is no doubt: "8 false positives" and "8 failed attempts" are 8.

Try changing first: leave `_OF_VALUE` out of `DOUBT`.  Then 16 of the texts in the table `NOT_PAID`
of `tests/test_finished.py` are paid, among them "43 halved" and "43, which is false".
"""

import re

from answers.patterns import pattern

_UNSURE = (
    r"maybe|perhaps|possibly|probably|presumably|(?<!equally )likely|roughly|guess(?:ed|es|ing)?"
    r"|unsure|uncertain|doubt(?:s|ful)?|(?:do not|don't|cannot|can't) know|no idea|wrong(?:ly)?"
    r"|incorrect(?:ly)?|erroneously|mistaken|nope|lied|kidding|second thought|hmm|ish"
    "|(?:lower|upper) bound"
)
_DENIED = (
    r"or|not|never|no|nor|either|neither|but|wait|actually|unless|between|else|otherwise|instead"
    r"|could|might|isn't|alternatively|versus|vs|etc|et cetera|among others|and so on"
    r"|at (?:most|least)|too (?:small|large|big|high|low|many|much|few|little)"
)
_ADJECTIVES = (  # before a plural they say what is counted
    r"false|fails?|failed|reject(?:s|ed)?|scratch|excluded|discarded|withdrawn"
    r"|doubled|halved|tripled|quadrupled|negated"
    r"|inverted|reciprocal|inverse|root|gross|score|kilo|crores?|lakhs?|googol|zillion|hex"
    r"|hexadecimal|octal|binary"
)
_OF_VALUE = (
    rf"(?:{_ADJECTIVES})(?! [a-z]+s\b)|(?:in|de)crease(?:d| it)|halving|doubling|tripling"
    r"|(?:hundred|thousand|[a-z]{1,6}illion|dozen)ths?|hundredweights?|modulo"
    r"|squared|cubed|factorial|divided|multiplied"
)
DOUBTFUL_WORDS = rf"{_UNSURE}|false"  # before an answer
UNSURE = pattern("because I guessed", rf"\b(?:{_UNSURE})\b", re.IGNORECASE)
WITHDRAWN = pattern(  # what follows an answer at once
    ". No, it is 44",
    r"[\s$.,;:!?*)}\]\\]{0,9}(?:is\s(?:wrong|incorrect|false|not\s(?:right|correct|true|the|it))\b"
    r"|nope\b|scratch\sthat|no(?=[,.!]|\swait)|wait[,.!]|actually,?\s(?:it\b|the\b|-?\d))",
    re.IGNORECASE,
)
DOUBT = pattern("or maybe 74", rf"\b(?:{_UNSURE}|{_DENIED}|{_OF_VALUE})\b", re.IGNORECASE)
