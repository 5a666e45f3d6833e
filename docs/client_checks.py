"""What docs/clients.py has each client do, in a process of its own: `python docs/client_checks.py CLIENT < given.json`.

A check is a name and a function that returns what the client got and what it should have got.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Check = tuple[str, Callable[[], tuple[Any, Any]]]
CHAT, STREAM, TOOLS = "chat", "streaming", "tools offered (none is called)"
HISTORY, FIELD, TEXT = "calls and results of tools in the history", "the field `rhat`", "plain completions"
EVALUATION, LIKELIHOODS, GENERATION = (
    "an evaluation",
    "log-likelihoods of many prompts a request",
    "generation until a stop string",
)


def openai(given: dict[str, Any]) -> Iterator[Check]:
    """OpenAI's own client."""
    from openai import OpenAI

    client, truth = OpenAI(base_url=f"{given['url']}/v1", api_key=given["key"], max_retries=0), given["truth"]
    usual = {"model": "default", "temperature": 0, "max_tokens": 8}
    user = [{"role": "user", "content": given["user"]}]

    def chat(**more: Any) -> str:
        message = client.chat.completions.create(**{**usual, "messages": user, **more}).choices[0].message
        return str(message.content) + ("" if not message.tool_calls else " and calls a tool")

    def stream() -> str:
        chunks = client.chat.completions.create(
            **usual, messages=user, stream=True, stream_options={"include_usage": True}
        )
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    yield CHAT, lambda: (chat(), truth["chat"])
    yield STREAM, lambda: (stream(), truth["chat"])
    yield TOOLS, lambda: (chat(tools=[given["tool"]], tool_choice="auto"), truth["chat"])
    yield HISTORY, lambda: (chat(messages=given["history"], tools=[given["tool"]]), truth["history"])
    yield FIELD, lambda: (chat(extra_body={"rhat": given["rhat"]}), truth["rhat"])
    yield TEXT, lambda: (client.completions.create(**usual, prompt=given["user"]).choices[0].text, truth["text"])


def langchain_openai(given: dict[str, Any]) -> Iterator[Check]:
    """LangChain."""
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    def model(**more: Any) -> ChatOpenAI:
        return ChatOpenAI(
            model="default", base_url=f"{given['url']}/v1", api_key=given["key"], temperature=0, max_tokens=8, **more
        )

    truth, first, call = given["truth"], given["history"][1], given["history"][1]["tool_calls"][0]
    arguments = json.loads(call["function"]["arguments"])
    history = [
        HumanMessage(given["history"][0]["content"]),
        AIMessage(first["content"] or "", tool_calls=[{"id": call["id"], "name": "weight", "args": arguments}]),
        ToolMessage(given["history"][2]["content"], tool_call_id=call["id"]),
        HumanMessage(given["history"][3]["content"]),
    ]
    yield CHAT, lambda: (model().invoke(given["user"]).content, truth["chat"])
    yield STREAM, lambda: ("".join(str(c.content) for c in model().stream(given["user"])), truth["chat"])
    yield TOOLS, lambda: (model().bind_tools([given["tool"]]).invoke(given["user"]).content, truth["chat"])
    yield HISTORY, lambda: (model().bind_tools([given["tool"]]).invoke(history).content, truth["history"])
    yield FIELD, lambda: (model(extra_body={"rhat": given["rhat"]}).invoke(given["user"]).content, truth["rhat"])


