"""YAML as DVC reads it, which is version 1.2; PyYAML by itself reads version 1.1.

By version 1.1 `010` is 8, `on` is true, `1:30` is 90, and `3e-6` is text.
"""

import re
from typing import ClassVar

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

SCALAR_LENGTH = 4300  # characters of one value; Python reads no number of more digits
_TAG = "tag:yaml.org,2002:"
_MERGE, _ODD = f"{_TAG}merge", f"{_TAG}odd"
# The core schema of version 1.2 (https://yaml.org/spec/1.2.2/#1032-tag-resolution), by the
# characters that a value begins with. What is of no kind here is text.
_CORE = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", "<<", ["<"]),
    # What DVC and the core schema take for different things, or other readers may: 1_000, 0b1,
    # -0x1F, .5e3, 2020-01-01, =. Only what is of no kind above comes here.
    (
        "odd",
        r"[-+]?[0-9_]+(\.[0-9_]*)?([eE][-+]?[0-9_]+)?|[-+]?\.[0-9_]+([eE][-+]?[0-9_]+)?"
        r"|[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+)|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?|=",
        list("-+.=0123456789"),
    ),
)
# Version 1.1 ends a line at these, version 1.2 does not.
_FORMER_BREAKS = re.compile("[\x85\u2028\u2029]")


class YamlError(ValueError):
    """What is no YAML, or such as two readers may take for different things; says where."""


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.2 without what makes a small file an enormous one, or one key two things."""

    yaml_implicit_resolvers: ClassVar[dict] = {}  # PyYAML's own are version 1.1's

    def compose_document(self) -> yaml.Node:
        start = self.peek_event()
        if start.version or start.tags:  # %YAML 1.1 would have DVC read by other rules
            raise ComposerError(None, None, "leave out the % directives", start.start_mark)
        return super().compose_document()

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            said = "write the value out instead of an alias"
            raise ComposerError(None, None, said, event.start_mark)
        if event.tag is not None:
            raise ComposerError(None, None, "write the value without a tag", event.start_mark)
        if getattr(event, "style", None) in ("|", ">"):  # who reads a # after it as text?
            raise ComposerError(
                None, None, "write the text in quotes, not as a block", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.Node) -> str:
        value = super().construct_scalar(node)
        if len(value) > SCALAR_LENGTH:
            said = f"a value of more than {SCALAR_LENGTH:,} characters"
            raise ConstructorError(None, None, said, node.start_mark)
        return value

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict:
        known = set()
        for key_node in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            key = self.construct_object(key_node)
            if key in known:
                raise ConstructorError(None, None, "this key comes twice", key_node.start_mark)
            known.add(key)
        return super().construct_mapping(node, deep)

    def construct_int(self, node: yaml.Node) -> int:
        text = self.construct_scalar(node)
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)

    def refuse_merge(self, node: yaml.Node) -> None:
        said = "write the keys out instead of merging them"
        raise ConstructorError(None, None, said, node.start_mark)

    def refuse_odd(self, node: yaml.Node) -> None:
        said = "write a number in digits alone, as 1000 or 0.5 or 1e-3, and other text in quotes"
        raise ConstructorError(None, None, said, node.start_mark)


for _kind, _pattern, _first in _CORE:
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_int)
_Loader.add_constructor(_MERGE, _Loader.refuse_merge)
_Loader.add_constructor(_ODD, _Loader.refuse_odd)


def parse(text: str) -> object:
    """The value of a YAML text, equal to the one that DVC reads in it; None for an empty text.

    Raises YamlError for what is not YAML, and for aliases, merges, tags, directives, blocks of
    text, keys that come twice, and values that DVC and YAML 1.2's core schema read differently.
    """
    try:
        if found := _FORMER_BREAKS.search(text):
            raise ReaderError("the file", found.start(), ord(found[0]), "utf-8", "not a line's end")
        return yaml.load(text, _Loader)
    except RecursionError:
        raise YamlError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(str(error).replace('in "<unicode string>", ', "in ")) from None
