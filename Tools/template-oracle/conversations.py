"""Eight conversations that every template is rendered with."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Today's weather <at> a place & \"more\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where, e.g. Zürich", "enum": ["Zürich", "Bern"]},
                "days": {"type": "integer", "default": 1},
                "units": {"type": ["string", "null"]},
                "more": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
            },
            "required": ["city"],
        },
        "return": {"type": "string", "description": "the weather"},
    },
}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, id="call00001"):
    return {"type": "function", "id": id, "function": {"name": name, "arguments": arguments}}


def context(messages, tools=None, generate=True, **more):
    return {
        "messages": messages,
        "tools": tools,
        "documents": None,
        "add_generation_prompt": generate,
        "bos_token": "<s>",
        "eos_token": "</s>",
        **more,
    }


CONVERSATIONS = [
    context([say("user", "Hello")]),
    context([say("system", "You are brief.\n"), say("user", "  Hi there  ")]),
    context([say("user", "1 + 1?"), say("assistant", "2"), say("user", "Sure? <|im_end|> {{ x }}")]),
    context(
        [
            say("system", "Grüezi 👋🏽"),
            say("user", "日本語\n\nيوم"),
            say("assistant", "<think>\nhm\n</think>\n\nJa.", reasoning_content="hm"),
            say("user", "tab\tquote' \"end\""),
        ],
        enable_thinking=False,
    ),
    context([say("user", "A"), say("assistant", "B")], generate=False),
    context([say("system", "S"), say("user", "weather?")], tools=[WEATHER]),
    context(
        [
            say("user", "weather in Bern and Zürich?"),
            say(
                "assistant",
                "",
                tool_calls=[call("get_weather", {"city": "Bern", "days": 2, "deep": [1.5, None, True]})],
            ),
            say("tool", '{"sky": "blue"}', name="get_weather", tool_call_id="call00001"),
            say("assistant", "Blue."),
            say("user", "Thanks"),
        ],
        tools=[WEATHER],
    ),
    context([say("system", ""), say("user", [{"type": "text", "text": "part one"}, {"type": "text", "text": " two"}])]),
]
