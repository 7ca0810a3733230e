r"""The character sets of `\p{…}` and of the predefined classes in Java."""

from ..errors import InvalidPattern
from .charset import ANY, CharSet, Property, Ranges, any_of, none_of, ranges
from .names import BLOCKS, SCRIPTS

__all__ = ["DIGIT", "HORIZONTAL_SPACE", "LINE_ENDS", "SPACE", "VERTICAL_SPACE", "WORD", "class_set", "property_set"]

DIGIT = ranges((0x30, 0x39))
WORD = ranges((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
SPACE = ranges((0x09, 0x0D), (0x20, 0x20))
LINE_ENDS = ranges((0x0A, 0x0A), (0x0D, 0x0D), (0x85, 0x85), (0x2028, 0x2029))
VERTICAL_SPACE = ranges((0x0A, 0x0D), (0x85, 0x85), (0x2028, 0x2029))
HORIZONTAL_SPACE = ranges(
    (0x09, 0x09), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200A), (0x202F, 0x202F),
    (0x205F, 0x205F), (0x3000, 0x3000)
)  # fmt: skip

_ALPHA = ranges((0x41, 0x5A), (0x61, 0x7A))
_GRAPH = ranges((0x21, 0x7E))
_ASCII: dict[str, Ranges] = {
    "ASCII": ranges((0, 0x7F)),
    "Alnum": ranges((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)),
    "Alpha": _ALPHA,
    "Blank": ranges((0x09, 0x09), (0x20, 0x20)),
    "Cntrl": ranges((0, 0x1F), (0x7F, 0x7F)),
    "Digit": DIGIT,
    "Graph": _GRAPH,
    "Lower": ranges((0x61, 0x7A)),
    "Print": ranges((0x20, 0x7E)),
    "Punct": ranges((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "Space": SPACE,
    "Upper": ranges((0x41, 0x5A)),
    "XDigit": ranges((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
}

_CATEGORIES = frozenset(
    group + letter
    for group, letters in zip("LMNZCPS", ("ultmo", "nec", "dlo", "slp", "cfos", "dsecoif", "mcko"), strict=True)
    for letter in ("", *letters)
) - {"C"}

_CONTROLS = ranges((0, 0x1F), (0x7F, 0x9F))


def _category(name: str) -> Property:
    return Property(name, name)


_CASED = any_of(_category("Lu"), _category("Ll"), _category("Lt"))
_IGNORABLE = any_of(ranges((0, 8), (0x0E, 0x1B), (0x7F, 0x9F)), _category("Cf"))
_JAVA_START = any_of(_category("L"), _category("Nl"), _category("Sc"), _category("Pc"))
_UNASSIGNED = Property("Cn")

# Categories beyond the plain ones, and the methods of java.lang.Character.
_MORE: dict[str, CharSet] = {
    "Cn": _UNASSIGNED,
    "C": Property("C"),  # RE2's C lacks unassigned characters
    "LC": _CASED,
    "LD": any_of(_category("L"), _category("Nd")),
    "L1": ranges((0, 0xFF)),
    "all": ANY,
    "javaLowerCase": Property("Lowercase"),
    "javaUpperCase": Property("Uppercase"),
    "javaAlphabetic": Property("Alphabetic"),
    "javaIdeographic": Property("Ideographic"),
    "javaTitleCase": _category("Lt"),
    "javaDigit": _category("Nd"),
    "javaDefined": none_of(_UNASSIGNED),
    "javaLetter": _category("L"),
    "javaLetterOrDigit": any_of(_category("L"), _category("Nd")),
    "javaJavaIdentifierStart": _JAVA_START,
    "javaJavaIdentifierPart": any_of(_JAVA_START, _category("Nd"), _category("Mc"), _category("Mn"), _IGNORABLE),
    "javaUnicodeIdentifierStart": Property("ID_Start"),
    "javaUnicodeIdentifierPart": any_of(Property("ID_Continue"), _IGNORABLE),
    "javaIdentifierIgnorable": _IGNORABLE,
    "javaSpaceChar": _category("Z"),
    "javaWhitespace": any_of(
        ranges((0x09, 0x0D), (0x1C, 0x20), (0x1680, 0x1680), (0x2000, 0x2006), (0x2008, 0x200A)),
        ranges((0x2028, 0x2029), (0x205F, 0x205F), (0x3000, 0x3000)),
    ),
    "javaISOControl": _CONTROLS,
    "javaMirrored": Property("Bidi_Mirrored"),
}

# Under (?i) each of these stands for all of them.
_CASE_NAMES = frozenset({"Lu", "Ll", "Lt"})
_CASE_METHODS = frozenset({"javaLowerCase", "javaUpperCase", "javaTitleCase"})

_UNICODE_ALNUM = any_of(Property("Alphabetic"), _category("Nd"))
_UNICODE_WORD = any_of(
    Property("Alphabetic"), _category("M"), _category("Nd"), _category("Pc"), Property("Join_Control")
)
_UNICODE_SPACE = ranges(
    (0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)
)  # fmt: skip
_UNICODE_GRAPH = none_of(any_of(_UNICODE_SPACE, _CONTROLS, _category("Cs"), _UNASSIGNED))
_UNICODE_BLANK = any_of(ranges((0x09, 0x09)), _category("Zs"))
_UNICODE: dict[str, CharSet] = {
    "ALPHABETIC": Property("Alphabetic"),
    "ASSIGNED": none_of(_UNASSIGNED),
    "CONTROL": _CONTROLS,
    "HEXDIGIT": any_of(_category("Nd"), ranges((0x41, 0x46), (0x61, 0x66), (0xFF21, 0xFF26), (0xFF41, 0xFF46))),
    "IDEOGRAPHIC": Property("Ideographic"),
    "JOINCONTROL": ranges((0x200C, 0x200D)),
    "LETTER": _category("L"),
    "LOWERCASE": Property("Lowercase"),
    "NONCHARACTERCODEPOINT": Property("Noncharacter_Code_Point"),
    "TITLECASE": _category("Lt"),
    "PUNCTUATION": _category("P"),
    "UPPERCASE": Property("Uppercase"),
    "WHITESPACE": _UNICODE_SPACE,
    "WORD": _UNICODE_WORD,
    "DIGIT": _category("Nd"),
    "ALNUM": _UNICODE_ALNUM,
    "BLANK": _UNICODE_BLANK,
    "GRAPH": _UNICODE_GRAPH,
    "PRINT": none_of(
        any_of(ranges((0x0A, 0x0D), (0x85, 0x85), (0x2028, 0x2029), (0x09, 0x09)), _CONTROLS, _UNASSIGNED)
    ),
}
_UNICODE_POSIX = {
    "ALPHA": "ALPHABETIC", "LOWER": "LOWERCASE", "UPPER": "UPPERCASE", "SPACE": "WHITESPACE", "PUNCT": "PUNCTUATION",
    "XDIGIT": "HEXDIGIT", "ALNUM": "ALNUM", "CNTRL": "CONTROL", "DIGIT": "DIGIT", "BLANK": "BLANK", "GRAPH": "GRAPH",
    "PRINT": "PRINT"
}  # fmt: skip
_WITH_UNDERSCORE = {
    "HEX_DIGIT": "HEXDIGIT",
    "JOIN_CONTROL": "JOINCONTROL",
    "NONCHARACTER_CODE_POINT": "NONCHARACTERCODEPOINT",
    "WHITE_SPACE": "WHITESPACE",
}
_UNICODE_CASE = frozenset({"LOWERCASE", "UPPERCASE", "TITLECASE"})

_BLOCK_ALIASES = {
    "GREEKANDCOPTIC": "GREEK",
    "CYRILLICSUPPLEMENT": "CYRILLICSUPPLEMENTARY",
    "COMBININGDIACRITICALMARKSFORSYMBOLS": "COMBININGMARKSFORSYMBOLS",
}
_BLOCKS = {name.replace("_", ""): pair for name, pair in BLOCKS.items()}


def class_set(letter: str, *, unicode: bool) -> CharSet:
    r"""`\d`, `\s`, `\w`, `\h`, `\v` and their complements; `unicode` extends the first three, as `(?U)` does."""
    match letter.lower():
        case "d":
            known: CharSet = _category("Nd") if unicode else DIGIT
        case "s":
            known = _UNICODE_SPACE if unicode else SPACE
        case "w":
            known = _UNICODE_WORD if unicode else WORD
        case "h":
            known = HORIZONTAL_SPACE
        case _:
            known = VERTICAL_SPACE
    return none_of(known) if letter.isupper() else known


def property_set(name: str, *, folds: bool, unicode: bool) -> CharSet:
    r"""The set of `\p{name}`; raises `InvalidPattern` for a name unknown to Java.

    `folds` is `(?i)`, under which upper, lower and title case are equal; `unicode` is `(?U)`, which extends the POSIX
    names. Names of blocks ignore blanks, hyphens and underscores, a little more freely than in Java.
    """
    found: CharSet | None
    kind, equals, value = name.partition("=")
    if equals:
        match kind.lower():
            case "sc" | "script":
                found = _script(value)
            case "blk" | "block":
                found = _block(value)
            case "gc" | "general_category":
                found = _plain(value, folds)
            case _:
                found = None
    elif name.startswith("In"):
        found = _block(name[2:])
    elif name.startswith("Is"):
        found = _unicode(name[2:], folds) or _plain(name[2:], folds) or _script(name[2:])
    else:
        posix = _UNICODE_POSIX.get(name.upper()) if unicode else None
        found = _unicode(posix, folds) if posix else _plain(name, folds)
    if found is None:
        raise InvalidPattern(f"unknown character property {name!r}")
    return found


def _script(name: str) -> CharSet | None:
    full = SCRIPTS.get(name.upper())
    if full is None:
        return None
    if full == "UNKNOWN":
        return Property("Script=Unknown")
    return Property(f"Script={full}", "SignWriting" if full == "SIGNWRITING" else full.title())


def _block(name: str) -> CharSet | None:
    bare = name.upper().replace(" ", "").replace("_", "").replace("-", "")
    pair = _BLOCKS.get(_BLOCK_ALIASES.get(bare, bare))
    return None if pair is None else ranges(pair)


def _plain(name: str, folds: bool) -> CharSet | None:
    if folds and name in _CASE_NAMES:
        return _CASED
    if folds and name in _CASE_METHODS:
        return any_of(Property("Lowercase"), Property("Uppercase"), _category("Lt"))
    if name in _CATEGORIES:
        return _category(name)
    if folds and name in ("Lower", "Upper"):
        return _ALPHA
    return _ASCII.get(name) or _MORE.get(name)


def _unicode(name: str, folds: bool) -> CharSet | None:
    name = name.upper()
    name = _WITH_UNDERSCORE.get(name, name)
    if folds and name in _UNICODE_CASE:
        return any_of(Property("Lowercase"), Property("Uppercase"), _category("Lt"))
    return _UNICODE.get(name)
