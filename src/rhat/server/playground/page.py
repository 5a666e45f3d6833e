"""The page, in Gradio: settings, two answers that stream side by side, the study's figures."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

from rhat.directions import Direction
from rhat.errors import RhatError
from rhat.generation import Probe, Sampling
from rhat.generation import Request as ToGenerate
from rhat.server.answers import FINISH, Choice, take
from rhat.server.asked import Part
from rhat.server.errors import Refused
from rhat.server.logs import log
from rhat.server.playground import drawing
from rhat.server.runner import Ask, Done, Failed, Ticket
from rhat.server.schemas import InterventionSpec
from rhat.vocabulary import OPERATORS, SCOPES

if TYPE_CHECKING:
    from rhat.server.app import Service

SHOWN_SCOPES = [f"{kind.name}:5" if kind.counted else kind.name for kind in SCOPES.values()]
FIRST = next(iter(OPERATORS.values()))  # what the page begins with
WHEN = {"Always": "", "Only prompts above the threshold": "above", "Only prompts at or below it": "below"}
EVERY = 0.08  # seconds between updates of the page
NAMES = ("prompt", "direction", "op", "target", "layer", "where", "scope", "when", "max_tokens", "temperature", "seed")


def mount(app: FastAPI, service: Service) -> FastAPI:
    """The application with the page at / and the study's files under /study/."""
    if service.settings.study is not None:
        _serve_study(app, service.settings.study)
    page = build(service)
    page.queue(
        default_concurrency_limit=service.settings.slots, max_size=service.settings.max_queue + 1, api_open=False
    )
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size="1kb",
        theme=gr.themes.Base(
            primary_hue="blue",
            neutral_hue="slate",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        css=_file("style.css"),
        head=_about(service) + f"<script>{_file('script.js')}</script>",
    )


def _about(service: Service) -> str:
    """What the page's script has to know, as a JSON element."""
    about = {
        "model": service.model.name,
        "key": service.settings.api_key is not None,
        "names": NAMES,
        "parameters": {o.name: o.parameter.name for o in OPERATORS.values() if o.parameter is not None},
    }
    text = json.dumps(about).replace("<", "\\u003c")
    return f"<script type='application/json' id='rhat-about'>{text}</script>"


def _file(name: str) -> str:
    return resources.files("rhat.server.playground").joinpath(name).read_text("utf-8")


