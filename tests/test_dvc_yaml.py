"""YAML is read as DVC reads it, or refused in one line."""

import pytest
from dvc.utils.serialize import dumps_yaml, load_yaml
from dvc.utils.serialize import loads_yaml as read_by_dvc

from faceverify.runs.dvc_yaml import YamlError, parse
from helpers import ROOT

# Equal values of equal types.
READ = """
0|00|010|0777|08|09|018|-010|+010|+1|-1|-0|0o10|0o010|0o7|0x1F|0x1f|0x0|2020|20200101
9999999999999999999999|-9999999999999999999999|123456789012345678901234567890
1.|1.0|-1.0|.5|-.5|+.5|.0|0.|00.5|01.5|-0.0|0.70001|0.1e1|1e3|1E3|1e+3|-1e3|+1e3|0e0|00e1|12e03
1e-05|1e-5|3e-6|1.5e3|1.5e+3|1.5e-3|1.e3|1.e-3|.5e+3|-.5e-3|1e400|-1e400|1e-400
.inf|-.Inf|+.INF|.Inf|.NaN|.nan|.NAN|-.nan|.iNF|inf|nan|NaN|infinity|e3|1e|1.5e|1.5e+|.e3|1e3.5
on|off|ON|Off|yes|no|Yes|NO|y|n|Y|N|true|True|TRUE|tRUE|false|False|FALSE|fALSE|t|f
null|Null|NULL|nULL|~||None|none|'~'|'null'|""
'010'|"on"|'3e-6'|'1_000'|"2020-01-01"|'true'|"="|'<<'|'it''s'|"\\u00e9"|"\\x41"|"a\\tb"|"\\/"|'\\t'
1:30|1:30.5|12:30:45|190:20:30|-1:30|0:0|a:b|tcp://host:8786|C:\\x
é|½|日本|\u0661|\u0661\u0662|\uff11|\U0001d7d9|_1|_|+|.|..|+.|++1|--1|1-1|1.2.3|v1|1,000|0,5
1 000|0B1|0O10|0X1F|0x|0xG|0o8|0b2|0bdb39d03cb8040e69cb189613d577c2
1 # comment|1# text|a #b|[1, 010, on, 3e-6]|{a: 010, b: off}|[]|{}|[[1], {a: [2]}]|[a b, c]|&a 1
"""
# Others read these differently, or may: written another way, nobody does.
REFUSED = """
1_000|1__0|1_|0_7|1_0.5|1.5_0|1_0e3|._5|1e1_0|0b1|-0b1|0b_1|0o_7|0x_1F|-0x1F|+0x1F|-0o7
.5e3|-.5e3|2020-01-01|2020-1-1|2020-13-45|2020-01-01 10:00:00|2020-01-01T10:00:00Z|=|<<|{<<: {a: 1}}
2001-12-14t21:59:43.10-05:00|!!float 1|!!float 3e-6|!!float '3e-6'|!!int 010|!!int '7'|!!int 1:30
!!str 010|!!str|!!bool on|!!null ''|!!null x|!!binary aGk=|!!timestamp 2020-01-01|!!timestamp x
!!set {a}|!!omap [a: 1]|!!map {a: 1}|!!seq [1]|!!python/none|!!python/name:os.system|!foo 1|! 1|!
!<tag:yaml.org,2002:str> 1|*a|[&a 1, *a]|@a|`a`|%a|a: b|- 1|? a|[1|{a: 1|'a|"a|a\tb|"\\q"|-
{a: 1, a: 2}|{1: a, 1.0: b}|{[a]: 1}|{{a: 1}: 2}|[1,,2]
"""


def values(listed: str) -> list[str]:
    return list(dict.fromkeys(listed.strip().replace("\n", "|").split("|")))


def is_same(one: object, other: object) -> bool:
    """Equal values of equal types, inside as well; no number equals no number."""
    return repr(one) == repr(other) and type(one) is type(other)


def refusal(text: str) -> str:
    with pytest.raises(YamlError) as caught:
        parse(text)
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize("text", values(READ))
def test_a_value_is_read_as_dvc_reads_it(text):
    for document in (f"a: {text}", f"a:\n- {text}\n- 1\n", f"\nb:\n  a: {text}\nc: 1\n"):
        assert is_same(parse(document), read_by_dvc(document))


