"""`stepcoder judge`: a file of programs in, a file of verdicts out."""