def build(service: Service) -> gr.Blocks:
    """The page's parts, and what happens when they are used."""
    known = service.directions.known
    if not known:
        with gr.Blocks(title="rhat playground", analytics_enabled=False) as page:
            gr.Markdown("# rhat playground\nThis server has no directions. Start it with `--direction FILE`.")
        return page
    first_name, first = next(iter(known.items()))
    span = drawing.Range.around(first)
    with gr.Blocks(title="rhat playground", analytics_enabled=False) as page:
        gr.HTML(
            f"<h1>rhat playground</h1><p>{_escape(service.model.name)}: the same prompt answered twice, plain and with an "
            "intervention on the refusal direction r̂.</p>",
            elem_id="rhat-head",
        )
        with gr.Tabs():
            with gr.Tab("Try it"):
                prompt = gr.Textbox(
                    label="Prompt",
                    lines=1,
                    max_lines=12,
                    placeholder="Type a prompt and press Enter; Shift+Enter for a new line",
                    elem_id="rhat-prompt",
                )
                with gr.Row(equal_height=False, elem_classes="rhat-settings"):
                    with gr.Column(min_width=280):
                        op = gr.Dropdown(
                            [(o.label, o.name) for o in OPERATORS.values()],
                            value=FIRST.name,
                            label="Operator",
                            elem_id="rhat-op",
                            filterable=False,
                        )
                        scope = gr.Dropdown(
                            SHOWN_SCOPES, value="all", label="Tokens (scope)", elem_id="rhat-scope", filterable=False
                        )
                        direction = gr.Dropdown(
                            list(known),
                            value=first_name,
                            label="Direction",
                            visible=len(known) > 1,
                            filterable=False,
                            elem_id="rhat-direction",
                        )
                    with gr.Column(min_width=280):
                        layer = gr.Slider(
                            0,
                            service.model.n_layers - 1,
                            value=first.layer,
                            step=1,
                            elem_id="rhat-layer",
                            label=_layer_label(first),
                            precision=0,
                        )
                        with gr.Group(elem_id="rhat-target-group"):
                            target = gr.Slider(
                                span.low,
                                span.high,
                                value=round(first.mean_harmful, 2),
                                step=0.01,
                                elem_id="rhat-target",
                                label=_slider_label(FIRST.name),
                            )
                            marks = gr.HTML(drawing.marks(first), elem_id="rhat-target-marks")
                with gr.Accordion("More settings", open=False), gr.Row():
                    where = gr.Dropdown(
                        [("The operator's own choice", ""), ("Own layer", "own layer"), ("All layers", "all layers")],
                        value="",
                        label="Where",
                        filterable=False,
                        elem_id="rhat-where",
                    )
                    when = gr.Dropdown(
                        list(WHEN.items()), value="", label="When", filterable=False, elem_id="rhat-when"
                    )
                    max_tokens = gr.Slider(
                        1,
                        min(512, service.settings.max_tokens),
                        value=min(96, service.settings.max_tokens),
                        step=1,
                        label="Most new tokens",
                        elem_id="rhat-max-tokens",
                        precision=0,
                    )
                    temperature = gr.Slider(0, 2, value=0, step=0.05, label="Temperature", elem_id="rhat-temperature")
                    seed = gr.Number(value=0, label="Seed", precision=0, elem_id="rhat-seed")
                with gr.Row(elem_classes="rhat-buttons"):
                    go = gr.Button("Answer", variant="primary", elem_id="rhat-go")
                    stop = gr.Button("Stop", elem_id="rhat-stop")
                    link = gr.Button("Copy link", elem_id="rhat-link")
                    python = gr.Button("Copy as Python", elem_id="rhat-python")
                    curl = gr.Button("Copy as curl", elem_id="rhat-curl")
                scale = gr.HTML(_scale(service, first_name, None), elem_id="rhat-scale")
                with gr.Row(equal_height=False):
                    with gr.Column(min_width=320):
                        plain = gr.HTML(
                            drawing.answer("Plain", "no intervention", [], "", "", None), elem_id="rhat-plain"
                        )
                    with gr.Column(min_width=320):
                        edited = gr.HTML(drawing.answer("Intervened", "", [], "", "", None), elem_id="rhat-edited")
                gr.HTML(drawing.legend())
                code = gr.Textbox(
                    label="Copied",
                    lines=1,
                    max_lines=20,
                    interactive=False,
                    placeholder="A link or command that you copy appears here as well",
                    elem_id="rhat-code",
                )
            with gr.Tab("Study"):
                gr.HTML(_figures(service.settings.study), elem_id="rhat-figures")

        parameter_of = gr.State(FIRST.name)  # the operator whose parameter the slider shows
        inputs = [prompt, direction, op, target, layer, where, scope, when, max_tokens, temperature, seed]
        outputs = [scale, plain, edited]

        async def answer(*values: Any) -> AsyncIterator[tuple[str, str, str]]:
            """Answer the prompt twice and show both as they are written."""
            async for shown in answers(service, dict(zip(NAMES, values, strict=True))):
                yield shown

        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        run = gr.on([go.click, prompt.submit], answer, inputs, outputs, trigger_mode="once", **quiet)
        stop.click(None, None, None, cancels=[run], queue=False, api_visibility="private")

        def chosen_direction(name: str, operator: str) -> tuple[Any, Any, str, str]:
            r = known[name]
            return (
                gr.update(value=r.layer, label=_layer_label(r)),
                _slider(r, operator),
                drawing.marks(r),
                _scale(service, name, None),
            )

        def chosen_operator(operator: str, before: str, name: str) -> tuple[Any, Any, str]:
            """The slider of the operator's parameter; its value stays where both operators take numbers of one kind."""
            parameter = OPERATORS[operator].parameter
            alike = _span(operator) == _span(before)
            slider = gr.update(label=_slider_label(operator)) if alike else _slider(known[name], operator)
            slider["visible"] = parameter is not None
            marked = parameter is not None and parameter.span is None
            return slider, gr.update(visible=marked), operator if parameter is not None else before

        direction.input(chosen_direction, [direction, op], [layer, target, marks, scale], queue=False, **quiet)
        op.change(chosen_operator, [op, parameter_of, direction], [target, marks, parameter_of], queue=False, **quiet)

        def from_link(request: gr.Request) -> list[Any]:
            return settings_from(service, dict(request.query_params))

        page.load(from_link, None, [*inputs, marks, scale], queue=False, **quiet)
        for button, kind in ((link, "link"), (python, "python"), (curl, "curl")):
            button.click(
                None,
                inputs,
                code,
                js=f"(...values) => window.rhat.copy('{kind}', values)",
                queue=False,
                api_visibility="private",
            )
    return page


def _slider_label(operator: str) -> str:
    parameter = OPERATORS[operator].parameter
    return "" if parameter is None else parameter.label


