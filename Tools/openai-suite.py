#!/usr/bin/env python3
"""Runs OpenAI's own Python client over everything that this server supports or refuses.

    Tools/openai-suite.py http://127.0.0.1:8080 [--key KEY]

Needs openai from PyPI (see Tools/deps.sh). Prints 'N passed, N failed'.
"""
import argparse
import json
import sys
import traceback
import urllib.request

import openai

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--key", default="none-needed")
arguments = parser.parse_args()
url = arguments.url.rstrip("/")
client = openai.OpenAI(base_url=url + "/v1", api_key=arguments.key, max_retries=0, timeout=120)
model = client.models.list().data[0]
context = model.context_length
hello = [{"role": "user", "content": "Say hello to the world."}]
tests = []


def test(function):
    tests.append(function)
    return function


def chat(messages=hello, **options):
    return client.chat.completions.create(model=model.id, messages=messages, **{"max_tokens": 8, **options})


def complete(prompt="Once upon a time", **options):
    return client.completions.create(model=model.id, prompt=prompt, **{"max_tokens": 8, **options})


def raw(path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {
        "content-type": "application/json", "authorization": "Bearer " + arguments.key})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def collect(stream):
    """The texts, finish reasons and usage of a streamed answer, by choice."""
    texts, reasons, usage = {}, {}, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            piece = choice.delta.content if hasattr(choice, "delta") else choice.text
            texts[choice.index] = texts.get(choice.index, "") + (piece or "")
            if choice.finish_reason:
                assert choice.index not in reasons, "a choice ended twice"
                reasons[choice.index] = choice.finish_reason
    return texts, reasons, usage


def refused(status, parameter, call, code=None):
    try:
        call()
    except openai.APIStatusError as error:
        assert error.status_code == status, error
        assert parameter is None or error.param == parameter, (error.param, parameter)
        assert code is None or error.code == code, (error.code, code)
        assert error.request_id, "no x-request-id"
        return error
    raise AssertionError(f"{parameter}: not refused")


@test
def models_are_listed_and_found():
    assert client.models.retrieve(model.id).id == model.id
    refused(404, "model", lambda: client.models.retrieve("gpt-unknown"), "model_not_found")
    refused(404, "model", lambda: client.chat.completions.create(model="gpt-unknown", messages=hello))
    refused(404, "model", lambda: client.completions.create(model="gpt-unknown", prompt="a"))


@test
def chat_answers():
    answer = chat()
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.model == model.id and answer.system_fingerprint
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length") and choice.logprobs is None
    assert answer.usage.completion_tokens <= 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@test
def chat_streams_the_same_text():
    whole = chat(temperature=0, max_tokens=24)
    texts, reasons, usage = collect(chat(
        temperature=0, max_tokens=24, stream=True, stream_options={"include_usage": True}))
    assert texts[0] == whole.choices[0].message.content
    assert reasons[0] == whole.choices[0].finish_reason
    assert usage == whole.usage
    assert collect(chat(stream=True))[2] is None


@test
def completion_streams_the_same_text():
    whole = complete(temperature=0, max_tokens=24)
    assert whole.object == "text_completion"
    texts, reasons, usage = collect(complete(
        temperature=0, max_tokens=24, stream=True, stream_options={"include_usage": True}))
    assert texts[0] == whole.choices[0].text and reasons[0] == whole.choices[0].finish_reason
    assert usage == whole.usage


@test
def seeds_repeat_and_differ():
    def text(seed):
        return chat(seed=seed, temperature=1.5, max_tokens=24).choices[0].message.content
    assert text(7) == text(7)
    assert len({text(seed) for seed in range(6)}) > 1
    first = chat(seed=7, temperature=1.5, max_tokens=24, n=2).choices
    assert first[0].message.content == text(7), "n must not change the first choice"


@test
def several_choices_are_kept_apart():
    answer = chat(n=3, temperature=1.2, max_tokens=16)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    texts, reasons, _ = collect(chat(n=3, temperature=1.2, max_tokens=16, stream=True))
    assert set(texts) == {0, 1, 2} == set(reasons)


@test
def length_limits_hold():
    for name in ("max_tokens", "max_completion_tokens"):
        answer = client.chat.completions.create(
            model=model.id, messages=hello, **{name: 3}, extra_body={"ignore_eos": True})
        assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3


@test
def stop_strings_never_show():
    for make, text_of in [(chat, lambda a: a.choices[0].message.content), (complete, lambda a: a.choices[0].text)]:
        whole = text_of(make(temperature=0, max_tokens=40))
        assert len(whole) > 8, "too short a text to stop in"
        stop = whole[4:8]
        for stops in (stop, ["\u0000never\u0000", stop]):
            cut = make(temperature=0, max_tokens=40, stop=stops)
            assert text_of(cut) == whole[:whole.index(stop)] and cut.choices[0].finish_reason == "stop"
            texts, reasons, _ = collect(make(temperature=0, max_tokens=40, stop=stops, stream=True))
            assert texts[0] == text_of(cut) and reasons[0] == "stop"


