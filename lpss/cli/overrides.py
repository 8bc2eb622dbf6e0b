"""lpss-train's words before Hydra reads them: what its grammar and argparse refuse, and `--force`."""

import os
import re
from collections.abc import Sequence

# Hydra's options that take the next word.
WITH_VALUE = {"--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--package", "-p"}
WITH_VALUE |= {"--cfg", "-c", "--info", "-i", "--experimental-rerun"}
# A quoted text, or the longest text without the characters that separate values, lists and functions.
PIECE = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:\$\{[^}]*\}|[^,\[\]()'"])+""")
LEXABLE = re.compile(r"[A-Za-z0-9_\s/\\+.$%*@?|:={}-]*")


def hydra_arguments(argv: Sequence[str]) -> list[str]:
    """The command line for Hydra: overrides first (argparse takes them on one side of -m only), then its options.

    `--force` becomes the override rerun=always.
    """
    overrides, options = [], []
    for i, word in enumerate(argv):
        if word == "--force":
            overrides.append("rerun=always")
        elif word.startswith("-") or (i and argv[i - 1] in WITH_VALUE and "=" not in word):
            options.append(word)
        else:
            overrides.append(readable(word))
    return overrides + options


def readable(override: str) -> str:
    """The override as Hydra's grammar can read it: texts with characters it does not know (~, é, &) are quoted.

    A leading ~ of `output` is the home folder: the shell expands it in KEY=~/x only where zsh is told to.
    """
    key, equals, value = override.partition("=")
    if not equals or "{" in re.sub(r"\$\{[^}]*\}", "", value):  # a mapping's texts end at : and }, too
        return override
    is_path = key.lstrip("+") == "output"
    return f"{key}={PIECE.sub(lambda match: _readable_text(match[0], is_path), value)}"


def _readable_text(text: str, is_path: bool) -> str:
    quoted = text[0] in "'\"" and len(text) > 1
    bare = text[1:-1] if quoted else text.strip()
    if is_path and bare.startswith("~"):
        bare = os.path.expanduser(bare)
    elif quoted or LEXABLE.fullmatch(bare):
        return text
    # Backslashes before the closing quote would escape it.
    bare = re.sub(r"\\+$", lambda match: match[0] * 2, bare)
    return f'"{bare}"' if "'" in bare else f"'{bare}'"