@pytest.mark.parametrize("text", values(REFUSED))
def test_a_value_that_others_may_read_differently_is_refused(text):
    assert "in line 1, column" in refusal(f"a: {text}\n")


@pytest.mark.parametrize("text", ["3e-6", "010", "on", "1:30", "~", "true", "0x1F", "a b", "."])
def test_a_key_is_read_as_dvc_reads_it(text):
    assert is_same(parse(f"{text}: 1"), read_by_dvc(f"{text}: 1"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("3e-6", 3e-6), ("1e-05", 1e-5), (".5", 0.5),
        ("on", "on"), ("no", "no"), ("1:30", "1:30"), ("True", True), ("~", None), ("", None),
    ],
)  # fmt: skip
def test_some_values_by_hand(text, value):
    assert is_same(parse(f"a: {text}"), {"a": value})


@pytest.mark.parametrize(
    "document",
    [
        "", "\n", "# comment\n", "---\na: 1\n", "--- {a: 1}\n...\n", "\ufeffa: 010\n",
        "a: 1\r\nb: 2\r\n", "a: 1\rb: 2\r", "a: b\n  c\n", "a:\n- 1\n-  2\n", "a: 'b\n\n  c'\n",
        'a: "b\\\n  c"\n', "{a: 1,\n b: 010}\n", "a: b\xa0c\n", "- 1\n- 010\n", "text", "010",
    ],
)  # fmt: skip
def test_a_document_is_read_as_dvc_reads_it(document):
    assert is_same(parse(document) or {}, read_by_dvc(document) or {})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("a: 1\n---\nb: 1\n", "expected a single document"),
        ("%YAML 1.1\n---\na: 010\n", "leave out the % directives in line 1"),
        ("%YAML 1.2\n---\na: 010\n", "leave out the % directives"),
        ("%TAG !! tag:example.com:\n---\na: 1\n", "leave out the % directives"),
        ("a:\t1\n", "cannot start any token in line 1, column 3"),
        ("\ta: 1\n", "cannot start any token in line 1"),
        ("a: |\n  b\n", "write the text in quotes"),
        ("|+\n#010\n", "write the text in quotes"),
        ("a: >-\n  b\n", "write the text in quotes"),
        ("a: 1\x85b: 2\n", "not a line's end"),
        ("a: 1\u2028b: 2\n", "not a line's end"),
        ("a: \x00\n", "special characters are not allowed"),
        ("a: \x1b\n", "special characters are not allowed"),
        ("a: \ud800\n", "special characters are not allowed"),
        ("a: 1\na: 2\n", "this key comes twice in line 2"),
        ("1: a\n1.0: b\n", "this key comes twice"),
        ("<<: {a: 1}\n", "write the keys out instead of merging them"),
        ("=: 1\n", "write a number in digits alone"),
        ("1_0: 1\n", "write a number in digits alone"),
        ("a: &b [*b]\n", "write the value out instead of an alias"),
        ("[" * 5000, "nested too deeply"),
        (f"a: {'9' * 4301}\n", "a value of more than 4,300 characters"),
        (f"a: 0x{'F' * 5000}\n", "a value of more than 4,300 characters"),
    ],
)
def test_a_document_that_others_may_read_differently_is_refused(document, said):
    assert said in refusal(document)


@pytest.mark.parametrize(
    "name",
    [
        "params.yaml", "params.celeba.yaml", "params.faces.yaml", "pretrain/params.yaml",
        "dvc.lock", "pretrain/dvc.lock", "data.dvc", "dvc.yaml",
    ],
)  # fmt: skip
def test_the_project_s_files_are_read_as_dvc_reads_them(name):
    assert is_same(parse((ROOT / name).read_text()), load_yaml(ROOT / name))


@pytest.mark.parametrize(
    "value", [1e-5, 1e-6, 3e-7, 1e22, 0.1, 10.0, "on", "010", "1:30", "1e-5", "~", "2020-01-01", ""]
)
def test_what_dvc_writes_is_read_again(value):
    assert is_same(parse(dumps_yaml({"a": value, "b": [value]})), {"a": value, "b": [value]})
