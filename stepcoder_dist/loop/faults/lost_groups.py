"""A group that lost a sample for good: it is dropped whole, and another group takes its place.

A lost sample is sampled again with another seed, and completes its group. That ends after
`sandbox.group_losses` lost samples of the group, or when its problem is quarantined. No rule then
compares those that are left with each other: all of them are rejected as `group_lost`.
"""

from __future__ import annotations

import logging

from stepcoder_dist.loop.lost_samples import LostSamples
from stepcoder_dist.loop.run import Run
from stepcoder_dist.records import Ticket

logger = logging.getLogger(__name__)

WHY = "group_lost"


def replaced(run: Run, lost: LostSamples, ticket: Ticket) -> list[list[Ticket]]:
    """Drop the group of a lost sample, and all others under way of a problem that is quarantined.

    Return the groups in their place, of another problem where there is one; the book has them.
    """
    book, problem_id = run.book, ticket.problem_id
    groups = {ticket.group}
    if problem_id in lost.quarantined:
        groups.update(book.started_groups(problem_id))
    without = lost.quarantined | {problem_id}
    if len(without) >= len(run.planner.problem_ids):
        without = lost.quarantined
    others = []
    for group in sorted(groups):
        gone = book.drop_group(group, WHY)
        if group == ticket.group:
            gone.append(ticket)
        logger.warning(
            "the group %s of problem %s is dropped with %d samples: it cannot be completed",
            group,
            problem_id,
            len(gone),
        )
        gone.sort(key=lambda each: each.sample_id)
        others.append([run.planner.replace(each, without=without) for each in gone])
    for tickets in others:
        for each in tickets:
            book.add(each)
    return [tickets for tickets in others if tickets]
