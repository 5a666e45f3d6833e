// Links and commands that repeat what the page is set to. All of it runs in the page; nothing is loaded.
window.rhat = (() => {
  const about = () => JSON.parse(document.getElementById("rhat-about").textContent);

  const named = (values) => Object.fromEntries(about().names.map((name, i) => [name, values[i]]));

  // The conversation behind the intervened answer, if it began with this prompt; else the prompt alone.
  const messages = (set) => {
    const system = (set.system || "").trim();
    const begun = system ? [{ role: "system", content: system }] : [];
    begun.push({ role: "user", content: set.prompt || "" });
    const kept = JSON.parse(document.querySelector("#rhat-edited [data-messages]")?.dataset.messages || "[]");
    const goesOn = begun.every((one, i) => kept[i]?.role === one.role && kept[i]?.content === one.content);
    return goesOn ? kept : begun;
  };

  // The request that the intervened answer was made with.
  const body = (set) => {
    const rhat = { op: set.op, direction: set.direction, scope: set.scope };
    const where = set.where || (about().everywhere.includes(set.op) ? "all layers" : "own layer");
    if (where === "own layer") rhat.layer = set.layer;  // elsewhere a layer would say nothing, and is rejected
    const parameter = about().parameters[set.op];
    if (parameter) rhat[parameter] = set.target;
    if (set.where) rhat.where = set.where;
    if (set.when) rhat.when = set.when;
    const made = {
      model: about().model,
      messages: messages(set),
      max_tokens: set.max_tokens,
      temperature: set.temperature,
    };
    if (set.temperature > 0) made.seed = set.seed;
    return [made, rhat];
  };

  const link = (set) => {
    const url = new URL(window.location.href);
    url.search = "";
    for (const [name, value] of Object.entries(set)) {
      if (value !== "" && value !== null && value !== undefined) url.searchParams.set(name, value);
    }
    window.history.replaceState(null, "", url);
    return url.toString();
  };

  const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

  const curl = (set) => {
    const [made, rhat] = body(set);
    const key = about().key ? ` \\\n  -H "Authorization: Bearer $RHAT_API_KEY"` : "";
    const json = JSON.stringify({ ...made, rhat });
    return `curl -sS ${window.location.origin}/v1/chat/completions \\\n  -H 'Content-Type: application/json'${key} \\\n  -d ${quoted(json)}`;
  };

  // JSON as Python writes it; the values here are strings, numbers and containers of them.
  const literal = (value) => JSON.stringify(value, null, 4);

  const python = (set) => {
    const [made, rhat] = body(set);
    const key = about().key ? 'os.environ["RHAT_API_KEY"]' : '"none"';
    const more = Object.entries(made).map(([name, value]) => `    ${name}=${literal(value).replaceAll("\n", "\n    ")},`);
    return [
      ...(about().key ? ["import os", ""] : []),
      "from openai import OpenAI",
      "",
      `client = OpenAI(base_url="${window.location.origin}/v1", api_key=${key})`,
      "answer = client.chat.completions.create(",
      ...more,
      `    extra_body={"rhat": ${literal(rhat).replaceAll("\n", "\n    ")}},`,
      ")",
      "print(answer.choices[0].message.content)",
      "",
    ].join("\n");
  };

  const toClipboard = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // pages that are not on localhost or https have no clipboard of that kind
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };

  const copy = (kind, values) => {
    const text = { link, curl, python }[kind](named(values));
    toClipboard(text);
    return text;
  };

  // α and the number that it comes to: zero + α × unit, as in dial.py.
  const dialOf = (op, direction) => about().dials[direction || Object.keys(about().dials)[0]][op];
  const value = (position, op, direction) => {
    const dial = dialOf(op, direction);
    return dial ? Number((dial.zero + position * dial.unit).toFixed(dial.decimals)) : position;
  };
  const position = (number, op, direction) => {
    const dial = dialOf(op, direction);
    if (!dial || typeof number !== "number") return dial ? dial.start : number;
    return Number(Math.min(dial.high, Math.max(dial.low, (number - dial.zero) / dial.unit)).toFixed(2));
  };

  const slider = () => document.querySelector("#rhat-dial input[type=range]");

  // What the study measured nearest to α, below the slider.
  const follow = (alpha) => {
    const dose = document.querySelector("#rhat-curve .rhat-dose");
    const track = slider();
    if (!dose || !track) return;
    const [low, high] = [Number(track.min), Number(track.max)];
    dose.querySelector(".rhat-cursor").style.left = `${(100 * (alpha - low)) / (high - low)}%`;
    const near = JSON.parse(dose.dataset.doses).reduce((one, other) =>
      Math.abs(other[0] - alpha) < Math.abs(one[0] - alpha) ? other : one);
    const said = `${Math.abs(near[0] - alpha) < 0.005 ? "At" : "Nearest measured:"} α = ${near[0]}: ${near[1]}`;
    const read = dose.querySelector(".rhat-read");
    if (read.textContent !== said) read.textContent = said;
  };

  // Put what is below the slider where its handle would stand: the track's ends depend on the numbers beside it.
  const align = () => {
    const track = slider();
    if (!track || !track.offsetWidth) return;
    const handle = 16;
    const inner = track.getBoundingClientRect();
    for (const part of document.querySelectorAll("#rhat-target-marks .rhat-marks, #rhat-curve .rhat-aligned")) {
      const outer = part.parentElement.getBoundingClientRect();
      const wanted = [`${inner.left - outer.left + handle / 2}px`, `${inner.width - handle}px`];
      if (part.style.marginLeft !== wanted[0]) part.style.marginLeft = wanted[0];
      if (part.style.width !== wanted[1]) part.style.width = wanted[1];
    }
    follow(Number(track.value));
  };

  // A sign of work at once, and on a phone, where the answers are below the controls, the view goes to them.
  const begin = (values) => {
    ended = false;
    document.getElementById("rhat-go").setAttribute("aria-busy", "true");
    const status = document.querySelector("#rhat-status [role=status]");
    if (status) status.textContent = "Answering …";
    const answers = document.querySelectorAll("#rhat-plain .rhat-answer");
    const to = answers.length > 1 ? answers[answers.length - 1] : document.getElementById("rhat-plain");
    if (to && window.matchMedia("(max-width: 640px)").matches) to.scrollIntoView({ block: "start" });
    return values;
  };
  // After the last word, an error, or Stop: what is still marked as being written was stopped.
  let ended = false;
  const settle = () => {
    document.getElementById("rhat-go")?.removeAttribute("aria-busy");
    const left = document.querySelectorAll(".rhat-answer[aria-busy=true]");
    for (const one of left) {
      one.setAttribute("aria-busy", "false");
      one.querySelector(".rhat-text").setAttribute("aria-busy", "false");
      one.querySelector(".rhat-state").textContent = "stopped";
    }
    if (left.length) document.querySelector("#rhat-status [role=status]").textContent = "Stopped.";
  };
  const done = () => {
    ended = true;  // a last update may still be on its way
    settle();
  };

  new MutationObserver(() => (align(), ended && settle())).observe(document, { childList: true, subtree: true });
  window.addEventListener("resize", align);

  return { copy, value, position, follow, begin, done };
})();
