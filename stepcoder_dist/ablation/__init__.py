"""`stepcoder ablate`: arms x seeds under settings, and what they say (docs/ablation.md).

    plan ─► cells ─► result files ─► statistics ─► page
    TOML    (setting, one JSON        intervals,    Markdown and
            arm, seed) each, kept     paired tests  SVG figures

Nothing here starts a process: `launch/ablate.py` measures the cells.
"""