def _span(operator: str) -> tuple[float, float] | None:
    """The values that the slider offers for an operator; None: the range of the direction's projections."""
    parameter = OPERATORS[operator].parameter
    return None if parameter is None else parameter.span


def _slider(direction: Direction, operator: str) -> dict[str, Any]:
    """The slider of an operator's parameter, at its default."""
    parameter = OPERATORS[operator].parameter
    default = None if parameter is None else parameter.default
    reach = drawing.Range.around(direction)
    low, high = _span(operator) or (reach.low, reach.high)
    return gr.update(
        minimum=low,
        maximum=high,
        value=round(direction.mean_harmful if default is None else default, 2),
        label=_slider_label(operator),
    )


def _layer_label(direction: Direction) -> str:
    return f"Layer (r̂ was found at {direction.layer})"


def _scale(service: Service, name: str, prompt: float | None) -> str:
    calibration = service.directions.calibrations.get(name)
    return drawing.scale(service.directions.known[name], prompt, None if calibration is None else calibration.threshold)


def _escape(text: str) -> str:
    from html import escape

    return escape(text)


def settings_from(service: Service, query: dict[str, str]) -> list[Any]:
    """Updates of all inputs from a link's parameters; what is missing or impossible stays as it is.

    Without parameters nothing is touched: somebody may have begun to type by the time this arrives.
    """
    known = service.directions.known
    name = query["direction"] if query.get("direction") in known else next(iter(known))
    r = known[name]
    span = drawing.Range.around(r)
    low, high = _span(query.get("op", "") if query.get("op") in OPERATORS else FIRST.name) or (span.low, span.high)

    def within(key: str, low: float, high: float, kind: type = float) -> Any:
        try:
            value = float(query[key])
        except (KeyError, ValueError):
            return gr.skip()
        return kind(min(high, max(low, value))) if value == value else gr.skip()

    def one_of(key: str, options: Any) -> Any:
        return query[key] if query.get(key) in options else gr.skip()

    target: Any = within("target", low, high)
    layer: Any = within("layer", 0, service.model.n_layers - 1, int)
    other = query.get("direction") in known and len(known) > 1
    if other:
        target = gr.update(
            minimum=low, maximum=high, value=target if isinstance(target, float) else round(r.mean_harmful, 2)
        )
        layer = gr.update(value=layer if isinstance(layer, int) else r.layer, label=_layer_label(r))
    return [
        query["prompt"][:4000] if "prompt" in query else gr.skip(),
        name if other else gr.skip(),
        one_of("op", OPERATORS),
        target,
        layer,
        one_of("where", ("", "own layer", "all layers")),
        one_of("scope", SHOWN_SCOPES),
        one_of("when", WHEN.values()),
        within("max_tokens", 1, min(512, service.settings.max_tokens), int),
        within("temperature", 0, 2),
        within("seed", 0, 2**53, int),
        drawing.marks(r) if other else gr.skip(),
        _scale(service, name, None) if other else gr.skip(),
    ]


@dataclass(eq=False)
class _Side:
    """One of the two answers."""

    title: str
    note: str
    ticket: Ticket
    choice: Choice
    parts: tuple[Part, ...]
    done: bool = False

    def draw(self, direction: Direction) -> str:
        state = "waiting …" if not self.choice.applied and not self.choice.tokens else "writing …"
        if self.done:
            ends = {"stop": "finished", "length": "stopped at the number of tokens"}
            state = f"{self.choice.n_tokens} tokens, {ends[self.choice.finish_reason or 'stop']}"
        note = self.note
        if self.parts and self.choice.applied and not all(self.choice.applied):
            note += " (not applied: the prompt is on the other side of the threshold)"
        rest = "".join(self.choice.text)[sum(len(t.text) for t in self.choice.tokens) :]
        return drawing.answer(self.title, note, self.choice.tokens, rest, state, direction)


