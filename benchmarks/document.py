"""Where a run's figures stand in the documentation: between two marks, those of some groups in a place of their own.

<!-- figures: begin --> … <!-- figures: end -->              every other group, written by a whole run alone
<!-- figures of wire: begin --> … <!-- figures of wire: end -->
"""

from __future__ import annotations

from benchmarks.report import Report


def with_figures(text: str, report: Report, *, whole: bool) -> tuple[str, list[str]]:
    """The document with this run's figures, and the groups that have no place in it.

    Args:
        whole: every group was asked for, so that the place of all others may be replaced.
    Raises: ValueError: the document has lost its marks.
    """
    left_out = []
    others = Report(report.machine, report.options)
    groups = dict.fromkeys(_group(row.id) for row in report.rows)
    for group in groups:
        own = Report(report.machine, report.options)
        own.rows = [row for row in report.rows if _group(row.id) == group]
        if any(row.id == f"{group}.failed" for row in own.rows):
            continue  # half a table in place of a whole one helps nobody
        if _marks(group)[0] in text:
            text = _replaced(text, group, own.as_table())
        elif whole:
            others.rows += own.rows
        else:
            left_out.append(group)
    if others.rows:
        text = _replaced(text, "", others.as_table())
    return text, left_out


def _group(row_id: str) -> str:
    return row_id.partition(".")[0]


def _marks(group: str) -> tuple[str, str]:
    name = f"figures of {group}" if group else "figures"
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def _replaced(text: str, group: str, table: str) -> str:
    begin, end = _marks(group)
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the document has lost its marks {begin.strip()} and {end.strip()}")
    return f"{before}{begin}\n{table}\n\n{end}{after}"
