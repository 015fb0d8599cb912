"""Read YAML in which each key of a mapping stands once: PyYAML would let the last one win, unsaid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator


class DuplicateKeyError(ValueError):
    """A key stands twice in one mapping; the text names it and both lines."""


def read(text: str) -> Any:
    """Give the value of the one document in *text*; ``None`` where there is none.

    Raises:
        DuplicateKeyError: see there.
        yaml.YAMLError, ValueError, RecursionError: *text* is not YAML of plain values.

    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if problem := next(_duplicates(node, (), set()), None):
            raise DuplicateKeyError(problem)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _duplicates(node: yaml.Node, at: tuple[str, ...], seen: set[int]) -> Iterator[str]:
    """Each key that its mapping has already; *seen* keeps aliases from being walked again."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _duplicates(item, (*at[:-1], f"{at[-1] if at else ''}[{number}]"), seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            path = (*at, str(key.value))
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines:
                yield f"{'.'.join(path)}: stands twice, in lines {lines[name]} and {line}; keep one"
            lines[name] = line
            yield from _duplicates(value, path, seen)
