"""`UnitTestReward` in the call shapes of TRL, verl and verifiers, over real sandboxes."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
from commands import REPOSITORY

from sandbox.drop_in import UnitTestReward
from stepcoder_dist.errors import MissingEngine, ProblemError, SandboxFault, UserError
from stepcoder_dist.records import Problem, TestSuite

DOUBLES = Problem(
    problem_id="t/double",
    statement="Read n, print 2n.",
    reference="print(2 * int(input()))",
    level="introductory",
    tests=TestSuite(inputs=("1\n", "2\n"), outputs=("2\n", "4\n")),
)
ADDS = Problem(
    problem_id="t/add",
    statement="Write add(a, b).",
    reference="def add(a, b):\n    return a + b\n",
    level="introductory",
    tests=TestSuite(inputs=([1, 2],), outputs=(3,), fn_name="add"),
)
RIGHT = "Here it is:\n```python\nprint(2 * int(input()))\n```\n"
HALF = "```python\nprint(2)\n```"
RAISES = "```python\nprint(2 / 0)\n```"
BROKEN = "```python\nprint((\n```"
ADD = "```python\ndef add(a, b):\n    return a + b\n```"


@pytest.fixture(
    scope="module", params=[pytest.param("docker", marks=pytest.mark.docker), "process"]
)
def reward(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = UnitTestReward([DOUBLES, ADDS], backend=request.param, containers=2)
        except MissingEngine as error:
            pytest.skip(str(error))
        with made:
            yield made


def of_kind(reward: UnitTestReward, kind: str) -> UnitTestReward:
    """The same started sandbox behind another kind of reward."""
    other = UnitTestReward.__new__(UnitTestReward)
    other.__dict__ = reward.__dict__ | {"_kind": kind}
    return other


def test_trl_passes_texts_and_the_data_sets_columns(reward):
    rewards = reward(
        prompts=["p"] * 5,
        completions=[RIGHT, HALF, RAISES, BROKEN, ADD],
        completion_ids=[[1]] * 5,
        problem_id=["t/double"] * 4 + ["t/add"],
        trainer_state=None,
        log_metric=print,
    )
    assert rewards == [1.0, -0.3, -0.6, -1.0, 1.0]
    assert not inspect.iscoroutinefunction(reward)
    assert reward.__name__ == "unit_tests"


def test_trl_passes_messages_in_conversational_sets(reward):
    prompt = [{"role": "user", "content": "Double it."}]
    spoken = [{"role": "assistant", "content": RIGHT}]
    tool = [*spoken, {"role": "tool", "content": "ran"}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": HALF}]}]
    rewards = reward(
        prompts=[prompt] * 3, completions=[spoken, tool, parts], problem_id=["t/double"] * 3
    )
    assert rewards == [1.0, 1.0, -0.3]


def test_a_completion_behind_an_open_fence_is_code_from_its_first_character(reward):
    prompts = ["Double it.\n```python\n", [{"role": "assistant", "content": "```python\n"}]]
    code = "print(2 * int(input()))\n```\nIt doubles.\n```python\nraise\n```"
    assert reward(prompts=prompts, completions=[code] * 2, problem_id=["t/double"] * 2) == [1, 1]


def test_the_pass_share_and_our_pass_ratio(reward):
    call = {"prompts": [""] * 2, "completions": [HALF, BROKEN], "problem_id": ["t/double"] * 2}
    assert of_kind(reward, "pass_share")(**call) == [0.5, 0.0]
    assert of_kind(reward, "pass_ratio")(**call) == pytest.approx([0.35, -1.0])
    assert of_kind(reward, "binary")(**call) == [0.0, 0.0]


def test_verl_passes_one_answer_or_a_batch(reward):
    call = {"data_source": "mine", "solution_str": RIGHT, "ground_truth": "t/double"}
    assert reward.verl(**call) == 1.0
    extra = {"problem_id": "t/add", "num_turns": 1, "rollout_reward_scores": {}}
    call |= {"solution_str": ADD, "ground_truth": None}
    assert reward.verl(**call, extra_info=extra, reward_model_tokenizer=None) == 1.0
    assert reward.verl_batch(
        data_sources=["mine"] * 2,
        solution_strs=[RIGHT, ADD],
        ground_truths=["t/double", "?"],
        extra_infos=[{}, extra],
    ) == [1.0, 1.0]


def test_verifiers_awaits_a_function_of_a_rubric(reward):
    async def rollouts() -> list[float]:
        message = SimpleNamespace(role="assistant", content=ADD)
        named = {"prompt": [], "state": {}, "task": "", "parser": None}
        return await asyncio.gather(
            reward.verifiers(completion=[message], answer="t/add", info={}, **named),
            reward.verifiers(completion=RAISES, info={"problem_id": "t/double"}, **named),
            reward.score("t/double", HALF),
        )

    assert inspect.iscoroutinefunction(reward.verifiers)
    assert asyncio.run(rollouts()) == [1.0, -0.6, -0.3]


def test_bad_calls_are_refused_in_one_line(reward):
    with pytest.raises(UserError, match=r"no problem 'x' among the 2 .*'t/double'"):
        reward(prompts=[""], completions=[RIGHT], problem_id=["x"])
    with pytest.raises(UserError, match=r"has no column 'problem_id' \(answer seen\)"):
        reward(prompts=[""], completions=[RIGHT], answer=["x"])
    with pytest.raises(UserError, match="a completion is a int"):
        reward(prompts=[""], completions=[3], problem_id=["t/add"])


def test_bad_problems_and_backends_are_refused_at_once():
    empty = Problem(
        problem_id="t/none",
        statement="",
        reference="",
        level="",
        tests=TestSuite(inputs=(), outputs=()),
    )
    with pytest.raises(ProblemError, match='problem "t/none": it has no tests'):
        UnitTestReward([empty], backend="process")
    with pytest.raises(ProblemError, match="there are no problems"):
        UnitTestReward([], backend="process")
    with pytest.raises(UserError, match="no kind of reward"):
        UnitTestReward([ADDS], kind="best", backend="process")  # type: ignore[arg-type]
    with pytest.raises(MissingEngine, match="no-such-image"):
        UnitTestReward([ADDS], backend="docker", image="no-such-image:1")


@pytest.mark.filterwarnings("ignore")
def test_a_closed_sandbox_is_a_fault_and_a_fault_may_have_a_reward():
    call = {"prompts": [""], "completions": [ADD], "problem_id": ["t/add"]}
    with UnitTestReward([ADDS], backend="process", containers=1) as made:
        copy = pickle.loads(pickle.dumps(made))
        assert made(**call) == [1.0]
    with pytest.raises(SandboxFault, match="closed"):
        made(**call)
    with copy:
        assert copy(**call) == [1.0]


def test_a_process_that_never_closes_it_ends_cleanly_and_needs_no_torch_and_no_ray():
    script = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from sandbox.drop_in import UnitTestReward\n"
        "from stepcoder_dist import problems\n"
        "some = problems.load('ladder:train?count=2')\n"
        "made = UnitTestReward(some, backend='process', containers=1)\n"
        "print(made.verl('', some[0].reference, some[0].problem_id))\n"
        "print(sorted({'ray', 'torch', 'transformers', 'aiohttp'} & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPOSITORY,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1.0\n[]\n", "")
