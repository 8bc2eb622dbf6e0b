"""Train many runs at once with a progress bar, for the commands and scripts that need them."""

import sys
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from lpss.cli.compose import compose_run
from lpss.train.pool import Outcome, run_many


def train(runs: Sequence[Sequence[str]], workers: int) -> Iterator[Outcome]:
    """Train all runs (lists of overrides) and yield their outcomes; the progress bar counts the failed ones."""
    failed = 0
    with tqdm(total=len(runs), unit="run", smoothing=0.05, mininterval=1 if sys.stderr.isatty() else 30) as bar:
        for outcome in run_many(runs, workers=workers, compose=compose_run):
            if outcome.result is None:
                failed += 1
                tqdm.write(f"failed: {' '.join(outcome.overrides)}: {outcome.error}", file=sys.stderr)
            bar.set_postfix(failed=failed, refresh=False)
            bar.update()
            yield outcome
