"""A tree in exactly IAM's layout, with the traps of the real one, made of the project's sample lines.

| form | writer | rwth | official | what is odd about it |
|---|---|---|---|---|
| a01-000u | 000 | train | train | one line is `err`; one transcript has a space inside a word ("B B C") |
| a01-000x | 001 | train | valid | struck-out words; an image is missing, another is broken |
| b02-045 | 002 | train | - | quotation marks and `&`, escaped once and twice in turn |
| c03-000a | 000 | valid | test | a writer of the training forms; an image of 0 bytes |
| d04-008 | 003 | test | train | the official split trains on it; all lines are `err` |
| e04-083 | 004 | test | test | a line is only struck out |
| g06-011 | 005 | - | - | in no list |
"""

from __future__ import annotations

import random
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

SAMPLES = Path(__file__).parents[1] / "samples/lines/train"
FORMS = {
    "a01-000u": "000",
    "a01-000x": "001",
    "b02-045": "002",
    "c03-000a": "000",
    "d04-008": "003",
    "e04-083": "004",
    "g06-011": "005",
}
RWTH = {"train": ["a01-000u", "a01-000x", "b02-045"], "valid": ["c03-000a"], "test": ["d04-008", "e04-083"]}
OFFICIAL = {"train": ["a01-000u", "d04-008"], "valid": ["a01-000x"], "test": ["c03-000a", "e04-083"]}
LINES = 6  # of each form
MISSING, BROKEN, EMPTY, ONLY_STRUCK = "a01-000x-02", "a01-000x-04", "c03-000a-01", "e04-083-03"

HEADER = """#--- lines.txt ---------------------------------------------------------------#
#
# iam database line information
#
# format: a01-000u-00 ok 154 19 408 746 1661 89 A|MOVE|to|stop|Mr.|Gaitskell|from
#
"""


@dataclass
class IamTree:
    """The folder, and what is true of it: words as IAM separates them, and the segmentation mark, by line."""

    folder: Path
    words: dict[str, list[str]] = field(default_factory=dict)
    segmentation: dict[str, str] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)

    def ascii_text(self, line: str) -> str:
        return " ".join(self.words[line])

    def xml_text(self, line: str) -> str:
        """Punctuation stands at the word before it."""
        return re.sub(r" (?=[.,;:!?](?: |$))", "", self.ascii_text(line))

    def lines_of(self, forms: list[str]) -> list[str]:
        """All lines of some forms that have an image to read."""
        bad = {MISSING, BROKEN, EMPTY}
        return sorted(line for line in self.words if line.rpartition("-")[0] in forms and line not in bad)

    def lists(self, split: dict[str, list[str]], by_line: bool = False) -> dict[str, Path]:
        """Write the lists of a split, of forms or of lines."""
        paths = {}
        for name, forms in split.items():
            path = self.folder.parent / f"{'lines' if by_line else 'forms'}-{name}.txt"
            rows = [line for line in sorted(self.words) if line.rpartition("-")[0] in forms] if by_line else forms
            path.write_text("# a comment\r\n" + "".join(f"{row} \r\n" for row in rows), newline="")
            paths[name] = path
        return paths


def build_iam_tree(folder: Path, seed: int = 0, lines: int = LINES) -> IamTree:
    """Write the tree below `folder`; every line shows what its transcript says, but for the traps' own words."""
    tree = IamTree(folder)
    generator = random.Random(seed)
    texts = sorted(SAMPLES.rglob("*.gt.txt"))
    generator.shuffle(texts)
    for form in FORMS:
        for number in range(lines):
            source = texts.pop()
            _add_line(tree, form, number, source, source.with_name(source.name.replace(".gt.txt", ".png")))
    _write_ascii(tree, generator)
    _write_xml(tree)
    return tree


def _add_line(tree: IamTree, form: str, number: int, text: Path, image: Path) -> None:
    line = f"{form}-{number:02d}"
    transcript = re.sub(
        r"([.,;:!?])(?=\s|$)", r" \1", text.read_text(encoding="utf-8").replace("|", "").replace("#", "")
    )
    words = transcript.split()
    if line == "a01-000u-01":
        words.insert(1, "B B C")
    if line in ("a01-000x-00", "a01-000x-01"):
        words[1:1] = ["#"] * (number + 1)
    if form == "b02-045":
        words[0:0] = ['"', "R", "&", "D", '"']
    if line == ONLY_STRUCK:
        words = ["#"]
    tree.words[line] = words
    tree.segmentation[line] = "err" if form == "d04-008" or line == "a01-000u-02" else "ok"
    target = tree.folder / "lines" / form.partition("-")[0] / form / f"{line}.png"
    tree.images[line] = target
    target.parent.mkdir(parents=True, exist_ok=True)
    if line == BROKEN:
        target.write_bytes(image.read_bytes()[:20])
    elif line == EMPTY:
        target.touch()
    elif line != MISSING:
        shutil.copyfile(image, target)


def _write_ascii(tree: IamTree, generator: random.Random) -> None:
    folder = tree.folder / "ascii"
    folder.mkdir()
    rows = [
        f"{line} {tree.segmentation[line]} {generator.randrange(120, 200)} {generator.randrange(9, 40)}"
        f" {generator.randrange(400)} -1 1661 89 {'|'.join(words)}\n"
        for line, words in tree.words.items()
    ]
    (folder / "lines.txt").write_text(HEADER + "".join(rows), encoding="utf-8")
    forms = [f"{form} {writer} 2 prt 7 5 52 36\n" for form, writer in FORMS.items()]
    (folder / "forms.txt").write_text("#\n# format: a01-000u 000 2 prt 7 5 52 36\n#\n" + "".join(forms))


def _write_xml(tree: IamTree) -> None:
    folder = tree.folder / "xml"
    folder.mkdir()
    for form, writer in FORMS.items():
        rows = []
        for line in sorted(line for line in tree.words if line.rpartition("-")[0] == form):
            text = escape(tree.xml_text(line), {'"': "&quot;"})
            if int(line[-2:]) % 2:
                text = text.replace("&", "&amp;")
            rows.append(f'<line id="{line}" segmentation="{tree.segmentation[line]}" text="{text}"><word/></line>\n')
        (folder / f"{form}.xml").write_text(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE form SYSTEM "form-metadata.dtd">\n'
            f'<form id="{form}" writer-id="{writer}" version="2.0">\n<machine-printed-part>'
            f'<machine-print-line text="not a line"/></machine-printed-part>\n<handwritten-part>\n{"".join(rows)}'
            "</handwritten-part></form>\n",
            encoding="utf-8",
        )
