import subprocess
import sys

import pytest

from lpss.cli.theory import main


def cells(text):
    """The table's rows as lists of cells, header first."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_a_table_of_expected_hoyer_sparsity(capsys):
    assert main("--d 288 --p 1.07 1.2 --alpha 1.5".split()) == 0
    out, err = capsys.readouterr()
    assert cells(out) == [
        ["Fan-in", "p", "Inputs", "E[Hoyer]"],
        ["288", "1.07", "eq (30), alpha 1.5", ".6563"],
        ["288", "1.07", "Gaussian", ".9582"],
        ["288", "1.2", "eq (30), alpha 1.5", ".4500"],
        ["288", "1.2", "Gaussian", ".7959"],
    ]
    assert err == "" and "w = x^[1/(p-1)]" in out and "Dropped" not in out


def test_natural_sparsity_and_the_p_that_reaches_one(capsys):
    assert main("--d 9 288 --p 1.2 --zeta-w 0.2 --sparsity 0.9".split()) == 0
    header, small, large = cells(capsys.readouterr().out)
    assert header[-3:] == ["Dropped once", "Dropped", "p for 0.9"]
    assert small[-1] == "none"  # of nine weights one stays
    assert [float(cell) for cell in large[-3:]] == pytest.approx([0.703, 0.874, 1.183], abs=0.003)


@pytest.mark.parametrize(
    "arguments, named",
    [
        ("--d 1 --p 1.2", "d must"),
        ("--d 9 --p 1", "p must"),
        ("--d 9 --p nan", "p must"),
        ("--d 9 --p 1.2 --alpha -1", "alpha must"),
        ("--d 9 --p 1.2 --zeta-w 2", "zeta_w must"),
        ("--d 9 --p 1.2 --sparsity 0.5", "--sparsity needs --zeta-w"),
        ("--d 9 --p 1.2 --zeta-w 0.2 --sparsity 1", "sparsity must"),
    ],
)
def test_a_wrong_value_is_one_line_and_code_2(arguments, named, capsys):
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("lpss-theory: ") and named in err and err.count("\n") == 1


def test_it_needs_no_torch():
    code = (
        "import sys; from lpss.cli.theory import main; main('--d 9 --p 1.2 --zeta-w 0.2'.split()); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
