# ruff: noqa: E501 - tables of short texts
"""Ask a real Java what it makes of expressions and numbers, and write the answers down as vectors.

    python tests/vectors/java_answers.py [java home]

Take Java 19 or later: from then on `\\b` is about ASCII words, as in the Java 21 that Flagent runs on.
"""

import base64
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent

PATTERNS = r"""
a|b |a a| ab? a* a+ a{2} a{2,} a{1,3} a{2}{3} {1} x*{2} ^* (?=a)* \b+ \b{1,2} } ] a} a] a{ a{, a{,3} a{3 a{3,1}
a{2147483647} a{2147483648} a{99999999999} * + ? a** a++ a+++ a?? (?i)* ( ) (a (a)) () (|) (?:) (? (?: (?z) (?i-z)
(?^i)a (?P<n>a) (?<n>a)\k<n> (?<n>a)\k<m> \k<n>(?<n>a) (?<1a>b) (?<a_b>b) (?<n>a)(?<n>b) (?<>a) (?c)a (?i:ab)c
(?i)ab(?-i)c (?i:a(?-i)b)c ((?i)a)b (?x)a\ b#c (?x:a\ b)\ c (?s). (?m)^a$ (?d). (?s-d:.) (?u)É (?iu)É (?i)É (?iu)k
(?i)k (?iu)s (?i)[a-z]+ (?iu)[а-я]+ (?i)[а-я]+ (?U)\w+ (?U)\d (?U)\s (?U)\p{Lower} \w+ \d+ \s \S \D \W \h \H \v \V \R
\R\R \X \b{g}a . .* .+@x\.com [^@]+@(x|y)\.com \d{1,3}(\.\d{1,3}){3} [A-Z]{2} US|CA ^US$ ^(US|CA)$ \AUS\z US\Z US$ a$\n
a$\r\n a\Z\n ^^a$$ a^b a$b (?m)a$\n^b (?m)a$\r\n^b (?m)^$ (?m)a$\n (?m)a\n^ \Ga a\Gb \ba\b a\Bb \b.\b \Bй\B
(?=.*\d)(?=.*[a-z]).{3,} ^(?!.*@example\.com$).*$ ^(?!internal).* (?!a|b).* (?=a)a|(?!a)b ((?!bad).)* (?<=a)b a(?<=a)b
a(?<!b)c .*(?<!x) (?<=a*)b (?<=a+)b (?<=(ab)*)b (?<=(abc)*)b (?<=(a|bc){1,3})b (?<=(ab){1,3})b (?<=x(?:ab)*)b
(?<=a*b*)c (?<!a*b*)c (?<=\R)b (?<=\X)b (a)\1 (a)(b)\2\1 \1(a) (a\1) (a)\2 (a)\11 \1 (.)(.)\2\1 (?i)(a)\1 (\w+)\s\1
a++b a++a [a-c]++d \d++\.\d++ (a|ab)++c (a|ab)*+ .*+a .++ (?>a|ab)c (?>a*)b (?>a*)a (?:a|ab)(?:c|bcd) (a?b??)*
(a*)* (a*)+ (a|b)*c (a+)+b (a|a)*b ((a*)*)*b (x+x+)+y
[abc] [^abc] [a-c] [a-] [-a] [a-z&&[^aeiou]] [a-z&&[def]] [a-z&&def] [^a-z&&[def]] [a-d[m-p]] [^a-d[m-p]] [a&&b] [a&&]
[&&a] [&a] [a&b] [a&&&b] [a-z&&b-y&&c-x] [a-c[x]&&[a-x]] []a] [^]a] [] [^] [[a] [a[b] [a]] [z-a] [a-\d] [\d-z] [\w-z] [\d]
[\D] [^\d] [^\W] [\S\s] [\]] [\[] [\-] [\\] [\^] [a^] [\b] [\Qa-c\E] [\x41-\x43] [\u0041] [\v] [\v-\r] [\h] [.] [$] [(*+?)]
(?x)[a\ b] (?x)[a b] [\p{L}&&[^\p{Lu}]] [\p{Lu}a] [^\p{Lu}a] [^\P{Lu}] (?i)[^a] (?i)[A-C] (?i)[\x41-\x43&&[^b]]
\p{L} \pL \PL \p{Lu} \p{Lower} \p{Upper} \p{Alpha} \p{Alnum} \p{Punct} \p{Graph} \p{Print} \p{Blank} \p{Cntrl} \p{XDigit}
\p{Space} \p{ASCII} \p{Digit} \p{IsLatin} \p{IsGreek} \p{IsGREEK} \p{isLatin} \p{Latin} \p{InGreek} \p{InBasicLatin}
\p{InLatin-1\ Supplement} \p{IsAlphabetic} \p{IsLu} \p{IsUppercase} \p{IsWhite_Space} \p{IsPunctuation} \p{IsDigit} \p{sc=Grek}
\p{script=Cyrillic} \p{blk=Cyrillic} \p{gc=Nd} \p{general_category=Lu} \p{x=y} \p{} \p{L \p \p{Foo} \p{javaLowerCase}
\p{javaWhitespace} \p{javaLetterOrDigit} \p{all} \p{L1} \p{LC} \p{LD} \p{C} \p{Cn} \p{Cs} (?i)\p{Lu} (?i)\p{Lower} \p{IsHan}
\x41 \x4 \xg \x{41} \x{1F600} \x{110000} \x{} \u0041 \u004 \ud83d\ude00 \0101 \07 \08 \0 \0377 \0400 \t \n \r \f \a \e \cA \c
\. \- \_ \@ \# \< \' \" \/ \: \E \y \C \8 \Qa.b\E \Qa.b \Qa\Eb+ \Qab\E+ \Q\E \Q\E+ \Q(\E a\ b \N{DIGIT\ ONE} \N{NO\ SUCH} \N{ \
(?:a{1000}){2} .{0,300} (?:.{1,100}){3}
"""

