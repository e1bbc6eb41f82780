"""The parts of the book of samples, which `loop/sample_book.py` joins and owns.

lines.py       a line for each sample without a fate, and the transitions that it may make
groups.py      when a group is trained entirely
next_batch.py  which buffered samples the next step takes
refill.py      how flat groups are replaced until a step is full
saved.py       what a checkpoint holds of all this
"""
