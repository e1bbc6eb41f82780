"""Test augmentation: more inputs like those seen, kept where they notice a wrong program.

learning, shapes, texts, sequences, invariants
                                        the shape of the inputs, and more of that shape
input_format, format_search             the same for standard input
candidates                              new inputs of a problem
agreement, expected_values              the right answer, by all accepted solutions
mutants                                 small wrong changes of the reference
selection                               which tests are worth keeping
augmenting                              all of it, for one problem, over the Sandbox port
scores                                  what the tests of a set notice, before and after
"""

from stepcoder_dist.data.augment.augmenting import Augmented, Budget, augment

__all__ = ["Augmented", "Budget", "augment"]
