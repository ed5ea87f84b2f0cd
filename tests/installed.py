"""Use the installed package as README says; `nox -s package` runs it in a fresh environment.

python -I installed.py README.md
"""

import re
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

MESSAGE = """\
Traceback (most recent call last):
  File "train.py", line 12, in <module>
    loss.backward()
RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn
"""
FILES = (
    *("__init__.pyi", "py.typed", "understand/catalogue.toml"),
    *("see/display/player.css", "see/display/player.js", "see/display/modules.js"),
)


def use(readme: Path) -> None:
    """Find the files, run README's block, explain a message in a shell."""
    package = resources.files("gradbook")
    assert "site-packages" in str(package), f"not the installed package: {package}"
    missing = [name for name in FILES if not package.joinpath(name).is_file()]
    assert not missing, f"not in the wheel: {', '.join(missing)}"

    (block,) = re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert "AddBackward0" in str(names["graph"](names["loss"]))  # type: ignore[operator]
    assert "non-leaf" in str(names["explain"](names["y"]))  # type: ignore[operator]

    done = subprocess.run(
        [sys.executable, "-I", "-m", "gradbook"],
        input=MESSAGE,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "no-graph" in done.stdout, done.stdout
    print(f"gradbook {metadata.version('gradbook')} works as README says")


if __name__ == "__main__":
    use(Path(sys.argv[1]))
