from lpss.report.grid import HTML, Footnotes, Grid, escape_latex, markdown_table


def test_latex_escapes():
    assert escape_latex(r"a_b & 5% #1 $x {y} ~^\ ±") == (
        r"a\_b \& 5\% \#1 \$x \{y\} \textasciitilde{}\textasciicircum{}\textbackslash{} $\pm$"
    )


def test_html_escapes():
    assert HTML.bold(HTML.escape("<i> & \"'")) == "<b>&lt;i&gt; &amp; &quot;&#x27;</b>"


def test_equal_footnotes_share_a_number():
    notes = Footnotes()
    assert [notes.mark(text, HTML) for text in ("a", "b", "", "a")] == [
        *("<sup>[1]</sup>", "<sup>[2]</sup>", "", "<sup>[1]</sup>")
    ]
    assert list(notes) == ["a", "b"]


def test_markdown_is_aligned():
    text = markdown_table(*Grid(["Name", "n"], 1, [["a", "1"], ["longer", "20"]], "How to read it.", ["a note"]))
    assert text.splitlines() == [
        "| Name   |   n |",
        "| ------ | --: |",
        "| a      |   1 |",
        "| longer |  20 |",
        "",
        "How to read it.",
        "",
        "- [1] a note",
    ]
