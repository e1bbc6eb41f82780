"""A run is watched and resized from outside: `stepcoder status`, `stepcoder scale`.

question.py   what travels, and under which name a run is found
channel.py    the named actor between a run and those who ask it, and the run's side of it
asking.py     the other side: find a run in a cluster, ask it
answers.py    what a run answers: its status, and the resize of a pool
autoscaler.py the resize of a pool without being asked
commands.py   what the two commands print
"""
