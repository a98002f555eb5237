// The official client against a running server: node openai.mjs URL KEY
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: 'user', content: 'What is a Datanet?' }];

const models = await client.models.list();
const ids = [];
for await (const model of models) ids.push(model.id);
assert.deepEqual(ids.toSorted(), ['nano', 'plum']);
assert.equal((await client.models.retrieve('plum')).id, 'plum');

const chat = await client.chat.completions.create({
  model: 'plum', messages, max_completion_tokens: 8, n: 2, temperature: 1, seed: 1,
  logprobs: true, top_logprobs: 2, presence_penalty: 0.5, frequency_penalty: 0.5,
});
assert.equal(chat.choices.length, 2);
assert.equal(chat.choices[0].message.role, 'assistant');
assert.equal(chat.choices[0].logprobs.content[0].top_logprobs.length, 2);
assert.equal(chat.usage.total_tokens, chat.usage.prompt_tokens + chat.usage.completion_tokens);

const stream = await client.chat.completions.create({
  model: 'nano', messages, max_tokens: 8, stream: true, stream_options: { include_usage: true },
});
let text = '';
let usage;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? '';
  usage = chunk.usage ?? usage;
}
const whole = await client.chat.completions.create({ model: 'nano', messages, max_tokens: 8 });
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

const aborted = await client.chat.completions.create({
  model: 'nano', messages, max_tokens: 200, stream: true,
});
for await (const _ of aborted) { aborted.controller.abort(); break; }

const completion = await client.completions.create({
  model: 'nano', prompt: 'The market', max_tokens: 4, stop: ['\n'],
});
assert.equal(completion.object, 'text_completion');
const pieces = await client.completions.create({
  model: 'nano', prompt: 'The market', max_tokens: 4, stop: ['\n'], stream: true,
});
let continued = '';
for await (const chunk of pieces) continued += chunk.choices[0].text;
assert.equal(continued, completion.choices[0].text);

const schema = {
  type: 'object', additionalProperties: false, required: ['town', 'sky'],
  properties: { town: { type: 'string', maxLength: 8 }, sky: { enum: ['clear', 'grey'] } },
};
const response_format = {
  type: 'json_schema', json_schema: { name: 'weather', strict: true, schema },
};
const parsed = await client.chat.completions.parse({
  model: 'plum', messages, max_tokens: 200, temperature: 1, seed: 2, n: 2, response_format,
});
for (const { finish_reason, message } of parsed.choices) {
  assert.equal(finish_reason, 'stop');
  assert.deepEqual(Object.keys(message.parsed), ['town', 'sky']);
  assert.ok(['clear', 'grey'].includes(message.parsed.sky));
}
const document = await client.chat.completions
  .stream({ model: 'nano', messages, max_tokens: 200, response_format })
  .finalContent();
assert.deepEqual(Object.keys(JSON.parse(document)), ['town', 'sky']);
const object = await client.chat.completions.create({
  model: 'nano', messages, max_tokens: 60, response_format: { type: 'json_object' },
});
assert.equal(object.choices[0].message.content[0], '{');
await assert.rejects(
  client.chat.completions.create({
    model: 'nano', messages,
    response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { not: {} } } },
  }),
  (error) => error instanceof OpenAI.BadRequestError && error.param === 'response_format',
);

const embeddings = await client.embeddings.create({ model: 'nano', input: ['a', 'b'] });
assert.equal(embeddings.data[1].embedding.length, 256);

await assert.rejects(
  client.chat.completions.create({ model: 'pear', messages }),
  (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found',
);
await assert.rejects(
  client.chat.completions.create({ model: 'nano', messages, temperature: 9 }),
  (error) => error instanceof OpenAI.BadRequestError && error.param === 'temperature',
);
const stranger = new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 });
await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
console.log('all good');
