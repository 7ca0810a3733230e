# ruff: noqa: E501 - tables of short texts
"""Ask Kotlin's own libraries what Flagent makes of texts, and write the answers down as vectors.

    python tests/vectors/kotlin_answers.py CLASSPATH [java home]

The class path holds `kotlinx-serialization-json-jvm` 1.10.0, as Flagent 0.1.7 uses, with what it depends on.
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

DOCUMENTS = """
|[]|[ ]|{}|{ }|x|1|"x"|null|[1]|[1,"base",null]|[true,TRUE,nulL]|["a","b"]|[[1]]|[{}]|[1,]|[,1]|[,]|[1 2]|[a b]|[a,'b']|['a b']|[']|[1
|[1}|[]]|[[]|[1]]|[1]2]|[1] 2|[1]3,4]|[1],2]|[1][2]|[1]"x"]|[1]{}]|[1]{}|[1]]|[[1]2]|[[1]2]]|{"a":[1]2}|{"a":[1]2]}|["a"b]|[a"b"]|[a/b]
|[//c\n1]|[#1]|[-0.0,01,+1,.5,1.,-,+,1e3,1E+3,0x10,1_0,NaN,-Infinity,Infinity]|[é,\u00a0,\u2028,~,\x7f]|[\u2003a]|[\\u0041]|[a\\b]
|{"a":1}|{"neg":-0.0,"i":01}|{"x":'y'}|{'a':1}|{a:1}|{"a":b}|{"a" : b }|{"a":b c}|{"a":}|{"a"}|{"a":,}|{,}|{"a":1,}|{"a":1}}|{"a":1},|{"a":1}x
|{"a":1}2|{"a":1}"b":2}|{"a":1;"b":2}|{"a":1 "b":2}|{"a":1,"a":2}|{"a":[1],"a":2}|{"a":1,"b":2,"a":3}|{"":1}|{"a":1|{"a":1]|{"a":{}}|{"a":null}
|{"a":"null"}|{"a":undefined}|{"a":True}|{"a":None}|{"a":1.}|{"a":"b" "c"}|{"a":"b"c}|{"a":b"c"}|{"a"1}|{"a"::1}|{"a":1,,"b":2}|{:1}|{[1]:2}
|{"a":"\\n\\t\\b\\f\\r\\/\\\\\\""}|{"a":"\\x41"}|{"a":"\\u00e9"}|{"a":"\\u00E9"}|{"a":"\\u00G9"}|{"a":"\\u12"}|{"a":"\\'"}|{"a":"\\0"}|{"a":"\\ud83d"}
|{"a":"\\ud83d\\ude00"}|{"a":"\\ude00\\ud83d"}|{"a":"\\ud83d\\u0041"}|{"a":"\\u+123"}|{"a":"\\u 123"}|{"a":"\\|{"a":"\\u1234|{"a":"b|{"a|{"a":"\n\t\x01"}
|{"\n":"x"}|{"a":\x01}|{"a":x\x01}|{"a":\x1f}|\ufeff{}|\u00a0{}|\t\r\n {} \n|{}\x0b|{}\x0c|/* c */{}|{}//c|{"a":/*c*/1}|{"a":😀}|{"😀":1}|[\\]|["]|[""]|["",""]
|{"a":"x","a":{}}|{"a":{},"a":"x"}|[1,[2]]|[[[[[]]]]]|{"a":1e999}|{"a":00}|{"a":-}|{"a":--1}|{"a":1-1}|{"a":10%}|{"a":#fff}|{"a":$1}|{"a":<b>}|{"a":(1)}|{"a":a=b}
|a,b|"a"|[1].|[1];|;[1]|{"a":1}\u2028
"""

NUMBERS = """
|1|0|-0|-1|01|00|-01|1e2|1E2|1e+2|1e-2|10e-1|15e-1|0e5|1e|1e+|1e-|1e-+2|1e+-2|1e2-|1e2+|e1|1.0|1.|.5|1.5e1|+5|--1|-|1-|-1e2|2147483647|2147483648
|-2147483648|-2147483649|1e9|1e10|-1e9|3e9|9223372036854775807|9223372036854775808|99999999999999999999|1e18|1e19|1e400|1e-400|0x1|1_0| 1|1 |1\\n|\\u0031|１|٣
|NaN|true|null||1f|1L|12345678901234567890e-19|0000000000000000000000001|21474836470e-1|5e0|5e00|5e-0|7e000000000000000000001|1e99999999999999999999
"""

BOOLEANS = """
|true|false|True|TRUE|tRuE|False|FALSE| true|true |truex|tru|t|f|1|0|yes|no|on|off||null|\\u0074rue|ｔｒｕｅ|true\\n|ﬁlse|falſe
"""

TOKENS = [
    *"{}[],:", *'{}[],:"', '"a"', '"b"', '"a":', '"b":', "1", "01", "-0.0", "x", "'y'", "null", "true", "+1", "é", '"\\u0041"', '"\\q"', '"a b"',
    " ", "\n", "\x01", "\\", "[1]", "{}", '{"a":1}', "a b", "1]2", "]", "}", ",", ",", '"a":1,', '"b":x'
]  # fmt: skip


def split(text: str) -> list[str]:
    return list(dict.fromkeys(text.strip("\n").removeprefix("|").replace("\n|", "|").split("|")))


def random_documents(dice: random.Random) -> list[str]:
    """Documents put together from tokens, and whole ones with one or two damages."""
    whole = ['{"a":"x","b":1}', '["a",1,null]', '{"a":true}', "[1]2]", '{"a": [1, 2], "a": y}']

    def damaged(text: str) -> str:
        at = dice.randint(0, len(text))
        return f"{text[:at]}{dice.choice(TOKENS)}{text[at + dice.randint(0, 2) :]}"

    made = ["".join(dice.choices(TOKENS, k=dice.randint(1, 7))) for _ in range(400)]
    made += ["[" + "".join(dice.choices(TOKENS, k=dice.randint(1, 5))) + "]" for _ in range(400)]
    made += ['{"k":' + "".join(dice.choices(TOKENS, k=dice.randint(1, 5))) + "}" for _ in range(400)]
    return made + [
        damaged(damaged(dice.choice(whole)) if dice.random() < 0.3 else dice.choice(whole)) for _ in range(800)
    ]


def ask(java_home: str, classpath: str, kind: str, texts: Sequence[str]) -> list[object]:
    """Each text with its answer; UTF-16 on the way there, because Java's strings are."""
    encoded = [base64.b64encode(text.encode("utf-16-be", "surrogatepass")).decode() for text in texts]
    with tempfile.TemporaryDirectory() as classes:
        compiler = [f"{java_home}/bin/javac", "-cp", classpath, "-d", classes, str(HERE / "KotlinAnswers.java")]
        subprocess.run(compiler, check=True)
        java = [f"{java_home}/bin/java", "-cp", f"{classpath}:{classes}", "KotlinAnswers"]
        lines = "\n".join(f"{kind} {text}" for text in encoded)
        done = subprocess.run(java, input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [[text, answer] for text, answer in zip(texts, answers, strict=True)]


def write(name: str, cases: Sequence[object]) -> None:
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / name).write_text(f"[\n{lines}\n]\n", "utf-8")


def main(classpath: str, java_home: str = "/usr") -> None:
    dice = random.Random(22)
    documents = list(dict.fromkeys(split(DOCUMENTS) + random_documents(dice)))
    # null: Kotlin refuses the text; else the value, its scalars as text.
    write("kotlin_json.json", ask(java_home, classpath, "json", documents))
    # A field of a request is a number or a string of JSON, as its body has to be valid JSON.
    numbers = split(NUMBERS) + ["".join(dice.choices("0011259.+-eE ", k=dice.randint(1, 8))) for _ in range(400)]
    numbers = list(dict.fromkeys(numbers))
    fields = [text for text in numbers if is_json(text)] + [json.dumps(text, ensure_ascii=False) for text in numbers]
    write("kotlin_int_field.json", ask(java_home, classpath, "int", list(dict.fromkeys(fields))))
    fields = ["true", "false", "1", "0", *(json.dumps(text, ensure_ascii=False) for text in split(BOOLEANS))]
    write("kotlin_boolean_field.json", ask(java_home, classpath, "boolean", fields))
    write("kotlin_to_int.json", ask(java_home, classpath, "toInt", numbers))
    write("kotlin_to_long.json", ask(java_home, classpath, "toLong", numbers))
    write("kotlin_to_boolean.json", ask(java_home, classpath, "toBoolean", split(BOOLEANS)))


def is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=int)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
