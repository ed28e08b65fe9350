"""What is said of an application that cannot be loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

import pytest

from memsched import Settings
from memsched.errors import HandlerNotLoaded
from memsched.process import load_app


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\nKEY = os.environ['NO_SUCH_KEY']\n", ".py, line 2: KeyError: 'NO_SUCH_KEY'."),
        ("handlers = {'A': print\n", ".py, line 1: SyntaxError: '{' was never closed."),
        ("import json\n\njson.loads('')\n", ".py, line 3: JSONDecodeError: Expecting value: line 1 column 1 (char 0)."),
        ("import sys\nsys.exit('no licence')\n", ".py, line 2: SystemExit: no licence."),
        ("import no_such_module\n", ".py, line 1: ModuleNotFoundError: No module named 'no_such_module'."),
        ("raise ValueError('two\\nlines')\n", ".py, line 1: ValueError: two lines."),
        ("", "has no attribute 'handlers'."),
        ("handlers = 5\n", "is a int, not a dictionary of handlers or a scheduler."),
        ("handlers = {}\n", "has no handlers."),
    ],
)
def test_the_file_the_line_and_the_error_are_named(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"app_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")

    with pytest.raises(HandlerNotLoaded) as caught:
        load_app(Settings(app=f"{name}:handlers", memory=False))

    line = str(caught.value)
    assert line.startswith(f"The handlers to run cannot be loaded. MEMSCHED_APP={name}:handlers")
    assert line.endswith(said)
    assert "\n" not in line


def test_a_module_that_is_missing_is_named() -> None:
    with pytest.raises(HandlerNotLoaded, match="MEMSCHED_APP=no_such_app:x: No module named 'no_such_app'"):
        load_app(Settings(app="no_such_app:x"))
