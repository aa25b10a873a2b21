"""What handlers return: every kind of value that an encoder may treat in its own way."""

import collections
import dataclasses
import datetime as dt
import enum
import math
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import orjson


class Point(NamedTuple):
    x: Any
    y: Any


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another text"


class Whole(int):
    def __repr__(self) -> str:
        return "another number"


class Real(float):
    def __repr__(self) -> str:
        return "another number"


class Sevens(list):
    def __iter__(self) -> Iterator[int]:
        return iter([7])


class Colour(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Answers:
    """An object whose `_asdict` is what the test says."""

    def __init__(self, as_dict: Any, for_json: Any = None) -> None:
        self._asdict = as_dict
        self.for_json = for_json


class Proxy:
    """Says that it is a dict, as the proxies of web frameworks do."""

    __class__ = dict


class TextProxy:
    """Says that it is a text."""

    __class__ = str


class DictRecord(dict):
    def _asdict(self) -> dict[str, int]:
        return {"of": 1}


def raising(error: Exception) -> Callable[[], Any]:
    def method() -> Any:
        raise error

    return method


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def circular(value: Any, add: Callable[[Any], object]) -> Any:
    add(value)
    return value


VALUES = {
    "null": None,
    "true": True,
    "false": False,
    "integer": -7,
    "big integer": 10**40,
    "integer of too many digits": 10**5000,
    "float": 1.5,
    "large float": 1e22,
    "smallest float": 5e-324,
    "minus zero": -0.0,
    "nan": math.nan,
    "infinities": [math.inf, -math.inf],
    "nan and infinities beside bytes": [b"", math.nan, {-math.inf: math.inf}, Real("nan")],
    "empty text": "",
    "escapes": '\x00\x1f\x7f"\\/\b\f\n\r\t',
    "beyond ascii": "caf\xe9 \u2028 \U0001f600",
    "lone surrogate": {"\ud800": "\udc00"},
    "bytes": b"\x00raw",
    "bytearray": bytearray(b"x"),
    "bytes inside": [b"caf\xc3\xa9", {"a": b""}],
    "bytes that are not utf-8": [b"\xff"],
    "bytes key": {b"k": 1},
    "bytes key that is not utf-8": {b"\xff": 1},
    "spaces": {"a": [1, 2], "b": {"c": None}},
    "empty containers": [[], {}, ()],
    "tuple": (1, (2,)),
    "namedtuple": [Point(1, Point("x", None))],
    "constant keys": {None: 1, True: 2, False: 3},
    "number keys": {7: 1, 1.5: 2, math.nan: 3, -math.inf: 4, 10**40: 5},
    "tuple key": {(1,): 2},
    "decimal key": {Decimal(1): 2},
    "enum key": {Colour.RED: 1},
    "str enum and int enum": {Shade.RED: Shade.RED, Level.LOW: Level.LOW},
    "enum": Colour.RED,
    "str subclass": {Text("k"): Text("v")},
    "int subclass": {Whole(5): Whole(6)},
    "float subclass": {Real(0.5): Real(1.5)},
    "list subclass": Sevens([1]),
    "dict subclasses": [collections.OrderedDict(a=1), collections.Counter("aab")],
    "decimals": [Decimal("1.50"), Decimal("1E+10"), Decimal("-0.00"), Decimal("1e-9")],
    "decimals that are not numbers": [Decimal("NaN"), Decimal("-sNaN"), Decimal("-Infinity")],
    "_asdict": Answers(lambda: {"a": Decimal("1.0")}),
    "_asdict of a dict": [DictRecord(a=1)],
    "_asdict that is not a method": Answers(None),
    "_asdict that raises TypeError": Answers(raising(TypeError("no"))),
    "_asdict that raises ValueError": Answers(raising(ValueError("no"))),
    "_asdict that returns a list": Answers(lambda: [1]),
    "namedtuple class": Point,
    "for_json": Answers(None, lambda: 1),
    "proxy of a dict": Proxy(),
    "proxy of a text": {"a": TextProxy()},
    "datetime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "date": {"at": [dt.date(2026, 1, 1)]},
    "uuid": uuid.UUID(int=1),
    "dataclass": dataclasses.make_dataclass("Record", ["a"])(1),
    "set": {1},
    "frozenset": frozenset(),
    "deque": collections.deque([1]),
    "generator": (x for x in ()),
    "range": range(3),
    "dict view": {}.keys(),
    "complex": 1j,
    "ellipsis": ...,
    "class": object,
    "function": len,
    "exception": ValueError("x"),
    "orjson fragment": orjson.Fragment(b"1"),
    "circular list": circular([], lambda value: value.append(value)),
    "circular dict": circular({}, lambda value: value.update(a=[value])),
    "circular record": circular(
        Answers(dict), lambda value: setattr(value, "_asdict", lambda: {"a": value})
    ),
    "the same list twice": [[1]] * 2,
    "deep list": nested(500),
}

# Replies that look like the ALB's and hold something that only the slow encoder may write.
ALMOST_REPLIES = {
    "another field": {"statusCode": 200, "cookies": []},
    "status true": {"statusCode": True},
    "status text": {"statusCode": "200"},
    "status enum": {"statusCode": Level.LOW},
    "status of too many bits": {"statusCode": 2**64},
    "status float": {"statusCode": 200.0},
    "no headers": {"statusCode": 200, "headers": None},
    "header number": {"headers": {"a": 1}},
    "header enum": {"headers": {"a": Colour.RED}},
    "header uuid": {"headers": {"a": uuid.UUID(int=1)}},
    "header list": {"headers": {"a": ["b"]}},
    "header name": {"headers": {1: "b"}},
    "header name enum": {"headers": {Shade.RED: "b"}},
    "headers subclass": {"headers": collections.OrderedDict(a="b")},
    "values text": {"multiValueHeaders": {"a": "b"}},
    "values tuple": {"multiValueHeaders": {"a": ("b",)}},
    "values number": {"multiValueHeaders": {"a": ["b", 1]}},
    "body bytes": {"body": b"hello"},
    "body number": {"body": Decimal("1.50")},
    "body object": {"statusCode": 200, "body": {"a": 1}},
    "body subclass": {"body": Text("x")},
    "body surrogate": {"body": "\ud800"},
    "flag number": {"isBase64Encoded": 1},
    "name subclass": {Text("body"): "x"},
    "reply subclass": collections.OrderedDict(statusCode=200),
}

REPLIES = {
    "full": {
        "statusCode": 200,
        "statusDescription": "200 OK",
        "headers": {"Content-Type": "text/html; charset=utf-8"},
        "body": "<h1>hello</h1>",
        "isBase64Encoded": False,
    },
    "multi": {"statusCode": 302, "multiValueHeaders": {"set-cookie": ["a=1", "b=2"], "x": []}},
    "both": {"headers": {"a": "b"}, "multiValueHeaders": {"c": ["d"]}},
    "beyond ascii": {"statusCode": 200, "body": "caf\xe9 \U0001f600", "headers": {"\xe9": "\xe9"}},
    "escapes": {"body": '\x00\x1f\x7f"\\/\n\u2028'},
    "negative": {"statusCode": -(2**63)},
    "nothing": {},
}
