"""A row of our own in the format of each published set."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

ADDS = "a, b = map(int, input().split())\nprint(a + b)\n"


def packed(cases: list[dict[str, str]]) -> str:
    """Write tests as LiveCodeBench writes its private ones."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def case(given: str, expected: str, kind: str = "stdin") -> dict[str, str]:
    return {"input": given, "output": expected, "testtype": kind}


TACO: dict[str, Any] = {
    "question": "Print the sum of two numbers.",
    "solutions": json.dumps(["print(", ADDS]),
    "starter_code": "",
    "input_output": json.dumps({"inputs": ["1 2\n", "5 5\n"], "outputs": ["3\n", "10\n"]}),
    "difficulty": "MEDIUM_HARD",
    "raw_tags": "[]",
    "name": None,
    "source": "here",
    "tags": "[]",
    "skill_types": "[]",
    "url": None,
    "time_limit": "2.5 seconds",
    "memory_limit": "64.0 megabytes",
}
LIVECODEBENCH: dict[str, Any] = {
    "question_title": "Sum",
    "question_content": "Print the sum of two numbers.",
    "platform": "atcoder",
    "question_id": "own1_a",
    "contest_id": "own1",
    "contest_date": "2024-08-17T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([case("1 2\n", "3\n")]),
    "private_test_cases": packed([case("5 5\n", "10\n"), case("0 0\n", "0\n")]),
    "metadata": "{}",
}
LIVECODEBENCH_CALLED: dict[str, Any] = LIVECODEBENCH | {
    "question_id": "own2",
    "starter_code": "class Solution:\n    def add(self, a: int, b: List[int]) -> int:\n        ",
    "public_test_cases": json.dumps([case("1\n[2, 3]", "6", "functional")]),
    "private_test_cases": packed([case("0\n[]", "0", "functional")]),
    "metadata": json.dumps({"func_name": "add"}),
}
CODE_CONTESTS: dict[str, Any] = {
    "name": "7_C. Sum",
    "description": "Print the sum of two numbers.",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["5 5\n"], "output": ["10\n"]},
    "generated_tests": {"input": ["0 0\n"], "output": ["0\n"]},
    "source": 2,
    "difficulty": 9,
    "solutions": {"language": [2, 1, 3], "solution": ["int main(){}", "print 1", ADDS]},
    "incorrect_solutions": {"language": [3], "solution": ["print(1)\n"]},
    "time_limit": {"seconds": 1, "nanos": 500_000_000},
    "memory_limit_bytes": 2**26,
    "input_file": "",
    "output_file": "",
}
HUMANEVAL_PLUS: dict[str, Any] = {
    "task_id": "HumanEval/900",
    "prompt": 'import math\n\n\ndef half(x: float) -> float:\n    """Return half of x."""\n',
    "entry_point": "half",
    "canonical_solution": "    return math.fsum([x / 2])\n",
    "base_input": [[1], [4.0]],
    "plus_input": [[0.1]],
    "atol": 0,
    "contract": "",
}
MBPP_PLUS: dict[str, Any] = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nWrite a function that finds the items of both tuples.\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
    "base_input": [[[1, 2, 3], [3, 2]]],
    "plus_input": [[[], [5]]],
    "atol": 0,
    "contract": "",
    "assertion": "assert set(similar_elements((1, 2, 3), (3, 2))) == {2, 3}",
}
_ON_THE_HUB = """\
import numpy as np
from math import inf

def assertion(out, exp, atol):
    assert out == exp

inputs = [[1], [4.0], [inf]]
results = [0.5, 2.0, inf]
"""
HUMANEVAL_PLUS_ON_THE_HUB: dict[str, Any] = {
    "task_id": "HumanEval/900",
    "prompt": HUMANEVAL_PLUS["prompt"],
    "entry_point": "half",
    "canonical_solution": "    return x / 2\n",
    "test": _ON_THE_HUB.replace("inputs =", "def check(candidate):\n    inputs =").replace(
        "\nresults", "\n    results"
    )
    + "    for inp, exp in zip(inputs, results):\n"
    + "        assertion(candidate(*inp), exp, 0)\n",
}
MBPP_PLUS_ON_THE_HUB: dict[str, Any] = {
    "task_id": 900,
    "prompt": "Write a function that halves.",
    "code": "def half(x):\n    return x / 2\n",
    "source_file": "own.ipynb",
    "test_imports": [],
    "test_list": ["assert half(1) == 0.5"],
    "test": _ON_THE_HUB
    + "for inp, exp in zip(inputs, results):\n    assertion(half(*inp), exp, 1e-4)\n",
}
LEETCODE: dict[str, Any] = {
    "task_id": "sum-of-both",
    "question_id": 9001,
    "difficulty": "Easy",
    "tags": ["Math"],
    "problem_description": "Return\xa0the sum.",
    "starter_code": "class Solution:\n    def add(self, left: int, right: List[int]) -> int:\n    ",
    "prompt": "from typing import *\n",
    "completion": (
        "class Solution:\n    def add(self, left: int, right: List[int]) -> int:\n"
        "        return left + sum(right)\n"
    ),
    "entry_point": "Solution().add",
    "test": (
        "def check(candidate):\n    assert candidate(left = 1,right = [2]) == 3\n"
        "    assert candidate(right = [], left = 4) == 4\n"
    ),
    "input_output": [{"input": "left = 1, right = [2]", "output": "3"}],
    "query": "",
    "response": "",
}
_NODES = """
from typing import *


class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next


def list_node(values):
    node = None
    for value in reversed(values):
        node = ListNode(value, node)
    return node


class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right


def tree_node(values):
    if not values:
        return None
    nodes = [None if value is None else TreeNode(value) for value in values]
    children = nodes[1:]
    for node in nodes:
        if node is not None:
            node.left = children.pop(0) if children else None
            node.right = children.pop(0) if children else None
    return nodes[0]


def is_same_list(one, other):
    return one is other or (one.val == other.val and is_same_list(one.next, other.next))
"""
LEETCODE_NODES: dict[str, Any] = LEETCODE | {
    "task_id": "reverse",
    "prompt": _NODES,
    "starter_code": "class Solution:\n    def reverse(self, head: Optional[ListNode]):\n        ",
    "completion": (
        "class Solution:\n    def reverse(self, head: Optional[ListNode]):\n"
        "        before = None\n        while head:\n"
        "            head.next, before, head = before, head, head.next\n        return before\n"
    ),
    "entry_point": "Solution().reverse",
    "test": (
        "def check(candidate):\n"
        "    assert is_same_list(candidate(head = list_node([1, 2, 3])), list_node([3, 2, 1]))\n"
        "    assert is_same_list(candidate(head = list_node([])), list_node([]))\n"
    ),
}
LEETCODE_TREE: dict[str, Any] = LEETCODE_NODES | {
    "task_id": "mirror",
    "starter_code": "class Solution:\n    def mirror(self, root: Optional[TreeNode], n: int):\n",
    "completion": (
        "class Solution:\n    def mirror(self, root: Optional[TreeNode], n: int):\n"
        "        if root and n:\n            root.left, root.right = root.right, root.left\n"
        "            self.mirror(root.left, n - 1)\n            self.mirror(root.right, n - 1)\n"
        "        return root\n"
    ),
    "entry_point": "Solution().mirror",
    "test": (
        "def check(candidate):\n"
        "    assert is_same_tree(candidate(root = tree_node([1, 2, 3, None, 4]), n = 9), "
        "tree_node([1, 3, 2, None, None, 4]))\n"
        "    assert is_same_tree(candidate(root = tree_node([]), n = 1), tree_node([]))\n"
    ),
}
KODCODE: dict[str, Any] = {
    "question_id": "Own_1_I",
    "question": "Write add.",
    "solution": "def add(a, b):\n    return a + b\n",
    "test": (
        "from solution import add\n\ndef test_small():\n    assert add(1, 2) == 3\n"
        "    assert add(0, 0) == 0\n\ndef test_negative():\n    assert add(-1, 1) == 0\n"
    ),
    "test_info": [{"function_name": "add", "parameter_list": "(a, b)"}],
    "gpt_difficulty": "easy",
}
KODCODE_PYTEST: dict[str, Any] = {
    "question_id": "Own_2_I",
    "question": "Write a stack and a root.",
    "solution": (
        "import math\n\n\nclass Stack:\n    def __init__(self):\n        self.items = []\n\n"
        "    def push(self, item):\n        self.items.append(item)\n\n"
        "    def size(self):\n        return len(self.items)\n\n\n"
        "def root(x):\n    if x < 0:\n        raise ValueError('negative number')\n"
        "    return math.sqrt(x)\n"
    ),
    "test": (
        "import pytest\nfrom solution import Stack, root as square_root\n\n"
        "@pytest.fixture\ndef stack():\n    return Stack()\n\n"
        "@pytest.mark.parametrize('x, expected', [(4, 2.0), (2, 1.414213)])\n"
        "def test_root(x, expected):\n    assert square_root(x) == pytest.approx(expected)\n\n"
        "def test_negative():\n    with pytest.raises(ValueError, match='negative'):\n"
        "        square_root(-1)\n\n"
        "class TestStack:\n    def test_push(self, stack):\n        stack.push(1)\n"
        "        assert stack.size() == 1\n"
    ),
    "test_info": [{"function_name": "root", "parameter_list": "(x)"}],
    "gpt_difficulty": "medium",
}
ACECODE: dict[str, Any] = {
    "id": "own_1",
    "source": "own",
    "question": "Write add.",
    "test_cases": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
    "inferences": [],
}