async def answers(service: Service, given: dict[str, Any]) -> AsyncIterator[tuple[str, str, str]]:
    """The scale and both answers as HTML, again and again while they are written."""
    name = given["direction"] or next(iter(service.directions.known))
    direction = service.directions.known[name]
    if not str(given["prompt"] or "").strip():
        yield _scale(service, name, None), _problem("Plain", "Type a prompt first."), _problem("Intervened", "")
        return
    sides: list[_Side] = []
    began = time.monotonic()
    try:
        try:
            part = service.directions.part(_spec(given, name))
            tokens = await service.chat_tokens([{"role": "user", "content": str(given["prompt"])}])
            new = service.check_length(tokens, int(given["max_tokens"]))
            temperature = float(given["temperature"] or 0)
            sampling = Sampling(temperature, seed=int(given["seed"] or 0)) if temperature else None
            for title, parts in (("Plain", ()), ("Intervened", (part,))):
                asked = ToGenerate(tokens, new, sampling=sampling, stop=(), probe=Probe(direction.site, direction.unit))
                ticket = service.runner.submit((Ask(asked, parts, direction.position),))
                sides.append(_Side(title, _says(part) if parts else "no intervention", ticket, Choice(), parts))
        except Refused as error:
            raise RhatError(error.detail) from error
        async for _ in _merged(sides, began + service.settings.timeout):
            prompt = sides[0].choice.prompt
            shown = _scale(service, name, None if prompt is None else prompt[0])
            yield shown, sides[0].draw(direction), sides[1].draw(direction)
        log(
            "playground",
            id=secrets.token_hex(8),
            seconds=round(time.monotonic() - began, 3),
            completion_tokens=sum(side.choice.n_tokens for side in sides),
            interventions=[part.describe()],
        )
    except (RhatError, ValueError) as error:
        yield _scale(service, name, None), _problem("Plain", str(error)), _problem("Intervened", str(error))
    finally:
        for side in sides:
            if not side.done:
                side.ticket.cancel()


async def _merged(sides: list[_Side], deadline: float) -> AsyncIterator[None]:
    """Take in events of both sides as they come; yields when there is something new to show, not too often."""
    while not all(side.done for side in sides):
        await asyncio.sleep(EVERY)
        news = False
        for side in sides:
            while not side.ticket.events.empty():
                event = side.ticket.events.get_nowait()
                if isinstance(event, Failed):
                    raise RhatError(event.error.detail)
                take([side.choice], event)
                side.done = side.done or isinstance(event, Done)
                news = True
        if news:
            yield
        elif time.monotonic() > deadline:
            raise RhatError("the answer took too long and was called off; ask for fewer tokens")


def _spec(given: dict[str, Any], name: str) -> InterventionSpec:
    parameter = OPERATORS[given["op"]].parameter
    return InterventionSpec(
        op=given["op"],
        direction=name,
        scope=given["scope"],
        layer=int(given["layer"]),
        where=given["where"] or None,
        when=given["when"] or None,
        threshold=None,
        **({} if parameter is None else {parameter.name: float(given["target"])}),
    )


def _says(part: Part) -> str:
    said = part.describe()
    parameter = OPERATORS[said["op"]].parameter
    value = None if parameter is None else said[parameter.name]
    words = [
        said["op"],
        "" if value is None else f"{drawing.number(value)}",
        f"at {said['sites']}",
        f"tokens: {said['scope']}",
    ]
    return ", ".join(word for word in words if word)


def _problem(title: str, message: str) -> str:
    return drawing.answer(title, "", [], "", message, None)


assert set(FINISH.values()) == {"stop", "length"}


# The study's figures


def _figures(study: Path | None) -> str:
    if study is None:
        return "<p>No study is shown. Start the server with <code>--study FOLDER</code>, the folder of a <code>rhat study</code>.</p>"
    names = sorted(path.name for path in (study / "figures").glob("*.svg"))
    report = (study / "report.html").is_file()
    whole = (
        '<p><a href="/study/report.html" target="_blank" rel="noopener">Open the whole report</a></p>' if report else ""
    )
    if not names:
        return f"{whole}<p>{_escape(str(study))} has no figures; draw them with <code>rhat report</code>.</p>"
    shown = "".join(
        f'<figure><a href="/study/figures/{quote(name)}" target="_blank" rel="noopener">'
        f'<img src="/study/figures/{quote(name)}" alt="{_escape(_title(name))}" loading="lazy"></a></figure>'
        for name in names
    )
    return f'{whole}<div class="rhat-figures">{shown}</div>'


def _title(name: str) -> str:
    return Path(name).stem.replace("_", " ").replace("-", " ")


def _serve_study(app: FastAPI, study: Path) -> None:
    """The study's figures and report, and no other file."""

    async def figure(name: str) -> Response:
        path = study / "figures" / name
        if path.suffix != ".svg" or path.name != name or not path.is_file():
            raise Refused(404, "no such figure")
        return FileResponse(path, media_type="image/svg+xml")

    async def report() -> Response:
        path = study / "report.html"
        if not path.is_file():
            raise Refused(404, "this study has no report; draw it with `rhat report`")
        return FileResponse(path, media_type="text/html")

    app.add_api_route("/study/figures/{name}", figure, include_in_schema=False, response_model=None)
    app.add_api_route("/study/report.html", report, include_in_schema=False, response_model=None)
