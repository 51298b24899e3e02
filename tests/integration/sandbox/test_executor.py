"""The executor of container tools on the real engine: the contract of every executor, and what is its own."""

import docker
import pytest
from executor_contract import Subject, ToolExecutorContract, new_key

from capsules.actions.ledger_messages import AttemptKey
from capsules.errors import EffectFailed
from capsules.names import parse_reference
from sandbox.container import DockerSandbox
from sandbox.executor import ContainerExecutor
from somagent.capsule_files.library import Library


@pytest.fixture
def subject(sandbox: DockerSandbox, image: str, engine: docker.DockerClient) -> Subject:
    def at_work(key: AttemptKey) -> bool:
        return bool(engine.containers.list(filters={"name": sandbox.name(key.effect)}, sparse=True))

    absent = DockerSandbox(image=image, host="unix:///tmp/no-such.sock")
    return Subject(
        executor=ContainerExecutor(sandbox, image=image),
        unreachable=ContainerExecutor(absent, image=image),
        tool=Library.load().tool(parse_reference("python@1")),
        action="run",
        unique={"code": "import random; print(random.getrandbits(64))"},
        slow={"code": "import time; time.sleep(30)"},
        long={"code": "print('x' * 5000)"},
        failing={"code": "raise SystemExit('no such colour: octarine')"},
        at_work=at_work,
    )


class TestContract(ToolExecutorContract):
    pass


async def test_files_input_and_standard_input_reach_the_program(subject: Subject) -> None:
    key = new_key()
    code = "import sys; print(open('a.txt').read(), open('input.json').read(), sys.stdin.read())"
    arguments = {"code": code, "files": {"a.txt": "one"}, "input": {"b": 2}, "stdin": "three"}
    answer = await subject.executor.execute(subject.call(arguments), key=key)
    await subject.executor.discard(key)
    assert answer.text == 'one {"b": 2} three\n'


async def test_a_container_says_whose_it_is(
    subject: Subject, sandbox: DockerSandbox, engine: docker.DockerClient
) -> None:
    key = new_key()
    await subject.executor.execute(subject.call({"code": "print(1)"}), key=key)
    labels = engine.containers.get(sandbox.name(key.effect)).labels
    await subject.executor.discard(key)
    assert (labels["somagent.run"], labels["somagent.tenant"]) == (key.run, "test")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "code: one of 'code' and 'command' is required"),
        ({"path": "a.txt"}, "code: one of 'code' and 'command' is required"),
        ({"code": 7}, "code: "),
        ({"command": ["ls"]}, "command: "),
        ({"code": "pass", "files": ["a.txt"]}, "files: "),
        ({"code": "pass", "files": {"a.txt": {"b": 2}}}, "files.a.txt: "),
        ({"code": "pass", "stdin": None}, "stdin: "),
    ],
    ids=str,
)
async def test_arguments_that_no_container_can_run_are_refused_by_name(
    subject: Subject, arguments: dict[str, object], named: str
) -> None:
    with pytest.raises(EffectFailed) as refused:
        await subject.executor.execute(subject.call(arguments), key=new_key())
    assert refused.value.message.startswith(f"Arguments of python@1.0.0/run: {named}")
