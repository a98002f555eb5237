"""The official client against a running server: python openai_client.py URL KEY"""

import asyncio
import json
import sys

import openai
from openai import AsyncOpenAI, OpenAI

url, key = sys.argv[1:]
client = OpenAI(base_url=url, api_key=key, max_retries=0)
messages = [{"role": "user", "content": "What is a Datanet?"}]

assert sorted(model.id for model in client.models.list()) == ["nano", "plum"]
assert client.models.retrieve("plum").id == "plum"

chat = client.chat.completions.create(
    model="plum", messages=messages, max_completion_tokens=8, n=2, temperature=1, seed=1,
    logprobs=True, top_logprobs=2, presence_penalty=0.5, frequency_penalty=0.5,
)
assert len(chat.choices) == 2
assert len(chat.choices[0].logprobs.content[0].top_logprobs) == 2
assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens

text, usage = "", None
for chunk in client.chat.completions.create(
    model="nano", messages=messages, max_tokens=8, stream=True,
    stream_options={"include_usage": True},
):
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    usage = chunk.usage or usage
whole = client.chat.completions.create(model="nano", messages=messages, max_tokens=8)
assert text == whole.choices[0].message.content
assert usage.completion_tokens == whole.usage.completion_tokens

completion = client.completions.create(model="nano", prompt="The market", max_tokens=4)
streamed = client.completions.create(model="nano", prompt="The market", max_tokens=4, stream=True)
assert "".join(chunk.choices[0].text for chunk in streamed) == completion.choices[0].text

schema = {
    "type": "object", "additionalProperties": False, "required": ["sky"],
    "properties": {"sky": {"enum": ["clear", "grey"]}},
}
weather = client.chat.completions.create(
    model="plum", messages=messages, max_tokens=40,
    response_format={"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}},
)
assert json.loads(weather.choices[0].message.content)["sky"] in ["clear", "grey"]

# The client asks for base64 and decodes it.
vector = client.embeddings.create(model="nano", input="a").data[0].embedding
plain = client.embeddings.create(model="nano", input="a", encoding_format="float")
assert len(vector) == 256 and max(abs(a - b) for a, b in zip(vector, plain.data[0].embedding)) < 1e-6


async def many():
    asynchronous = AsyncOpenAI(base_url=url, api_key=key, max_retries=3)
    answers = await asyncio.gather(*(
        asynchronous.chat.completions.create(model=model, messages=messages, max_tokens=8)
        for model in ["nano", "plum"] * 8
    ))
    assert len({answer.choices[0].message.content for answer in answers}) == 2


asyncio.run(many())

for wrong, expected, name in [
    ({"model": "pear"}, openai.NotFoundError, "model"),
    ({"model": "nano", "temperature": 9}, openai.BadRequestError, "temperature"),
]:
    try:
        client.chat.completions.create(messages=messages, **wrong)
    except expected as error:
        assert error.param == name, error
    else:
        raise AssertionError(f"{wrong} was served")
try:
    OpenAI(base_url=url, api_key="wrong", max_retries=0).models.list()
except openai.AuthenticationError:
    pass
else:
    raise AssertionError("a wrong key was served")
print("all good")
