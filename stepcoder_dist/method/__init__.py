"""The paper: where the policy starts to write, what a verdict is worth, which tokens carry loss."""
