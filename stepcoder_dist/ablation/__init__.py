"""`stepcoder ablate`: measure arms x seeds under settings, and compare them (docs/ablation.md).

    plan ─► cells ─► result files ─► statistics ─► page
    TOML    (setting, one JSON        intervals,    Markdown and
            arm, seed) each, kept     paired tests  SVG figures

Nothing here starts a process: `launch/ablate.py` measures the cells.
"""