def llama_index_llms_openai_like(given: dict[str, Any]) -> Iterator[Check]:
    """LlamaIndex."""
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai_like import OpenAILike

    def model(**more: Any) -> OpenAILike:
        usual = {"model": "default", "api_base": f"{given['url']}/v1", "api_key": given["key"], "temperature": 0}
        return OpenAILike(**{**usual, "max_tokens": 8, "is_chat_model": True, "max_retries": 0, **more})

    def weight(thing: str) -> str:
        return thing

    truth, user = given["truth"], [ChatMessage(role="user", content=given["user"])]
    calls = {"tool_calls": given["history"][1]["tool_calls"]}
    _, _, result, last = given["history"]
    history = [
        *user,
        ChatMessage(role="assistant", content=None, additional_kwargs=calls),
        ChatMessage(role="tool", content=result["content"], additional_kwargs={"tool_call_id": result["tool_call_id"]}),
        ChatMessage(role="user", content=last["content"]),
    ]
    field = {"extra_body": {"rhat": given["rhat"]}}
    tools = [FunctionTool.from_defaults(weight)]

    def with_tools() -> Any:
        return model(is_function_calling_model=True).chat_with_tools(tools, user_msg=given["user"]).message.content

    yield CHAT, lambda: (model().chat(user).message.content, truth["chat"])
    yield STREAM, lambda: ("".join(c.delta or "" for c in model().stream_chat(user)), truth["chat"])
    yield TOOLS, lambda: (with_tools(), truth["chat"])
    yield HISTORY, lambda: (model().chat(history).message.content, truth["history"])
    yield FIELD, lambda: (model(additional_kwargs=field).chat(user).message.content, truth["rhat"])
    yield TEXT, lambda: (model(is_chat_model=False).complete(given["user"]).text, truth["text"])


def litellm(given: dict[str, Any]) -> Iterator[Check]:
    """LiteLLM."""
    import litellm as module

    truth, user = given["truth"], [{"role": "user", "content": given["user"]}]

    def ask(**more: Any) -> Any:
        usual = {"model": "openai/default", "api_base": f"{given['url']}/v1", "api_key": given["key"], "temperature": 0}
        return module.completion(**{**usual, "max_tokens": 8, "messages": user, **more})

    def chat(**more: Any) -> Any:
        return ask(**more).choices[0].message.content

    yield CHAT, lambda: (chat(), truth["chat"])
    yield STREAM, lambda: ("".join(c.choices[0].delta.content or "" for c in ask(stream=True)), truth["chat"])
    yield TOOLS, lambda: (chat(tools=[given["tool"]], tool_choice="auto"), truth["chat"])
    yield HISTORY, lambda: (chat(messages=given["history"], tools=[given["tool"]]), truth["history"])
    yield FIELD, lambda: (chat(extra_body={"rhat": given["rhat"]}), truth["rhat"])


