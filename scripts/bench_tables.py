"""What the sections of outputs/bench/README.md share: where numbers come from, spans and tables."""


def about(data: dict, file: str, command: str) -> str:
    """Where the numbers come from."""
    versions, threads = data["versions"], data.get("threads")
    commit, dash, dirty = data["commit"].partition("-")
    machine = f"{data['device']}, {data['cores']} CPU cores" + (f", {threads} threads" if threads else "")
    software = f"torch {versions['torch']}, Python {versions['python']}, numpy {versions['numpy']}"
    return f"""[{file}]({file}): {machine};
{software}; commit {commit[:7]}{dash}{dirty}. To measure again:

    {command}"""


def span(values: list[float], places: int) -> str:
    """The smallest and the largest, "1.1 to 6.7"."""
    return f"{min(values):.{places}f} to {max(values):.{places}f}"


def table(head: list[str], lines: list[list[str]], left: int = 1) -> str:
    """A markdown table whose first `left` columns are text, the others numbers."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))
