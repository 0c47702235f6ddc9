"""`dataclass` as the standard library's, for classes with slots, at a fourteenth of what it costs to define one.

Up to Python 3.12 the standard one compiles six functions for each class from text, every time that the program starts: 0.5 to 0.9 ms, of
which there were 200. Here all classes share what compares, hashes and shows, and `__init__` is compiled for those that are ever made.
`fields`, `replace` and `asdict` work as with the standard one, and type checkers take it for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    import dataclasses
    from collections.abc import Callable
    from functools import cache
    from operator import attrgetter
    from reprlib import recursive_repr
    from typing import Any

    _MISSING = dataclasses.MISSING

    def dataclass(*, frozen: bool = False, slots: bool = False, order: bool = False, eq: bool = True, kw_only: bool = False) -> Callable:
        """The decorator. What has no slots or is ordered is left to the standard one."""
        if order or not slots:
            return dataclasses.dataclass(frozen=frozen, slots=slots, order=order, eq=eq, kw_only=kw_only)

        def decorate(given: type) -> type:
            methods = {"__repr__": _repr}
            if eq:
                methods["__eq__"] = _eq
                methods["__hash__"] = _hash if frozen else None
            own = given.__dict__
            if not given.__doc__:
                given.__doc__ = given.__name__  # else the standard one works out a signature, for 5 ms
            for name, method in methods.items():
                # Python itself puts a `__hash__` of None beside an `__eq__` of the class's own.
                if name not in own:
                    setattr(given, name, method)
            if frozen:
                given.__setattr__ = _refuse_set
                given.__delattr__ = _refuse_delete
                given.__getstate__ = _get_state
                given.__setstate__ = _set_state
            made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(given)
            made.__init__ = _Init(made)
            return made

        return decorate

    class _Init:
        """Stands as `__init__` of a class until that is first asked for."""

        __slots__ = ("_owner",)

        def __init__(self, owner: type) -> None:
            self._owner = owner

        def __get__(self, instance: object, owner: type | None = None) -> Callable[..., None]:
            init = _compiled_init(self._owner)
            self._owner.__init__ = init
            return init.__get__(instance, owner)

    def _compiled_init(owner: type) -> Callable[..., None]:
        names: dict[str, Any] = {"_missing": _MISSING}
        positional, keywords, body = [], [], []
        for field in dataclasses.fields(owner):
            name, value = field.name, field.name
            parameter = name
            names[f"_set_{name}"] = getattr(owner, name).__set__  # the slot's own: `__setattr__` may refuse
            if field.default_factory is not _MISSING:
                names[f"_make_{name}"] = field.default_factory
                parameter = f"{name}=_missing"
                value = f"_make_{name}() if {name} is _missing else {name}" if field.init else f"_make_{name}()"
            elif field.default is not _MISSING:
                names[f"_default_{name}"] = field.default
                parameter = f"{name}=_default_{name}"
                value = name if field.init else f"_default_{name}"
            elif not field.init:
                continue
            if field.init:
                (keywords if field.kw_only else positional).append(parameter)
            body.append(f" _set_{name}(self, {value})")
        if hasattr(owner, "__post_init__"):
            body.append(" self.__post_init__()")
        parameters = ", ".join(["self", *positional, *(["*", *keywords] if keywords else [])])
        exec("\n".join([f"def __init__({parameters}):", *body, " pass"]), names)
        init = names["__init__"]
        init.__qualname__ = f"{owner.__qualname__}.__init__"
        init.__module__ = owner.__module__
        init.__annotations__ = {field.name: field.type for field in dataclasses.fields(owner) if field.init} | {"return": None}
        return init

    @cache
    def _compared(owner: type) -> Callable[[object], object]:
        """What of a value counts when it is compared."""
        names = [field.name for field in dataclasses.fields(owner) if field.compare]
        return attrgetter(*names) if names else lambda _: ()

    def _eq(self: object, other: object) -> bool:
        owner = self.__class__
        if other.__class__ is not owner:
            return NotImplemented
        read = _compared(owner)
        return read(self) == read(other)

    def _hash(self: object) -> int:
        return hash(_compared(self.__class__)(self))

    @recursive_repr()
    def _repr(self: object) -> str:
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
        return f"{self.__class__.__qualname__}({shown})"

    def _refuse_set(self: object, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_delete(self: object, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def _get_state(self: object) -> list[Any]:
        """For copies, which Python would make by setting attributes."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def _set_state(self: object, state: list[Any]) -> None:
        for field, value in zip(dataclasses.fields(self), state, strict=True):
            object.__setattr__(self, field.name, value)
