"""How the parsers of definitions and configs collect what is wrong: every helper adds its faults to one list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeGuard, TypeVar

_Choice = TypeVar("_Choice", bound=StrEnum)


def name_list(raw: object, names: Iterable[object], label: str, faults: list[str]) -> tuple[str, ...]:
    """The names that exist; what else stands in the list becomes faults."""
    if raw is None:
        raw = []
    if not isinstance(raw, list | tuple) or not all(isinstance(name, str) for name in raw):
        faults.append(f"{label} must be a list of field names, not {show(raw)}")
        return ()
    known = list(names)
    for name in raw:
        if name not in known:
            faults.append(f'{label}: there is no field "{name}"; known are {", ".join(map(str, known))}')
    unique(((name, name) for name in raw), f"{label}: field", faults)
    return tuple(dict.fromkeys(name for name in raw if name in known))


def unique(pairs: Iterable[tuple[str, str]], what: str, faults: list[str]) -> None:
    """Add a fault for each key that comes again; the second of a pair is whose key it is."""
    seen: dict[str, str] = {}
    for key, owner in pairs:
        if key in seen:
            owners = "" if key == owner == seen[key] else f' (of "{seen[key]}" and "{owner}")'
            faults.append(f'{what} "{key}" stands there twice{owners}')
        seen.setdefault(key, owner)


def one_of(raw: Mapping[Any, Any], key: str, default: _Choice, faults: list[str]) -> _Choice:
    """The member that the key names, the default when it is left out; else a fault and the default."""
    kind, value = type(default), raw.get(key)
    if value is None:
        return default
    if isinstance(value, str) and value in set(kind):
        return kind(value)
    faults.append(f"{key} must be one of {', '.join(kind)}, not {show(value)}")
    return default


def unknown_keys(raw: Mapping[Any, Any], known: tuple[str, ...], where: str, faults: list[str]) -> None:
    """Add a fault for each key that is not known."""
    for key in raw:
        if key not in known:
            faults.append(f'{where}: unknown key "{key}"; known are {", ".join(known)}')


def flag(raw: Mapping[str, Any], key: str, where: str, faults: list[str]) -> bool:
    """The flag, false when it is left out; a fault when it is neither true nor false."""
    value = raw.get(key, False)
    if not isinstance(value, bool):
        faults.append(f'{where}: "{key}" must be true or false, not {show(value)}')
    return value is True


def is_int(value: object) -> TypeGuard[int]:
    """Whether this is a whole number; JSON's true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def show_type(type_: str | dict[str, Any] | None) -> str:
    """A field's type in a message: a nested one by its kind."""
    return f"a {type_['type']}" if isinstance(type_, dict) else f"{type_}"


def show(value: object) -> str:
    """A hostile value in a message: short, on one line."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 80 else f"{text[:77]}…"