VALUES = """
|a|b|ab|ba|aa|aaa|aaaa|aaaaaa|abc|abcd|aab|bc|c|ac|A|AB|Abc|K|\u212a|k|s|\u017f|i|\u0130|\u0131|é|É|ß|й|Й|ключ|КЛЮЧ|α|Ω
|1|12|٣|1.5|10.0.0.1|a1b2|US|CA|us| US|US |a b|a#c|a b c|x|y|xxy|xy|user@x.com|user@example.com|internal-1|bad|not bad here
|-|_|@|#|.|$|^|(|[|]|\\|&|+|\t| |\u00a0|\u2003|\u200b|\u001f|\u0085|\u2028|\v|\0|\x07|\x1b|\x01|\x08|😀|漢|\u0301|e\u0301|'|"|/|:|<
|a$|a.b|ab+|"US"|["US"]|d|e|m|z|xab|the the|abba|ABCD|a-b|!|~
"""

ALPHABET = [
    *"aabbccABC01_-. @x",
    "é",
    "И",
    "и",
    "😀",
    "\u0130",
    "i",
    "K",
    "k",
    "\u017f",
    "\n",
    "\r",
    "\x85",
    "\u2028",
    "α",
]
ATOMS = [
    *"abcABC01_-. @é", "\u212a", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\h", r"\v", ".", r"\R", r"\pL", r"\p{Lu}",
    r"\p{Alpha}", r"\p{IsCyrillic}", r"\P{Ll}", r"\x41", r"\Qa.b\E", "^", "$", r"\A", r"\z", r"\Z", r"\b", r"\B", r"\1",
    "(?i)", "(?s)", "(?m)", "(?x)", "(?iu)", "{2}", "[abc]", "[^a]", "[a-cx]", "[a-z&&[^b]]", r"[\d_-]", "[a[0-9]]"
]  # fmt: skip
OPENINGS = ["(", "(", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?<n>", "(?i:", "(?s-i:", "(?m:"]
QUANTIFIERS = ["*", "+", "?", "{2}", "{1,2}", "{0,}", "{2,}"]

NUMBERS = """
0|-0|+0|1|-1|+1|007|18|18.0|17.999|5.|.5|.|-.5|+5.|1e3|1E3|1e+3|1e-3|1e|1e+|e3|.e3|5.e3|1e3.5|1e999|-1e999|1e-999|0e999999999999
|1e99999999999999999999|10d|10D|10f|10F|10l|10L|10fd|1.5f|1e3d|d|f|0x10|0x1p4|0X1P4|0x1p4f|0x1p4d|0x1.8p1|0x.8p1|0x1.p1|0x.p1|0xp1|0x1p
|0x1p+4|0x1p-4|-0x1p4|0x1p99999|0x1p-99999|0x0p99999|0x1.fffffffffffff8p0|0x1.fffffffffffffp1023|0x1.fffffffffffff8p1023|0xfp1|0x1pf
|NaN|nan|NAN|-NaN|+NaN|NaNd|Infinity|-Infinity|+Infinity|infinity|inf|Inf|-inf|Infinityf|1_0|1,5|1 0| 18|18 | 18 |\t18\n|\u000118\u001f
|\u00a018|18\u00a0|\u200318|١٨|１０|²|½|--1|+-1|+ 1|- 1|0b1|0o7|1e3e3|1..5|1.5.|||\u0000| |abc|1a|4.9e-324|2.4e-324|2.5e-324
|1.7976931348623157e308|1.7976931348623159e308|9007199254740993|0.1|0.30000000000000004|123456789012345678901234567890|2.2250738585072012e-308
|1e23|8.5e22|9223372036854775807|1.00000000000000011102230246251565404236316680908203125|true|null|1e0000000000000003|0x1p0000000004
"""


def split(text: str, at: str | None = None) -> list[str]:
    return list(dict.fromkeys(text.replace("\n", "").split(at) if at else text.replace(r"\ ", "\x00").split()))


def random_patterns(count: int) -> list[str]:
    """Expressions put together from parts, a quarter of them damaged."""
    dice = random.Random(20)

    def branch(depth: int) -> str:
        text = ""
        for _ in range(dice.randint(0, 4)):
            if depth and dice.random() < 0.25:
                text += dice.choice(OPENINGS) + expression(depth - 1) + ")"
            else:
                text += dice.choice(ATOMS)
            if dice.random() < 0.3:
                text += dice.choice(QUANTIFIERS) + dice.choice(["", "", "", "?", "+"])
        return text

    def expression(depth: int) -> str:
        return "|".join(branch(depth) for _ in range(dice.choice([1, 1, 1, 2])))

    def damaged(text: str) -> str:
        at = dice.randint(0, len(text))
        return text[:at] + dice.choice("()[]{}|*+?\\^$-&<>=!:#, 19aQEkp") + text[at + dice.randint(0, 1) :]

    return [damaged(text) if dice.random() < 0.25 else text for text in (expression(2) for _ in range(count))]


def random_values(dice: random.Random) -> list[str]:
    return ["".join(dice.choices(ALPHABET, k=dice.randint(0, 6))) for _ in range(10)] + [
        "a",
        "ab",
        "a\n",
        "a\r\n",
        "aa",
    ]


def ask(java_home: str, questions: Sequence[Sequence[str]]) -> list[str]:
    lines = (
        " ".join([kind, *(base64.b64encode(text.encode()).decode() for text in texts)]) for kind, *texts in questions
    )
    with tempfile.TemporaryDirectory() as classes:
        compiler = [f"{java_home}/bin/javac", "-d", classes, str(HERE / "JavaAnswers.java")]
        subprocess.run(compiler, check=True)
        java = [f"{java_home}/bin/java", "-cp", classes, "JavaAnswers"]
        answers = subprocess.run(java, input="\n".join(lines), capture_output=True, text=True, check=True).stdout
    return answers.splitlines()


def write(name: str, cases: Sequence[object]) -> None:
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / name).write_text(f"[\n{lines}\n]\n", "utf-8")


def main(java_home: str) -> None:
    dice = random.Random(21)
    values = [json.loads(f'"{value}"') if "\\u" in value else value for value in split(VALUES, "|")]
    values = list(dict.fromkeys([*values, "a\n", "a\r\n", "a\nb", "a\r\nb", "\n", "\r\n", "\r", "x" * 30]))
    questions = [(pattern.replace("\x00", " "), values) for pattern in split(PATTERNS)]
    questions += [(pattern, random_values(dice)) for pattern in random_patterns(1500)]
    answers = ask(java_home, [("regex", pattern, *texts) for pattern, texts in questions])
    # null: Java refuses the pattern; else the values that it matches and those that it does not.
    write(
        "java_regex.json",
        [
            [pattern, None]
            if answer == "invalid"
            else [
                pattern,
                [text for text, digit in zip(texts, answer, strict=True) if digit == "1"],
                [text for text, digit in zip(texts, answer, strict=True) if digit == "0"],
            ]
            for (pattern, texts), answer in zip(questions, answers, strict=True)
        ],
    )
    numbers = [json.loads(f'"{text}"') if "\\u" in text else text for text in split(NUMBERS, "|")]
    numbers += [f" {text}\t" for text in numbers[:40]]
    numbers += ["".join(dice.choices("00112589.+-eExXpPfdNa _", k=dice.randint(1, 9))) for _ in range(1500)]
    numbers += [repr(dice.uniform(-1, 1) * 10.0 ** dice.randint(-320, 308)) for _ in range(300)]
    numbers += ["".join(dice.choices("0123456789", k=dice.randint(15, 40))) + "e-20" for _ in range(300)]
    # null: no number; else the bits of the double.
    answers = ask(java_home, [("double", text) for text in dict.fromkeys(numbers)])
    write(
        "java_double.json",
        [
            [text, None if answer == "invalid" else answer]
            for text, answer in zip(dict.fromkeys(numbers), answers, strict=True)
        ],
    )


if __name__ == "__main__":
    main(sys.argv[1])
