"""The same error, whoever it happened to: a message without what differs from one file or record to the next.

Values in quotes become `…`, names of files `<file>`, ids and digests `<id>`, paths `<path>`, numbers `#`. What stands
in back-quotes stays, but for its numbers: those are names of types and places in a record. Pure functions, in time
that grows with the length of a message, whatever a producer wrote into it.
"""

from __future__ import annotations

import re

from metadata.files.suffixes_and_codecs import SUFFIXES

LONGEST = 240
"""Characters of a fingerprint's message; what follows is not looked at."""

_WHERE = re.compile(
    rf"""(?:reading|decoding)[ ](?!the[ ]name).{{1,300}}?{SUFFIXES}:[ ]
      | record[ ][0-9]+(?:,[ ]field[ ]"[^"]*"(?:[ ]\(JSON[ ]key[ ]"[^"]*"\))?)?:[ ]""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_VARYING = re.compile(
    rf"""
      (?P<term>  \b (?: RFC[ ]?\d+ | ISO[ ]?8601 | UTF-?\d+ | SHA-?\d+ | base64 | (?:u?int|float)\d+ ) \b )
    | (?P<value> (?<![\w\\]) (?: '(?:[^'\\]|\\.)*'(?!\w) | "(?:[^"\\]|\\.)*" ) )
    | (?P<file>  (?<![^\s'"`]) [^\s'"`]+{SUFFIXES}(?!\w) )
    | (?P<id>    (?<![0-9A-Za-z])
                 (?: [0-9a-fA-F]{{8}}(?:-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}} | [0-9a-fA-F]{{32,}} )
                 (?![0-9A-Za-z]) )
    | (?P<path>  (?<![\w.)>/]) (?: /[^\s/:;,'"`]+ ){{2,}} /? )
    | (?P<number> [-+]?\d+ (?: [.,:]\d+ )* (?: [eE][-+]?\d+ )? )
    """,
    re.VERBOSE,
)
_STANDS_FOR = {"value": "…", "file": "<file>", "id": "<id>", "path": "<path>", "number": "#"}
_BLANK = re.compile(r"\s+")


def normalised(message: str | None) -> str:
    """What a message has in common with those of the same error; the place it begins with is left out."""
    text = without_place((message or "")[: 4 * LONGEST])
    text = _VARYING.sub(lambda found: _STANDS_FOR.get(found.lastgroup or "", found[0]), text)
    return _BLANK.sub(" ", text).strip()[:LONGEST]


def without_place(message: str) -> str:
    """A message without the file, or the record and field, that it begins with."""
    place = _WHERE.match(message)
    return message if place is None else message[place.end() :]
