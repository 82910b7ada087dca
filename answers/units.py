r"""Units: what may stand behind a number and be missing on one side.

What it teaches: "42 cm" is right where the gold is 42, since the gold has merely left the unit out.
But 12 feet are not 12 meters, and "5 squared" is not 5: words behind a number are a unit only if
they do not change its value.

Where it stands: beside the grammar.  `latex.py` reads units with the patterns here and keeps them
in the tree as text; `comparison.py` asks whether two of them contradict each other.

Try changing first: `NOT_UNITS`, words that change the value of the number before them.  Without
them "5 plus three" equals 5.  ("5 squared" is refused in any case: `doubt.py` has words of which
none may stand behind a number or beside it.)
"""

import re
from fractions import Fraction

from answers.doubt import DOUBT
from answers.patterns import pattern
from answers.trees import NotUnderstood, Tree, times

# The spellings of a unit, its name first.  Units that are not here may stand behind a number too;
# those that are here must agree with the other side's.
_SPELLINGS = """
    % percent; ° degree degrees deg; rad radian radians; unit units sq square cu cubic
    m meter meters metre metres; cm centimeter centimeters centimetre centimetres
    mm millimeter millimeters millimetre millimetres; km kilometer kilometers kilometre kilometres
    in inch inches; ft foot feet; yd yard yards; mi mile miles; mph
    g gram grams; kg kilogram kilograms; mg milligram milligrams; lb lbs pound pounds
    oz ounce ounces; L l liter liters litre litres; mL ml milliliter milliliters
    s sec secs second seconds; min mins minute minutes; h hr hrs hour hours; Hz hertz
    day days; week weeks; month months; year years yr yrs
    dollar dollars USD; cent cents; euro euros EUR; C Celsius; F Fahrenheit; K Kelvin kelvin
    N newton newtons; J joule joules; W watt watts; V volt volts; A ampere amperes
"""
UNITS = {
    word: spellings.split()[0]
    for spellings in re.split(r"[;\n]", _SPELLINGS)
    for word in spellings.split()
}

NOT_UNITS = frozenset(
    "half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh"
    " sevenths eighth eighths ninth ninths tenth tenths hundredths thousandths mille squared cubed"
    " factorial pi is are was at least most less more than not no never incorrect wrong below above"
    " between to times plus minus over by point mod choose divided negative positive maybe perhaps"
    " unless but recurring repeating tens lakh quadrillion zero one two three four five six seven"
    " eight nine ten eleven twelve twenty thirty forty fifty sixty seventy eighty ninety base"
    " except excluding".split()
)

MULTIPLIERS = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6}
MULTIPLIERS |= {"billion": 10**9, "trillion": 10**12}

_WORDS = "|".join(sorted((word for word in UNITS if len(word) > 1), key=len, reverse=True))
KNOWN_UNIT = rf"(?:{_WORDS})(?![A-Za-z(_])"
UNIT = pattern(r"\text{ m}", rf"\s*(?:\\text\{{([^{{}}]*)\}}|(%)|({KNOWN_UNIT}))")
UNIT_POWER = pattern("^{-2}", r"\s*(?:\^\s*\{?\s*-?\d\s*\}?|/(?=\s*\\text)|\\cdot(?=\s*\\text))")
_FACTOR = pattern("m^2", r"(/|\bper\b)|([A-Za-z°%]+)(?:\^(-?\d))?")


def multiplied(node: Tree, unit: str) -> tuple[Tree, str]:
    """Turn 2 million dollars into 2000000 dollars; `NotUnderstood` for "5 squared" and the like."""
    for name, factor in MULTIPLIERS.items():
        if name in unit.lower():
            unit, found = re.subn(rf"\b{name}s?\b", "", unit, count=1, flags=re.IGNORECASE)
            node = times(node, Fraction(factor)) if found else node
    if not NOT_UNITS.isdisjoint(re.split(r"[^a-z]+", unit.lower())) or DOUBT.search(unit):
        raise NotUnderstood(f"{unit.strip()!r} is not a unit")
    return node, unit


def exponents(unit: str) -> dict[str, int]:
    """Return the powers of the known units: {in: 2} of "square inches", {m: 1, s: -1} of "m/s"."""
    found: dict[str, int] = {}
    sign, power = 1, 1
    for slash, word, exponent in _FACTOR.findall(unit):
        if slash:
            sign = -1
        power = {"sq": 2, "square": 2, "cu": 3, "cubic": 3}.get(word.lower(), power)
        if word in UNITS and UNITS[word] != "unit":
            found[UNITS[word]] = sign * (int(exponent) if exponent else power)
            power = 1
    if len(found) > 1:
        found.pop("°", None)  # degrees Celsius are not degrees of an angle
    return found


def contradict(left: str, right: str) -> bool:
    """Say whether two units cannot both be right: both are known, or neither, and they differ.

    A known unit and an unknown one do not contradict each other, nor does a unit that is missing.
    """
    known = exponents(left), exponents(right)
    if known[0] and known[1]:
        return known[0] != known[1]
    words = [set(unit.lower().split()) for unit in (left, right)]
    return all(words) and not any(known) and words[0].isdisjoint(words[1])
