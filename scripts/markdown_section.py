"""Generated parts of a markdown file: what stands between <!-- NAME: begin ... --> and <!-- NAME: end -->."""

import pathlib
import re


def replace(path: pathlib.Path, name: str, text: str) -> None:
    """Puts `text` into the part `name` of the file. Raises ValueError if the file has no such part."""
    pattern = re.compile(rf"(<!-- {name}: begin[^\n]*-->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    new, count = pattern.subn(lambda match: f"{match[1]}{text}{match[2]}", path.read_text())
    if count != 1:
        raise ValueError(f"{path}: no part '<!-- {name}: begin -->' to '<!-- {name}: end -->'")
    path.write_text(new)
