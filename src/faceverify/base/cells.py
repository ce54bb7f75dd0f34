"""Cells of the CSV files that people open."""

from faceverify.base.files import FORMULA_STARTS


def plain(cell: str) -> str:
    """The cell as one that a spreadsheet shows as it is, and takes for one cell.

    With a `'` in front where it would be taken for a formula. A carriage return, which Python's
    csv does not quote and which would begin a new row, becomes `\\r`.
    """
    cell = f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
    return cell.replace("\r", "\\r")