def llm(given: dict[str, Any]) -> Iterator[Check]:
    """Simon Willison's llm: its command line, with the server among its models (JSON is YAML), and its Python interface."""
    truth, folder = given["truth"], Path(given["home"]) / "llm"
    folder.mkdir()
    row = {"model_id": "rhat", "model_name": "default", "api_base": f"{given['url']}/v1", "api_key_name": "rhat"}
    more = {"model_id": "rhat-text", "completion": True}, {"model_id": "rhat-tools", "supports_tools": True}
    (folder / "extra-openai-models.yaml").write_text(json.dumps([row, *({**row, **one} for one in more)]))
    (folder / "keys.json").write_text(json.dumps({"rhat": given["key"]}))
    usual = {"temperature": 0, "max_tokens": 8}
    os.environ["LLM_USER_PATH"] = str(folder)
    import llm as module

    def run(*options: str, model: str = "rhat") -> str:
        asked = [part for name, value in usual.items() for part in ("-o", name, str(value))]
        command = [sys.executable, "-m", "llm", "-m", model, *asked, *options, given["user"]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
        return done.stdout.removesuffix("\n")

    def weight(thing: str) -> str:
        """Weight of a thing."""
        return thing

    def with_tools() -> str:
        return str(module.get_model("rhat-tools").chain(given["user"], tools=[weight], options=usual).text())

    yield CHAT, lambda: (run("--no-stream"), truth["chat"])
    yield STREAM, lambda: (run(), truth["chat"])
    yield TOOLS, lambda: (with_tools(), truth["chat"])
    yield TEXT, lambda: (run(model="rhat-text"), truth["text"])


def inspect_ai(given: dict[str, Any]) -> Iterator[Check]:
    """Inspect: an evaluation of two samples."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig
    from inspect_ai.scorer import exact
    from inspect_ai.solver import generate, use_tools
    from inspect_ai.tool import Tool, tool

    truth = given["truth"]

    @tool
    def weight() -> Tool:
        async def execute(thing: str) -> str:
            """Weight of a thing.

            Args:
                thing: The thing.
            """
            return thing

        return execute

    def answers(*solvers: Any, **config: Any) -> list[str]:
        samples = [Sample(input=given["user"], target="x"), Sample(input=given["user"], target="y")]
        task = Task(
            dataset=samples,
            solver=[*solvers, generate()],
            scorer=exact(),
            config=GenerateConfig(temperature=0, max_tokens=8, **config),
        )
        [log] = eval(task, model="openai-api/rhat/default", display="none", log_dir=given["home"])
        assert log.status == "success", log.error
        return [sample.output.completion for sample in log.samples]

    yield EVALUATION, lambda: (answers(), [truth["chat"]] * 2)
    yield TOOLS, lambda: (answers(use_tools([weight()])), [truth["chat"]] * 2)
    yield FIELD, lambda: (answers(extra_body={"rhat": given["rhat"]}), [truth["rhat"]] * 2)


def lm_eval(given: dict[str, Any]) -> Iterator[Check]:
    """EleutherAI's harness: log-likelihoods of given continuations, and generation, through local-completions."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    lm = LocalCompletionsAPI(
        base_url=f"{given['url']}/v1/completions",
        model="default",
        tokenizer=given["model"],
        batch_size=16,
        max_length=200,
    )
    asked = [*given["questions"]] * 3  # more than there are slots

    def likelihoods() -> tuple[bool, bool]:
        instances = [Instance("loglikelihood", {}, tuple(pair), i) for i, pair in enumerate(asked)]
        pairs = zip(lm.loglikelihood(instances), [*given["truth"]["loglikelihoods"]] * 3, strict=True)
        return all(abs(got - expected) < 1e-3 for (got, _), expected in pairs), True

    def generated() -> tuple[list[str], list[str]]:
        settings = {"until": ["\x00"], "max_gen_toks": 8, "temperature": 0}
        return lm.generate_until([Instance("generate_until", {}, (given["user"], settings), 0)]), [
            given["truth"]["text"]
        ]

    def command_line() -> tuple[float, float]:
        home = Path(given["home"])
        (home / "data.jsonl").write_text(
            "".join(json.dumps({"a": a, "b": b, "other": given["other"]}) + "\n" for a, b in given["questions"])
        )
        task = {
            "task": "mine",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(home / "data.jsonl")}},
        }
        task |= {"output_type": "multiple_choice", "test_split": "test", "doc_to_text": "{{a}}", "target_delimiter": ""}
        task |= {"doc_to_choice": "{{[b, other]}}", "doc_to_target": 0, "metric_list": [{"metric": "acc"}]}
        (home / "mine.yaml").write_text(json.dumps(task))  # JSON is YAML
        server = f"model=default,base_url={given['url']}/v1/completions,tokenizer={given['model']},max_length=200"
        command = [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", server]
        command += [
            "--tasks",
            "mine",
            "--include_path",
            str(home),
            "--batch_size",
            "16",
            "--output_path",
            str(home / "out"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
        [told] = (home / "out").rglob("results_*.json")
        return json.loads(told.read_text())["results"]["mine"]["acc,none"], given["truth"]["accuracy"]

    yield EVALUATION, command_line
    yield LIKELIHOODS, likelihoods
    yield GENERATION, generated


def outcome(check: Callable[[], tuple[Any, Any]]) -> str:
    """ "yes", or in a line what was wrong."""
    try:
        got, expected = check()
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return "yes" if got == expected else f"got {got!r}, expected {expected!r}"


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, in which nothing is to be found by a client's name
    checks = globals()[sys.argv[1].replace("-", "_")]
    told = {name: outcome(check) for name, check in checks(json.load(sys.stdin))}
    sys.stdout.write(f"\nCHECKS {json.dumps(told)}\n")
