"""The dataclasses of values.py behave as the standard library's, which each test asks too."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Any

import pytest

from kubectl_build import values

both = pytest.mark.parametrize("decorator", [values.dataclass, dataclasses.dataclass], ids=["ours", "standard"])


def _point(decorator: Callable[..., Any], **flags: bool) -> Any:
    class Point:
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list)
        secret: str = field(default="s", repr=False, compare=False)
        made: dict[str, int] = field(init=False, default_factory=dict)

    return decorator(**({"frozen": True, "slots": True} | flags))(Point)


@both
def test_value_made_by_position_and_name_has_its_defaults(decorator: Callable[..., Any]) -> None:
    point = _point(decorator)(1, tags=["a"])
    assert (point.x, point.y, point.tags, point.secret, point.made) == (1, 2, ["a"], "s", {})
    assert _point(decorator)(1).tags is not _point(decorator)(1).tags


@both
def test_value_shown_leaves_out_what_it_must(decorator: Callable[..., Any]) -> None:
    assert repr(_point(decorator)(1)).endswith("Point(x=1, y=2, tags=[], made={})")


@both
def test_value_equal_in_what_counts_is_equal_and_hashes_alike(decorator: Callable[..., Any]) -> None:
    class Key:
        name: str
        note: str = field(default="", compare=False)

    kind: Any = decorator(frozen=True, slots=True)(Key)
    assert kind("a", "x") == kind("a", "y")
    assert hash(kind("a", "x")) == hash(kind("a", "y"))
    assert kind("a") != kind("b")
    assert kind("a") != "a"


@both
def test_frozen_value_refuses_changes(decorator: Callable[..., Any]) -> None:
    point = _point(decorator)(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x


@both
def test_unfrozen_value_takes_known_names_only_and_has_no_hash(decorator: Callable[..., Any]) -> None:
    point = _point(decorator, frozen=False)(1)
    point.x = 5
    assert point.x == 5
    with pytest.raises(AttributeError):
        point.other = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(point)


@both
def test_value_without_eq_is_equal_to_itself_alone(decorator: Callable[..., Any]) -> None:
    kind = _point(decorator, frozen=False, eq=False)
    one = kind(1)
    assert one == one
    assert one != kind(1)
    assert hash(one) == hash(one)


@both
def test_keyword_only_value_refuses_positions(decorator: Callable[..., Any]) -> None:
    kind = _point(decorator, kw_only=True)
    assert kind(x=3).x == 3
    with pytest.raises(TypeError, match=r"__init__\(\) takes 1 positional argument but 2 were given"):
        kind(3)


@both
def test_missing_and_unknown_arguments_are_named(decorator: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) missing 1 required positional argument: 'x'"):
        _point(decorator)()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        _point(decorator)(1, z=1)


@both
def test_functions_of_the_standard_library_take_it(decorator: Callable[..., Any]) -> None:
    kind = _point(decorator)
    assert [item.name for item in fields(kind)] == ["x", "y", "tags", "secret", "made"]
    assert asdict(kind(1)) == {"x": 1, "y": 2, "tags": [], "secret": "s", "made": {}}
    assert replace(kind(1), y=7) == kind(1, 7)
    assert list(inspect.signature(kind).parameters) == ["x", "y", "tags", "secret"]
    match kind(1):
        case kind(x, y):
            assert (x, y) == (1, 2)


@both
def test_copies_are_equal_and_as_deep_as_asked(decorator: Callable[..., Any]) -> None:
    point = _point(decorator)(1, tags=["a"])
    assert copy.copy(point).tags is point.tags
    deep = copy.deepcopy(point)
    assert deep == point
    assert deep.tags is not point.tags


@both
def test_own_methods_go_before_the_decorators(decorator: Callable[..., Any]) -> None:
    class Named:
        name: str

        def __post_init__(self) -> None:
            if not self.name:
                raise ValueError("no name")

        def __repr__(self) -> str:
            return "named"

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    kind: Any = decorator(slots=True)(Named)
    assert repr(kind("a")) == "named"
    assert kind("a") == 1
    with pytest.raises(ValueError, match="no name"):
        kind("")


@both
def test_derived_value_has_the_fields_of_both(decorator: Callable[..., Any]) -> None:
    class Third(_point(decorator, kw_only=True)):  # type: ignore[misc]
        z: int = 3

    kind: Any = decorator(frozen=True, slots=True, kw_only=True)(Third)
    value = kind(x=1, z=9)
    assert (value.x, value.y, value.z) == (1, 2, 9)
    assert kind(x=1) == kind(x=1)


@both
def test_value_that_holds_itself_can_be_shown(decorator: Callable[..., Any]) -> None:
    point = _point(decorator)(1)
    point.tags.append(point)
    assert "tags=[...]" in repr(point)


def test_what_has_no_slots_is_left_to_the_standard_one() -> None:
    @values.dataclass(frozen=True, order=True)
    class Plain:
        x: int

    assert Plain(1) < Plain(2)
    assert Plain(1).__dict__ == {"x": 1}
