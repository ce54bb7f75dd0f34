"""Cells of the CSV files that people open."""

# A spreadsheet takes a cell that begins so for a formula.
FORMULA_STARTS = tuple("=+-@\t\r\n")


def plain(cell: str) -> str:
    """The cell as it is, or with a `'` in front where a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
