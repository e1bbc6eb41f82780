"""The method: where the policy starts to write, the reward of a verdict, which tokens get loss."""