ROWS = {
    "TACO": TACO,
    "LiveCodeBench": LIVECODEBENCH,
    "LiveCodeBench, called": LIVECODEBENCH_CALLED,
    "CodeContests": CODE_CONTESTS,
    "HumanEval+": HUMANEVAL_PLUS,
    "HumanEval+ on the hub": HUMANEVAL_PLUS_ON_THE_HUB,
    "MBPP+": MBPP_PLUS,
    "MBPP+ on the hub": MBPP_PLUS_ON_THE_HUB,
    "LeetCodeDataset": LEETCODE,
    "LeetCodeDataset, lists": LEETCODE_NODES,
    "LeetCodeDataset, trees": LEETCODE_TREE,
    "KodCode": KODCODE,
    "KodCode with pytest": KODCODE_PYTEST,
    "AceCode": ACECODE,
}
RIGHT = {
    "LiveCodeBench": ADDS,
    "LiveCodeBench, called": (
        "class Solution:\n    def add(self, a: int, b: List[int]) -> int:\n"
        "        return a + sum(b)\n"
    ),
    "AceCode": "def add(a, b):\n    return a + b\n",
}
"""Right programs of the sets without references."""
WRONG = {
    "TACO": "print(3)\n",
    "LiveCodeBench": "print(3)\n",
    "LiveCodeBench, called": "class Solution:\n    def add(self, a, b):\n        return 6\n",
    "CodeContests": "print(3)\n",
    "HumanEval+": "def half(x):\n    return round(x / 2, 1)\n",
    "HumanEval+ on the hub": "def half(x):\n    return min(x, 4) / 2\n",
    "MBPP+": "def similar_elements(a, b):\n    return (2, 3)\n",
    "MBPP+ on the hub": "def half(x):\n    return min(x, 4) / 2\n",
    "LeetCodeDataset": "class Solution:\n    def add(self, left, right):\n        return 3\n",
    "LeetCodeDataset, lists": (
        "class Solution:\n    def reverse(self, head):\n        return head\n"
    ),
    "LeetCodeDataset, trees": (
        "class Solution:\n    def mirror(self, root, n):\n        return root\n"
    ),
    "KodCode": "def add(a, b):\n    return abs(a) + b\n",
    "KodCode with pytest": (
        "class Stack:\n    def push(self, item):\n        pass\n\n    def size(self):\n"
        "        return 1\n\n\ndef root(x):\n    return abs(x) ** 0.5\n"
    ),
    "AceCode": "def add(a, b):\n    return 3\n",
}
