"""Test augmentation: more inputs of the shapes seen, kept where they notice a wrong program.

learning, shapes, texts, sequences, invariants
                                        what inputs look like, and more that look so
input_format, format_search             the same for standard input
candidates                              new inputs of a problem
agreement, expected_values              what is right, by all accepted solutions
mutants                                 small wrong changes of the reference
selection                               which tests are worth keeping
augmenting                              the whole, for one problem, over the Executor port
scores                                  what the tests of a set notice, before and after
"""

from stepcoder_dist.data.augment.augmenting import Augmented, Budget, augment

__all__ = ["Augmented", "Budget", "augment"]
