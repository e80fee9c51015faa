"""The few calls of the API that the tools make, on the standard library alone."""
import json
import threading
import urllib.error
import urllib.request


def get_text(url, timeout=10):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


def get_json(url, timeout=10):
    return json.loads(get_text(url, timeout))


def post(url, body, timeout=300):
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"content-type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url} answered {error.code}: {error.read().decode()[:300]}") from None


def complete(url, prompt, **parameters):
    """The text of one completion."""
    with post(url + "/v1/completions", dict(prompt=prompt, **parameters)) as answer:
        return json.load(answer)["choices"][0]["text"]


def stream(url, body, on_token=None):
    """The text of one streamed completion."""
    text = ""
    with post(url + "/v1/completions", dict(body, stream=True)) as answer:
        for line in answer:
            if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise AssertionError(f"the stream broke: {event['error']}")
            for choice in event["choices"]:
                text += choice["text"]
                if on_token:
                    on_token()
    return text


def stream_tokens(url, jobs, on_token=None):
    """Runs completions beside each other; `on_token` hears how many tokens have come in all."""
    results, errors, lock, seen = [None] * len(jobs), [], threading.Lock(), [0]

    def count():
        with lock:
            seen[0] += 1
            number = seen[0]
        on_token(number)

    def work(index):
        try:
            results[index] = stream(url, jobs[index], count if on_token else None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
