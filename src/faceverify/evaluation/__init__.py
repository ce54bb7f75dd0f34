"""How well models tell people apart: pairs, metrics, fairness, plots, gallery."""