@test
def logprobs_of_chat_agree():
    answer = chat(temperature=0, logprobs=True, top_logprobs=3, max_tokens=12)
    content = answer.choices[0].logprobs.content
    assert 0 < len(content) <= 12
    for entry in content:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[1].logprob >= entry.top_logprobs[2].logprob
    text = b"".join(bytes(entry.bytes) for entry in content)
    assert text.decode(errors="replace").startswith(answer.choices[0].message.content.rstrip("\ufffd"))
    streamed = [
        entry for chunk in chat(temperature=0, logprobs=True, top_logprobs=3, max_tokens=12, stream=True)
        for choice in chunk.choices if choice.logprobs for entry in choice.logprobs.content]
    assert streamed == content
    assert chat(logprobs=True).choices[0].logprobs.content[0].top_logprobs == []


@test
def logprobs_of_completions_agree():
    logprobs = complete(temperature=0, logprobs=2).choices[0].logprobs
    count = len(logprobs.tokens)
    assert count == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == len(logprobs.text_offset) > 0
    assert all(2 <= len(top) <= 3 for top in logprobs.top_logprobs) and logprobs.text_offset[0] == 0


@test
def sampling_parameters_are_taken():
    for options in [
        {"temperature": 0}, {"temperature": 2}, {"top_p": 0.1}, {"top_p": 0}, {"presence_penalty": 2},
        {"presence_penalty": -2}, {"frequency_penalty": 2}, {"frequency_penalty": -2}, {"logit_bias": {"5": -100}},
        {"user": "somebody"}, {"seed": -1}, {"seed": 2**63 - 1}, {"store": True}, {"metadata": {"a": "b"}},
        {"service_tier": "auto"}, {"response_format": {"type": "text"}}, {"modalities": ["text"]},
        {"extra_body": {"top_k": 5, "min_p": 0.1, "typical_p": 0.9, "repetition_penalty": 1.1}},
    ]:
        assert chat(**options).choices[0].finish_reason in ("stop", "length"), options


@test
def bias_decides():
    token = raw("/tokenize", {"content": "zebra"})["tokens"][0]
    answer = chat(temperature=0, max_tokens=4, logit_bias={str(token): 100}, logprobs=True,
                  extra_body={"ignore_eos": True})
    piece = raw("/tokenize", {"content": "zebra", "with_pieces": True})["tokens"][0]["piece"]
    assert [entry.token for entry in answer.choices[0].logprobs.content] == [piece] * 4


@test
def messages_of_all_kinds_are_taken():
    assert chat([
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "you?"}]},
    ]).choices
    assert chat([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi. 你好 🙂"}]).choices


@test
def prompts_of_all_kinds_are_taken():
    tokens = raw("/tokenize", {"content": "Once upon a time"})["tokens"]
    assert complete(tokens).usage.prompt_tokens == len(tokens)
    for prompts in (["One", "Two"], [tokens, tokens[:2]]):
        answer = complete(prompts, n=2)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert complete("abc", echo=True).choices[0].text.startswith("abc")
    assert complete("abc", best_of=1).choices


@test
def tokens_round_trip():
    for text in ["", "plain text", "  spaces  and\n\nlines\t", "naïve 你好 🙂", "<|im_start|> is a name"]:
        tokens = raw("/tokenize", {"content": text, "parse_special": False})["tokens"]
        assert raw("/detokenize", {"tokens": tokens})["content"] == text, text


@test
def unsupported_parameters_are_refused_by_name():
    function = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for name, value in [
        ("tools", [function]), ("tool_choice", "required"), ("functions", [{"name": "f"}]), ("audio", {"voice": "a"}),
        ("response_format", {"type": "json_object"}), ("modalities", ["text", "audio"]),
        ("prediction", {"type": "content", "content": "a"}), ("web_search_options", {}),
    ]:
        refused(400, name, lambda: chat(extra_body={name: value}), "unsupported_parameter")
    for name, value in [("best_of", 2), ("suffix", "end")]:
        refused(400, name, lambda: complete(extra_body={name: value}), "unsupported_parameter")
    image = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    refused(400, "messages[0].content[0].type", lambda: chat([{"role": "user", "content": image}]))
    refused(400, "messages[0].role", lambda: chat([{"role": "tool", "content": "a", "tool_call_id": "b"}]))


@test
def wrong_values_are_refused_by_name():
    for name, value in [
        ("temperature", 2.1), ("temperature", "hot"), ("top_p", -1), ("n", 0), ("n", 10_000), ("max_tokens", 0),
        ("presence_penalty", 3), ("frequency_penalty", -3), ("stop", ["a"] * 5), ("logit_bias", {"x": 1}),
        ("top_logprobs", 2), ("seed", "a"), ("stream_options", {"include_usage": True}), ("unheard_of", 1),
        ("messages", []), ("messages", "hello"),
    ]:
        refused(400, name, lambda: chat(extra_body={name: value}))


@test
def context_is_guarded_with_both_numbers():
    tokens = [5] * (context + 3)
    error = refused(400, "prompt", lambda: complete(tokens), "context_length_exceeded")
    assert str(context) in error.message and str(len(tokens)) in error.message, error.message
    error = refused(400, "messages", lambda: chat(max_tokens=context), "context_length_exceeded")
    assert str(context) in error.message


@test
def leaving_mid_stream_harms_nobody():
    for _ in range(5):
        with chat(stream=True, max_tokens=64, extra_body={"ignore_eos": True}) as stream:
            next(iter(stream))
    assert chat().choices[0].message.content is not None


failed = 0
for function in tests:
    try:
        function()
    except Exception:
        failed += 1
        print("FAILED:", function.__name__)
        traceback.print_exc(limit=-2, file=sys.stdout)
print(f"{len(tests) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
